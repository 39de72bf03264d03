"""`statera up`: everything on one machine. A small supervisor starts the private PostgreSQL, brings the schema up to
date, then keeps one process per role running. It holds no state: kill it and start it again.

Children get SIGTERM from the kernel when the supervisor dies, so that a crash leaves no second set of processes.
Sandboxes belong to the agent's host, not to this process tree: they serve on.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from statera.app import ensure_certificates, ensure_sealing_key, has_agents, open_embedded_postgres
from statera.base.errors import Lasting
from statera.base.exposition import WrittenPage, keep_page
from statera.base.files import locked
from statera.base.logging import get_logger
from statera.base.metrics import counter, gauge
from statera.base.settings import Settings
from statera.base.watchdog import READY, Supervisor
from statera.cli.preflight import check_ready, describe_faults
from statera.cli.wards import find_account, find_prefix, hand_over
from statera.cli.watchdog import Hang, Patience, Watchdog, listening_for_life, without_watchdog

log = get_logger("cli")

HANGS = counter("statera_process_hangs_total", "Processes of `statera up` that hung and were killed.", "role")
STARTS = counter("statera_process_starts_total", "Processes that `statera up` has started.", "role")
RUNNING = gauge("statera_process_running", "Processes of `statera up` that run.", "role")

STOP_WITHIN_S = 15.0
RESTART_FIRST_S = 0.2
RESTART_MOST_S = 10.0
STEADY_AFTER_S = 30.0
"""A process that ran this long is healthy again: its next restart is quick."""
KILL_AFTER_S = 2.0
"""After it was told to abort, for which it prints where it hangs. One that is stopped does not hear that."""


class Database(Protocol):
    """The private PostgreSQL, as far as the supervisor needs it."""

    @property
    def running(self) -> bool: ...

    def start(self) -> None: ...


class Role(msgspec.Struct, kw_only=True):
    """One child process that should be running, and its restart history."""

    name: str
    prefix: tuple[str, ...] = ()
    """Words before the command, which make it another user's."""
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    wait_s: float = RESTART_FIRST_S
    restart_at: float = 0.0
    is_hung: bool = False


def run_up(settings: Settings, config: Path | None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    faults = check_ready(settings)
    if faults:
        sys.stderr.write(describe_faults(faults))
        return 1
    _check_configuration(config)
    with lock_data_dir(settings):
        _run_alone(settings, config)
    return 0


def _run_alone(settings: Settings, config: Path | None) -> None:
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: stopping.append(received))
    account = find_account(settings)
    guest = account.name if account is not None else ""
    postgres = open_embedded_postgres(settings, guest) if settings.database.is_private else None
    try:
        if postgres is not None:
            postgres.start()
        ensure_certificates(settings)
        ensure_sealing_key(settings)
        hand_over(settings, account)
        prefix = find_prefix(settings, account, _command(["config", "show"], config))
        _upgrade(config)
        patience = Patience(settings.watchdog_s, settings.watchdog_start_s)
        place, user_id = Path(settings.run_dir) / "up.sock", account.uid if account is not None else None
        with (
            keep_page(settings, "up") as page,
            listening_for_life(place, patience, user_id) as watchdog,
        ):
            _supervise(_list_roles(settings, prefix), config, postgres, stopping, page, watchdog)
    finally:
        if postgres is not None:
            postgres.stop()


@contextlib.contextmanager
def lock_data_dir(settings: Settings) -> Iterator[None]:
    """Hold the lock of one installation during the block. Raises `Lasting` while another `statera up` holds it."""
    directory = Path(settings.data_dir)
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory / "up.lock", mode=0o600) as is_alone:
        if not is_alone:
            raise Lasting("already-running", f"Another `statera up` is running with data_dir {directory}.")
        yield


def _list_roles(settings: Settings, prefix: Sequence[str]) -> list[Role]:
    watching = ["agent", "health"] if has_agents(settings) else []
    names = [*watching, "worker", *["api"] * settings.api.processes]
    return [Role(name=name, prefix=() if name == "agent" else tuple(prefix)) for name in names]


def _check_configuration(config: Path | None) -> None:
    # A process of its own, as below. It prints what is wrong itself, before anything is made.
    if subprocess.run(_command(["config", "show"], config), check=False, stdout=subprocess.DEVNULL).returncode != 0:
        raise Lasting("configuration-invalid", "Nothing was started; see above.")


def _upgrade(config: Path | None) -> None:
    # A process of its own: Alembic and the drivers would stay in the supervisor's memory for ever.
    done = subprocess.run(_command(["db", "upgrade"], config), check=False, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Lasting("schema-upgrade-failed", "The database's schema could not be brought up to date; see above.")


def _supervise(
    roles: Sequence[Role],
    config: Path | None,
    postgres: Database | None,
    stopping: list[int],
    page: WrittenPage | None,
    watchdog: Watchdog,
) -> None:
    told: list[int | None] = []
    own = Supervisor(os.environ)
    # What came before may take its time: the first start of a database, a change of its schema.
    own.tell(READY)
    try:
        while not stopping:
            if postgres is not None and not postgres.running:
                _start_again(postgres)
            hung = watchdog.turn(time.monotonic())
            for role in roles:
                if role.process is not None and role.process.pid in hung:
                    _end_hung(role, role.process, hung[role.process.pid])
                _keep_running(role, config, time.monotonic(), watchdog)
            pids = [role.process.pid if role.process is not None else None for role in roles]
            if page is not None and pids != told:
                _tell(page, roles)
                told = pids
            own.tell_alive(time.monotonic())
            _wait_for_change(0.2)
    finally:
        _stop(roles)


def _tell(page: WrittenPage, roles: Sequence[Role]) -> None:
    for name in {role.name for role in roles}:
        RUNNING.labels(name).set(sum(role.name == name and role.process is not None for role in roles))
    page.write()


def _start_again(postgres: Database) -> None:
    log.warning("postgres ended, starting it")
    try:
        postgres.start()
    except (Lasting, OSError) as error:
        # A full disk, say: the other processes wait for it, and so does this loop.
        log.error("postgres not started", sentence=error.sentence if isinstance(error, Lasting) else str(error))
        time.sleep(RESTART_FIRST_S)


def _wait_for_change(timeout_s: float) -> None:
    # A signal, SIGCHLD included, ends the wait early; the loop then looks at every child.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    signal.sigtimedwait({signal.SIGCHLD}, timeout_s)


def _end_hung(role: Role, process: subprocess.Popen[bytes], hang: Hang) -> None:
    if hang.late_s >= KILL_AFTER_S:
        process.kill()
    elif not role.is_hung:
        role.is_hung = True
        log.error("process hangs", role=role.name, pid=process.pid, why=hang.why)
        HANGS.labels(role.name).inc()
        process.send_signal(signal.SIGABRT)


def _keep_running(role: Role, config: Path | None, now: float, watchdog: Watchdog) -> None:
    if role.process is not None and role.process.poll() is None:
        return
    if role.process is not None:
        steady = now - role.started_at >= STEADY_AFTER_S
        role.wait_s = RESTART_FIRST_S if steady else min(role.wait_s * 2, RESTART_MOST_S)
        role.restart_at = now + role.wait_s
        log.warning("process ended", role=role.name, code=role.process.returncode, restart_in_s=role.wait_s)
        watchdog.forget(role.process.pid)
        role.process, role.is_hung = None, False
    if now >= role.restart_at:
        command = [*role.prefix, *_command([role.name], config)]
        # Libraries look into the home of whoever they take us for.
        home = {"HOME": "/"} if role.prefix else {}
        environment = without_watchdog(os.environ) | watchdog.environment() | home
        try:
            role.process = subprocess.Popen(command, preexec_fn=_die_with_parent, env=environment)
        except (OSError, subprocess.SubprocessError) as error:
            # No memory or no more processes now. Those that run must not end for it.
            role.wait_s = min(role.wait_s * 2, RESTART_MOST_S)
            role.restart_at = now + role.wait_s
            log.error("process not started", role=role.name, why=str(error), again_in_s=role.wait_s)
            return
        role.started_at = now
        watchdog.expect(role.process.pid)
        STARTS.labels(role.name).inc()
        log.info("process started", role=role.name, pid=role.process.pid)


def _command(words: Sequence[str], config: Path | None) -> list[str]:
    named = ["--config", str(config)] if config else []
    return [sys.executable, "-m", "statera", *words, *named]


PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    # prctl(2); runs in the child between fork and exec. The signal mask is inherited over exec: undo the block.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(roles: Sequence[Role]) -> None:
    running = [role.process for role in roles if role.process is not None and role.process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_WITHIN_S
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
