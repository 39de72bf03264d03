"""Does to a ground what the story says, and undoes it again."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from statera.base.errors import StateraError
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
    """Begins and undoes faults. `clock_of` says where the offset of a process' clock is kept.

    Within it processes that end by themselves are started again, as an init system does.
    """

    def __init__(self, ground: Ground, clock_of: Callable[[str], Path]) -> None:
        self._ground = ground
        self._clock_of = clock_of
        self._services = {service.name: service for service in [*ground.controllers.values(), *ground.agents.values()]}
        self._slow: dict[str, threading.Event] = {}
        self._down: set[str] = set()
        self._lock = threading.Lock()
        self._enough = threading.Event()
        self._reviver = threading.Thread(target=self._revive, daemon=True)

    def __enter__(self) -> "Hurt":
        self._reviver.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._reviver.join()

    def begin(self, fault: Fault) -> None:
        with self._lock:
            self._begin(fault)

    def undo(self, fault: Fault) -> None:
        with self._lock:
            self._undo(fault)

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
                self._kill_database()
            case "database-restart":
                self._ground.database.stop()
            case "cut-management" | "cut-provider" | "cut-both":
                self._machine(fault).cut(*LEGS[fault.kind])
            case "disk-full":
                _fill(self._machine(fault).disk)
            case "clock":
                write_offset(self._clock_of(fault.target), fault.amount)
            case "engine-kill":
                _kill_engine(self._machine(fault), fault.amount)
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
            case "cut-management" | "cut-provider" | "cut-both":
                self._machine(fault).heal(*LEGS[fault.kind])
            case "disk-full":
                (self._machine(fault).disk / FILLER).unlink(missing_ok=True)
            case "clock":
                write_offset(self._clock_of(fault.target), 0.0)
            case "power":
                self._ground.start_host(fault.target)

    def _revive(self) -> None:
        while not self._enough.wait(REVIVED_AFTER_S):
            with self._lock:
                for name, service in self._services.items():
                    if name not in self._down and (service.machine is None or service.machine.is_on):
                        service.start()

    def _machine(self, fault: Fault) -> Machine:
        return self._ground.machines[fault.target]

    def _kill_database(self) -> None:
        file = self._ground.data_dir / "postgres" / "postmaster.pid"
        postmaster = int(file.read_text(encoding="ascii").split()[0])
        with contextlib.suppress(ProcessLookupError):
            os.kill(postmaster, signal.SIGKILL)


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


def _kill_engine(machine: Machine, amount: float) -> None:
    with contextlib.suppress(OSError, StateraError):
        if sandboxes := machine.list_sandboxes():
            for pid in machine.list_processes(sandboxes[int(amount * len(sandboxes))]):
                os.kill(pid, signal.SIGKILL)
