"""Does to a ground what the story says, and undoes it again."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from statera.base.errors import StateraError
from statera.base.processes import is_alive, list_family
from statera.cli.playground import WebServer
from tests.chaos.causes import Blow
from tests.chaos.clocks import write_offset
from tests.chaos.story import Fault
from tests.hosts.ground import MANAGEMENT, PROVIDER, Ground
from tests.hosts.machine import Machine
from tests.hosts.service import Service

SLOW_RUNS_S, SLOW_STANDS_S = 0.02, 0.18
REVIVED_AFTER_S = 0.5
FILLER = "filler"
PROGRAMS = {"engine-pause": ("haproxy",), "vrrp-kill": ("keepalived",), "vrrp-pause": ("keepalived",)}
"""What a fault of one sandbox strikes in it: everything, if it is not said."""
LEGS = {"cut-management": (MANAGEMENT,), "cut-provider": (PROVIDER,), "cut-both": (MANAGEMENT, PROVIDER)}


class Hurt:
    """Begins and undoes faults. `clock_of` says where the offset of a process' clock is kept; `vips` are those of the
    load balancers, by id, whose clients are watched.

    Within it processes that end by themselves are started again, as an init system does. What stands at its end is
    undone. Times are those of `time.monotonic()`, less `origin_s`.
    """

    def __init__(
        self, ground: Ground, clock_of: Callable[[str], Path], vips: Mapping[str, str], *, origin_s: float
    ) -> None:
        self._ground = ground
        self._clock_of = clock_of
        self._vips = vips
        self._origin_s = origin_s
        self._services = {service.name: service for service in [*ground.controllers.values(), *ground.agents.values()]}
        self._slow: dict[str, threading.Event] = {}
        self._down: set[str] = set()
        self._held: dict[Fault, list[int]] = {}
        """Processes beside our services that stand still."""
        self._standing: dict[Fault, tuple[float, frozenset[str]]] = {}
        self._lock = threading.Lock()
        self._enough = threading.Event()
        self._reviver = threading.Thread(target=self._revive, daemon=True)
        self.blows: list[Blow] = []
        """What was done and undone."""
        self.wrong: list[str] = []
        """What nobody has mended that should have been."""

    def __enter__(self) -> "Hurt":
        self._reviver.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._reviver.join()
        for fault in list(self._standing):
            with contextlib.suppress(OSError, StateraError):
                self.undo(fault)

    def begin(self, fault: Fault) -> None:
        with self._lock:
            began_s = self._now_s()
            self._standing[fault] = began_s, frozenset(self._find_served(fault.place).values())
            if fault.kind.startswith(("engine-", "vrrp-")):
                self._standing[fault] = began_s, self._strike_sandbox(fault)
            else:
                self._begin(fault)

    def undo(self, fault: Fault) -> None:
        with self._lock:
            began_s, vips = self._standing.pop(fault)
            self._undo(fault)
            self.blows.append(Blow(fault=fault, began_s=began_s, ended_s=self._now_s(), vips=vips))

    def _begin(self, fault: Fault) -> None:
        match fault.kind:
            case "kill":
                self._down.add(fault.target)
                self._services[fault.target].kill()
            case "pause":
                self._services[fault.target].pause()
            case "slow":
                self._slow[fault.target] = _make_slow(self._ground.agents[fault.target])
            case "database-kill":
                _send([self._find_postmaster()], signal.SIGKILL)
            case "database-restart":
                self._ground.database.stop()
            case "database-pause":
                self._held[fault] = _pause_all(self._find_postmaster())
            case "cut-management" | "cut-provider" | "cut-both":
                self._machine(fault).cut(*LEGS[fault.kind])
            case "disk-full":
                _fill(self._machine(fault).disk)
            case "clock":
                write_offset(self._clock_of(fault.target), fault.amount)
            case "power":
                self._ground.stop_host(fault.target)
            case "member-down":
                self._ground.stop_web_process(self._find_server(fault))

    def _undo(self, fault: Fault) -> None:
        match fault.kind:
            case "kill":
                self._down.discard(fault.target)
                self._services[fault.target].start()
            case "pause":
                self._services[fault.target].resume()
            case "slow":
                self._slow.pop(fault.target).set()
            case "database-kill" | "database-restart":
                self._ground.database.start()
            case "database-pause":
                _send(self._held.pop(fault), signal.SIGCONT)
            case "cut-management" | "cut-provider" | "cut-both":
                self._machine(fault).heal(*LEGS[fault.kind])
            case "disk-full":
                (self._machine(fault).disk / FILLER).unlink(missing_ok=True)
            case "clock":
                write_offset(self._clock_of(fault.target), 0.0)
            case "engine-pause" | "vrrp-pause":
                self._expect_mended(fault)
            case "power":
                self._ground.start_host(fault.target)
            case "member-down":
                self._ground.run_web_process(self._find_server(fault))

    def _revive(self) -> None:
        while not self._enough.wait(REVIVED_AFTER_S):
            with self._lock:
                for name, service in self._services.items():
                    if name not in self._down and (service.machine is None or service.machine.is_on):
                        service.start()

    def _now_s(self) -> float:
        return time.monotonic() - self._origin_s

    def _machine(self, fault: Fault) -> Machine:
        return self._ground.machines[fault.target]

    def _find_server(self, fault: Fault) -> WebServer:
        return next(server for server in self._ground.servers if server.name == fault.target)

    def _find_postmaster(self) -> int:
        file = self._ground.data_dir / "postgres" / "postmaster.pid"
        return int(file.read_text(encoding="ascii").split()[0])

    # Whom it strikes

    def _find_served(self, place: str) -> dict[str, str]:
        """Return the watched VIPs of a host by amphora, none of what is no host."""
        if place not in self._ground.machines:
            return {}
        disk = self._ground.machines[place].disk
        owners = {path.parent.name: _read_owner(path) for path in disk.glob("amphorae/*/record.json")}
        return {amphora_id: self._vips[owner] for amphora_id, owner in owners.items() if owner in self._vips}

    def _strike_sandbox(self, fault: Fault) -> frozenset[str]:
        """Kill or stop what runs in one sandbox, a watched one if there is one with such programs. Return its VIP."""
        machine, served = self._machine(fault), self._find_served(fault.target)
        inside = {one: _list_inside(machine, one, PROGRAMS.get(fault.kind, ())) for one in machine.list_sandboxes()}
        there = [one for one, pids in inside.items() if pids]
        there = [one for one in there if one in served] or there
        if not there:
            return frozenset()
        chosen = there[int(fault.amount * len(there))]
        if fault.kind.endswith("-kill"):
            _send(inside[chosen], signal.SIGKILL)
        else:
            self._held[fault] = _pause_inside(machine, chosen, PROGRAMS[fault.kind])
        return frozenset({served[chosen]} if chosen in served else ())

    def _expect_mended(self, fault: Fault) -> None:
        left = [pid for pid in self._held.pop(fault, ()) if is_alive(pid)]
        if left:
            (program,) = PROGRAMS[fault.kind]
            self.wrong.append(f"{program} hung on {fault.target} for {fault.lasts_s:.1f} s and was not started again")
        _send(left, signal.SIGCONT)


def _read_owner(record: Path) -> str:
    """Return the load balancer of an amphora that a host knows, "" for one that is just going."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return str(json.loads(record.read_bytes())["sandbox"]["load_balancer_id"])
    return ""


def _list_inside(machine: Machine, amphora_id: str, programs: Collection[str]) -> list[int]:
    """Return the processes of a sandbox, those of some programs only or all; none while it comes or goes."""
    with contextlib.suppress(OSError, StateraError):
        there = machine.list_processes(amphora_id)
        return [pid for pid in there if not programs or _read_program(pid) in programs]
    return []


def _pause_inside(machine: Machine, amphora_id: str, programs: Collection[str]) -> list[int]:
    """Make these programs of a sandbox stand still, also what one of them starts meanwhile. Return the processes."""
    held: list[int] = []
    while fresh := [pid for pid in _list_inside(machine, amphora_id, programs) if pid not in held]:
        _send(fresh, signal.SIGSTOP)
        held += fresh
    return held


def _read_program(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="ascii", errors="replace").strip()
    return ""


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _pause_all(pid: int) -> list[int]:
    """Make a process and its children stand still, the parent first: it starts no others then. Return them."""
    _send([pid], signal.SIGSTOP)
    family = list_family(pid)
    _send(family, signal.SIGSTOP)
    return family


def _make_slow(service: Service) -> threading.Event:
    """Let a process run for a tenth of the time only, until the event is set."""
    enough = threading.Event()

    def hold() -> None:
        while not enough.is_set():
            service.pause()
            time.sleep(SLOW_STANDS_S)
            service.resume()
            enough.wait(SLOW_RUNS_S)

    threading.Thread(target=hold, daemon=True).start()
    return enough


def _fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / FILLER).open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
