"""The commands of `statera`. Each one loads the configuration, then hands over to the room that does the work."""

import asyncio
import faulthandler
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from statera import __version__
from statera.base.errors import StateraError
from statera.base.logging import configure_logging
from statera.base.settings import Settings, load_settings

# Rooms are imported inside the commands: `statera up` must stay small, and `--help` quick.
app = App(
    name="statera", help="Load balancer as a service over the OpenStack Load Balancer API v2.", version=__version__
)
database = App(name="db", help="The database's schema.")
configuration = App(name="config", help="The configuration.")
amphora = App(name="amphora", help="The amphorae: HAProxies that serve load balancers, each in a sandbox on a host.")
orphans = App(name="orphans", help="Sandboxes on hosts that the database does not know.")
host = App(name="host", help="The machines that amphorae are on.")
app.command(amphora)
app.command(host)
app.command(orphans)
app.command(database)
app.command(configuration)

ConfigPath = Annotated[
    Path | None,
    Parameter(
        name=["--config", "-c"], help="TOML file; else $STATERA_CONFIG, else /etc/statera/statera.toml if it exists."
    ),
]

END_WITHIN_S = 5.0
"""Of a process, after its work has ended."""
DOCTORS = ("database-unavailable", "database-not-upgraded")
"""Reasons of a command's failure that the doctor knows more about."""


def main() -> None:
    """Run the command line; a known failure prints its sentence and exits 1."""
    try:
        app()
    except StateraError as error:
        ask = "\n  how to mend it: `statera doctor` looks for the cause." if error.reason.slug in DOCTORS else ""
        sys.exit(f"statera: {error.sentence}{ask}")
    except KeyboardInterrupt:
        sys.exit(130)


def read_settings(config: Path | None) -> Settings:
    """Load the settings from the named file, `$STATERA_CONFIG` or the default place."""
    named = os.environ.get("STATERA_CONFIG")
    return load_settings(config or (Path(named) if named else None))


@app.command
def up(config: ConfigPath = None) -> None:
    """Run everything on this machine: database, API, worker, health and agent. Ctrl-C stops them; traffic flows on."""
    from statera.cli.up import run_up

    settings = read_settings(config)
    configure_logging(level=settings.log.level, form=settings.log.format, process="up")
    sys.exit(run_up(settings, config))


@app.command
def demo(*, once: bool = False, keep_logs: bool = False) -> None:
    """Show a load balancer at work with real traffic on a network of its own; Ctrl-C removes everything.

    Parameters
    ----------
    once
        Stop after the last step: exit 0 when all steps went well.
    keep_logs
        Keep the log of the processes after a successful end, too.
    """
    from statera.cli.demo import run_demo

    sys.exit(run_demo(once=once, keep_logs=keep_logs))


@app.command
def api(config: ConfigPath = None) -> None:
    """Serve the API only."""
    _serve(config, "api")


@app.command
def worker(config: ConfigPath = None) -> None:
    """Run the reconciler only."""
    _serve(config, "worker")


@app.command
def health(config: ConfigPath = None) -> None:
    """Receive heartbeats only."""
    _serve(config, "health")


@app.command
def agent(config: ConfigPath = None) -> None:
    """Run the agent of this host only: it builds and watches amphorae."""
    _serve(config, "agent")


@app.command
def doctor(config: ConfigPath = None) -> None:
    """Check this machine and the deployment, and say how to mend each fault; exits 1 when something is wrong."""
    from statera.cli.doctor import run_doctor

    sys.exit(run_doctor(read_settings(config)))


@app.command
def chores(config: ConfigPath = None, *, format: Literal["text", "json"] = "text") -> None:
    """Show what workers do from time to time, when they did it last, and why it failed if it did.

    Parameters
    ----------
    format
        `text` for people, `json` for machines.
    """
    from statera.cli.chores import print_chores

    print_chores(read_settings(config), form=format)


@app.command
def clean(config: ConfigPath = None) -> None:
    """Remove every sandbox, namespace, bridge and process that this installation or a demonstration left behind."""
    from statera.cli.clean import run_clean

    sys.exit(run_clean(read_settings(config)))


@amphora.command(name="list")
def list_amphorae(
    config: ConfigPath = None,
    *,
    host: str = "",
    load_balancer: str = "",
    ids: bool = False,
    format: Literal["text", "json"] = "text",
) -> None:
    """List amphorae.

    Parameters
    ----------
    host
        Only those on this host.
    load_balancer
        Only those of the load balancer with this id.
    ids
        Print the ids alone.
    format
        `text` for people, `json` for machines.
    """
    from statera.cli.amphorae import print_amphorae

    print_amphorae(read_settings(config), host=host, load_balancer_id=load_balancer, ids=ids, form=format)


@amphora.command(name="show")
def show_amphora(amphora_id: str, config: ConfigPath = None, *, format: Literal["text", "json"] = "text") -> None:
    """Show an amphora, and what it has carried.

    Parameters
    ----------
    format
        `text` for people, `json` for machines.
    """
    from statera.cli.amphorae import print_amphora

    print_amphora(read_settings(config), amphora_id, form=format)


@amphora.command
def failover(amphora_id: str, config: ConfigPath = None) -> None:
    """Replace an amphora: another is built and takes the VIP over, then this one goes."""
    from statera.cli.amphorae import fail_over

    fail_over(read_settings(config), amphora_id)


@host.command(name="list")
def list_hosts(config: ConfigPath = None, *, format: Literal["text", "json"] = "text") -> None:
    """List hosts: how they are, what is on them, and for how many more there is room."""
    from statera.cli.hosts import print_hosts

    print_hosts(read_settings(config), form=format)


@host.command(name="export")
def export_host(name: str, path: Path, config: ConfigPath = None, *, controller: bool = False) -> None:
    """Write what another machine needs to take part: its configuration and certificates, for `tar -xpf PATH -C /`.

    The archive holds private keys. Bring it over safely, and delete it.

    Parameters
    ----------
    name
        The host, as in `compute.hosts`.
    path
        The archive.
    controller
        It runs API, worker and health process, too: add what those need.
    """
    from statera.cli.export import export_host as export

    export(read_settings(config), name, path, controller=controller)


@host.command(name="forget")
def forget_host(name: str, config: ConfigPath = None) -> None:
    """Say that a host is gone for good, and all that was on it: nothing waits for it any more.

    Be sure that it does not run: load balancers are built elsewhere, and their VIPs would be answered twice.
    """
    from statera.cli.hosts import forget_host

    forget_host(read_settings(config), name)


@orphans.command(name="list")
def list_orphans(config: ConfigPath = None) -> None:
    """List the sandboxes on hosts that the database does not know, and what becomes of them."""
    from statera.cli.orphans import print_orphans

    print_orphans(read_settings(config))


@orphans.command(name="collect")
def collect_orphans(config: ConfigPath = None, *, foreign: bool = False) -> None:
    """Remove these sandboxes now, whatever traffic they carry, and let workers remove later ones by themselves again.

    Parameters
    ----------
    foreign
        Those that another deployment made, too.
    """
    from statera.cli.orphans import collect_orphans

    collect_orphans(read_settings(config), foreign=foreign)


@app.command
def top(
    config: ConfigPath = None,
    *,
    once: bool = False,
    format: Literal["text", "json"] = "text",
    sort: Literal["traffic", "connections", "errors", "status", "name"] = "traffic",
    interval: Annotated[float, Parameter(validator=Number(gte=0.1))] = 3.0,
    most: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
) -> None:
    """Watch load balancers: statuses, connections, bytes and errors per second. Ctrl-C ends it.

    Parameters
    ----------
    once
        Look twice, print one picture and end.
    format
        `json` for scripts; it looks twice and ends, too.
    sort
        What comes first.
    interval
        Seconds between two looks. Agents tell every few seconds: `agent.heartbeat_interval_s`.
    most
        Show so many at most; 0: all, or as many as fit.
    """
    from statera.cli.top import run_top

    run_top(read_settings(config), once=once, form=format, order=sort, interval_s=interval, most=most)


@app.command
def events(
    load_balancer_id: str,
    config: ConfigPath = None,
    *,
    limit: int = 50,
    format: Literal["text", "json"] = "text",
) -> None:
    """Print what happened to a load balancer, also to one that was deleted lately, with the requests that asked."""
    from statera.cli.events import print_events

    print_events(read_settings(config), load_balancer_id, limit=limit, form=format)


@app.command
def drain(name: str, config: ConfigPath = None, *, undo: bool = False, wait: bool = True) -> None:
    """Move every amphora off a host, successors first, and place no others there; follow it until the host is empty.

    Parameters
    ----------
    name
        The host.
    undo
        Let it take amphorae again.
    wait
        Stay and tell how far it is; Ctrl-C ends only the telling.
    """
    from statera.cli.hosts import drain_host, undo_drain

    if undo:
        undo_drain(read_settings(config), name)
    else:
        drain_host(read_settings(config), name, wait=wait)


@database.command
def upgrade(config: ConfigPath = None) -> None:
    """Bring the schema to this version; safe to run again."""
    settings = read_settings(config)
    configure_logging(level=settings.log.level, form=settings.log.format, process="db")
    from statera.app import check_settings, upgrade_database

    # `up` runs this first: what no process could start with must stop it here.
    check_settings(settings)
    print(upgrade_database(settings))


@configuration.command
def show(config: ConfigPath = None, *, options: bool = False) -> None:
    """Print the configuration in force as TOML, secrets left out.

    Parameters
    ----------
    options
        Print every option with its type, default and meaning instead.
    """
    from statera.app import check_settings
    from statera.cli.configuration import print_options, print_settings

    if options:
        print_options()
        return
    settings = read_settings(config)
    check_settings(settings)
    print_settings(settings)


@configuration.command
def clouds(config: ConfigPath = None, *, username: str | None = None) -> None:
    """Print a `clouds.yaml` with which the openstack command finds this deployment.

    Parameters
    ----------
    username
        The user to log in as, with identity `basic`; the password comes from `OS_PASSWORD`.
    """
    from statera.app import render_client_configuration

    print(render_client_configuration(read_settings(config), username), end="")


def _serve(config: Path | None, process: str) -> None:
    from statera import app as wiring
    from statera.base.ending import end_within
    from statera.base.exposition import expose_metrics
    from statera.base.privileges import limit_role
    from statera.base.tracing import tracing

    runs: dict[str, Callable[[Settings], Coroutine[None, None, None]]] = {
        "api": wiring.run_api,
        "worker": wiring.run_worker,
        "health": wiring.run_health,
        "agent": wiring.run_agent,
    }
    settings = read_settings(config)
    configure_logging(level=settings.log.level, form=settings.log.format, process=process)
    # Who hangs is told to abort, and prints where each thread is.
    faulthandler.enable()
    limit_role(process)
    loop = _load_quick_loop() if process == "api" else None
    with expose_metrics(settings, process), tracing(settings, process), asyncio.Runner(loop_factory=loop) as runner:
        try:
            runner.run(_show_life_meanwhile(runs[process](settings)))
        finally:
            # What follows waits for every task that was left.
            end_within(END_WITHIN_S)


async def _show_life_meanwhile(work: Coroutine[None, None, None]) -> None:
    from statera.base.watchdog import show_life

    showing = asyncio.create_task(show_life(os.environ))
    try:
        await work
    finally:
        showing.cancel()


def _load_quick_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    # Saves a request an eighth of its processor time. What waits most of its time need not load it.
    import uvloop

    return uvloop.new_event_loop
