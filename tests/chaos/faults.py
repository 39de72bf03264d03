"""Does to a ground what the story says, and undoes it again."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from statera.base.errors import StateraError
from statera.base.processes import is_alive
from tests.chaos.causes import Blow
from tests.chaos.clocks import write_offset
from tests.chaos.story import Fault
from tests.hosts.ground import MANAGEMENT, PROVIDER, Ground
from tests.hosts.machine import Machine
from tests.hosts.service import Service

SLOW_RUNS_S, SLOW_STANDS_S = 0.02, 0.18
REVIVED_AFTER_S = 0.5
FILLER = "filler"
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
            if fault.kind.startswith("engine-"):
                self._standing[fault] = began_s, self._strike_engine(fault)
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
            case "engine-pause":
                self._expect_mended(fault)
            case "power":
                self._ground.start_host(fault.target)

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

    def _strike_engine(self, fault: Fault) -> frozenset[str]:
        """End all that runs in one sandbox, or hold its HAProxy up; a watched one if there is one. Return its VIP."""
        machine, served = self._machine(fault), self._find_served(fault.target)
        there = machine.list_sandboxes()
        there = [one for one in there if one in served] or there
        if not there:
            return frozenset()
        chosen = there[int(fault.amount * len(there))]
        pids = _list_inside(machine, chosen)
        if fault.kind == "engine-kill":
            _send(pids, signal.SIGKILL)
        else:
            self._held[fault] = [pid for pid in pids if _read_program(pid) == "haproxy"]
            _send(self._held[fault], signal.SIGSTOP)
        return frozenset({served[chosen]} if chosen in served else ())

    def _expect_mended(self, fault: Fault) -> None:
        left = [pid for pid in self._held.pop(fault, ()) if is_alive(pid)]
        if left:
            self.wrong.append(f"HAProxy hung on {fault.target} for {fault.lasts_s:.1f} s and was not started again")
        _send(left, signal.SIGCONT)


def _read_owner(record: Path) -> str:
    """Return the load balancer of an amphora that a host knows, "" for one that is just going."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return str(json.loads(record.read_bytes())["sandbox"]["load_balancer_id"])
    return ""


def _list_inside(machine: Machine, amphora_id: str) -> list[int]:
    """Return the processes of a sandbox, none while it comes or goes."""
    with contextlib.suppress(OSError, StateraError):
        return machine.list_processes(amphora_id)
    return []


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
    with contextlib.suppress(OSError):
        told = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        children = [int(word) for word in told.split()]
        _send(children, signal.SIGSTOP)
        return [pid, *children]
    return [pid]


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
