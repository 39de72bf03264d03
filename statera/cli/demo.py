"""`statera demo`: a load balancer at work, from an empty machine to real traffic.

Uses nothing but the public API, as a tenant would. Each step is timed; the first that fails ends the demonstration with
the reason and exit code 1. Whatever happens, all that it made is removed.
"""

import contextlib
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table

from statera.base.errors import Lasting, StateraError
from statera.base.files import locked
from statera.base.settings import Settings
from statera.cli.playground import WEB_PORT, Playground, ask
from statera.cli.preflight import check_ready, describe_faults

TAG = "demo"
DATA_DIR = Path("/var/lib/statera-demo")
LOCK_FILE = Path("/run/statera-demo.lock")
KEPT_LOG = Path("/var/tmp/statera-demo.log")
REQUESTS = 300
MARKS = {"running": "[yellow]▸", "done": "[green]✓", "failed": "[red]✗"}


class Step(msgspec.Struct, kw_only=True):
    """One line of the display."""

    title: str
    begun_at: float
    state: str = "running"
    seconds: float = 0.0
    detail: str = ""


class Display:
    """The live table of steps."""

    def __init__(self, console: Console) -> None:
        self.steps: list[Step] = []
        self.live = Live(console=console, refresh_per_second=8, get_renderable=self.render)

    def render(self) -> Table:
        table = Table("", "step", "time", "what happened", box=None, pad_edge=False)
        for step in self.steps:
            seconds = time.monotonic() - step.begun_at if step.state == "running" else step.seconds
            table.add_row(MARKS[step.state], step.title, f"{seconds:.2f} s", step.detail)
        return table

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show and time one step; an error marks it failed and goes on up."""
        step = Step(title=title, begun_at=time.monotonic())
        self.steps.append(step)
        try:
            yield step
            step.state = "done"
        except BaseException:
            step.state = "failed"
            raise
        finally:
            step.seconds = time.monotonic() - step.begun_at


class Demo:
    """The steps, on one playground."""

    def __init__(self, playground: Playground, console: Console) -> None:
        self.playground = playground
        self.console = console
        self.display = Display(console)
        self.load_balancer: dict[str, Any] = {}

    @property
    def vip(self) -> str:
        return str(self.load_balancer["vip_address"])

    @property
    def members_path(self) -> str:
        return f"/v2/lbaas/pools/{self.load_balancer['pools'][0]['id']}/members"

    def run_steps(self) -> None:
        """Run every step in order. Raises `StateraError` from the first that fails."""
        playground = self.playground
        with self.display.step("Build a network with three web servers") as step:
            playground.make_network()
            servers = [playground.start_web_server() for _ in range(3)]
            step.detail = ", ".join(f"{server.name} at {server.address}" for server in servers)
        with self.display.step("Start Statera: database, API, worker, health, agent") as step:
            playground.start_installation()
            step.detail = playground.api_url
        with self.display.step("Create a load balancer, to the first byte through its VIP") as step:
            self.load_balancer = playground.create_load_balancer("demo", servers)
            answer = playground.wait_for(lambda: ask(self.vip), "An answer through the VIP", explain=self._explain)
            step.detail = f"{self.vip} answered “{answer}”"
        with self.display.step("Health checks report all members ONLINE"):
            playground.wait_for(lambda: self._count("ONLINE") == 3, "Three members ONLINE", explain=self._explain)
        with self.display.step(f"Send {REQUESTS} requests") as step:
            step.detail = self._send_all()
        with self.display.step("Kill a web server: traffic moves on") as step:
            step.detail = self._kill_server()
        with self.display.step("Add a member: it takes traffic") as step:
            step.detail = self._add_member()
        with self.display.step(f"Send {REQUESTS} requests again") as step:
            step.detail = self._send_all()

    def _explain(self) -> str:
        shown = self.playground.show(self.load_balancer["id"]) or {}
        reason = (shown.get("status_reason") or {}).get("sentence", "")
        return f"It is {shown.get('provisioning_status')}, {shown.get('operating_status')}. {reason}"

    def _send_all(self) -> str:
        counts = Counter(ask(self.vip) or "failed" for _ in range(REQUESTS))
        if failed := counts.pop("failed", 0):
            raise Lasting("demo-failed", f"{failed} of {REQUESTS} requests failed. {self._explain()}")
        return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))

    def _list_members(self) -> list[dict[str, Any]]:
        members: list[dict[str, Any]] = self.playground.request("GET", self.members_path)["members"]
        return members

    def _count(self, status: str) -> int:
        return sum(member["operating_status"] == status for member in self._list_members())

    def _kill_server(self) -> str:
        victim = self.playground.servers[0]
        self.playground.stop_web_process(victim)
        answers: Counter[str] = Counter()

        def find_failed() -> dict[str, Any] | None:
            answers[ask(self.vip) or "failed"] += 1
            return next((member for member in self._list_members() if member["operating_status"] == "ERROR"), None)

        member = self.playground.wait_for(find_failed, f"{victim.name} in ERROR", explain=self._explain)
        sentence = (member["status_reason"] or {}).get("sentence", "")
        return f"{answers.total()} requests meanwhile, {answers['failed']} failed. {victim.name}: {sentence}"

    def _add_member(self) -> str:
        server = self.playground.start_web_server()
        body = {"member": {"name": server.name, "address": server.address, "protocol_port": WEB_PORT}}
        begun = time.monotonic()
        self.playground.request("POST", self.members_path, body)
        self.playground.wait_for(lambda: ask(self.vip) == server.name, f"Traffic at {server.name}")
        return f"{server.name} answered {(time.monotonic() - begun) * 1000:.0f} ms after the request to add it"

    def print_invitation(self) -> None:
        """Say what can be tried by hand while it runs."""
        url, one = self.playground.api_url, f"/v2/lbaas/loadbalancers/{self.load_balancer['id']}"
        programs = Path(sys.executable).parent
        statera, config = f"'{programs}/statera'", f"--config '{self.playground.config_path}'"
        cloud = f"OS_CLIENT_CONFIG_FILE='{self.playground.clouds_path}' '{programs}/openstack'"
        lines = (
            f"\n[bold]VIP[/] http://{self.vip}/   [bold]API[/] {url}/   [bold]its reference[/] {url}/docs\n",
            f"curl http://{self.vip}/",
            f"curl -s {url}{one}/status",
            f"curl -s {url}{one}/events",
            f"{cloud} --os-cloud statera loadbalancer list",
            f"{cloud} --os-cloud statera loadbalancer member list demo-pool",
            f"{cloud} --os-cloud statera loadbalancer status show demo",
            f"{statera} top {config}",
            f"{statera} doctor {config}",
        )
        for line in lines:
            self.console.print(line, soft_wrap=True, highlight=False)


def run_demo(*, once: bool, keep_logs: bool) -> int:
    """Run the demonstration; return the exit code."""
    faults = check_ready(Settings())
    if faults:
        sys.stderr.write(describe_faults(faults))
        return 1
    with locked(LOCK_FILE) as is_alone:
        if not is_alone:
            raise Lasting("already-running", "Another demonstration is running on this machine.")
        return _run_alone(once=once, keep_logs=keep_logs)


def _run_alone(*, once: bool, keep_logs: bool) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # else it was started with nohup
        signal.signal(signal.SIGHUP, _interrupt)
    console = Console()
    remove_leftovers()
    playground = Playground(TAG, DATA_DIR, usual_ports=True)
    demo = Demo(playground, console)
    code = 1
    try:
        with demo.display.live:
            demo.run_steps()
        code = 0
        demo.print_invitation()
        if not once:
            console.print("\nRunning until Ctrl-C.")
            signal.pause()
    except KeyboardInterrupt:
        _say(console, "\nStopping.")
    except StateraError as error:
        _say(console, f"[red]The demonstration failed:[/] {error.sentence}")
    finally:
        # A second Ctrl-C must not leave half of it behind, nor a window that is closed.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if (code or keep_logs) and playground.log_path.exists():
            shutil.copyfile(playground.log_path, KEPT_LOG)
            _say(console, f"The log of its processes is kept in {KEPT_LOG}.")
        playground.remove()
        _say(console, "All that the demonstration made is removed.")
    return code


def _say(console: Console, text: str) -> None:
    # The terminal or the pipe may be gone, which rich ends a program for; what was made is to be removed all the same.
    with contextlib.suppress(OSError, SystemExit):
        console.print(text, soft_wrap=True)


def remove_leftovers() -> None:
    """Remove what a demonstration that crashed left on this machine."""
    Playground(TAG, DATA_DIR).remove()


def remove_crashed_demo() -> bool:
    """Remove a crashed demonstration's leftovers; return False, and touch nothing, while one is running."""
    with locked(LOCK_FILE) as is_alone:
        if is_alone:
            remove_leftovers()
        return is_alone


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
