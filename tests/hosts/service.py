"""One long-running process of Statera that a test starts, hurts and starts again, here or on a host."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from statera.base.processes import is_alive
from tests.hosts.machine import Machine, find_child

STATERA = (sys.executable, "-m", "statera")
STOP_WITHIN_S = 20.0


class Service:
    """`role` is a command of `statera`; `options` are environment variables that tell it from others of its role."""

    def __init__(
        self,
        name: str,
        role: str,
        config: Path,
        log: Path,
        *,
        options: Mapping[str, str] | None = None,
        machine: Machine | None = None,
        launcher: Sequence[str] = STATERA,
    ) -> None:
        self.name = name
        self.role = role
        self.machine = machine
        self._log = log
        self.launcher = launcher
        """May be changed before the next start."""
        self._words = [role, "--config", str(config)]
        self._options = dict(options or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None and is_alive(self.pid)

    def start(self) -> None:
        """Start it; one that still runs is left alone."""
        if self.is_running:
            return
        self._end_waiting()
        words = ["env", *(f"{name}={value}" for name, value in self._options.items()), *self.launcher, *self._words]
        with self._log.open("ab") as log:
            if self.machine is None:
                self._process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
                self.pid = self._process.pid
            else:
                self._process = self.machine.start(words, log)
                self.pid = find_child(self._process.pid)

    def kill(self) -> None:
        """End it as a crash does."""
        self._signal(signal.SIGKILL)
        self._end_waiting()

    def stop(self) -> None:
        """End it as an operator does; kill it when it does not obey."""
        if self._process is None:
            return
        self.resume()
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_WITHIN_S)
        self.kill()

    def pause(self) -> None:
        """Make it stand still where it is."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)
        if self._process is not None and self._process.poll() is None:
            # `nsenter` stands still when its program does (nsenter.c, continue_as_child).
            os.kill(self._process.pid, signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and is_alive(self.pid):
            os.kill(self.pid, number)

    def _end_waiting(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
