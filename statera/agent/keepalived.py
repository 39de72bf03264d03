"""A keepalived of one amphora: started in its namespaces, found again, ended. Which file it reads, its user knows.

An amphora may have two: one shares the VIPs (`vrrp.py`), one fills the kernel's IPVS (`lvs.py`). Each runs as HAProxy's
user with the capabilities that it needs. They stand outside of the sandbox's limits: a HAProxy that uses up all that
the sandbox may have must not make its neighbour believe that it is dead.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from statera.agent import namespace, process
from statera.agent.folders import AmphoraFolders
from statera.agent.process import Launch
from statera.agent.words import Words
from statera.base.processes import list_family, read_status
from statera.render.paths import SANDBOX_PATHS

PROGRAM = "keepalived"
"""As the kernel names its processes."""
PARENT = "-parent"
"""How the name of the file ends in which the parent writes its pid."""
GONE_WITHIN_S = 2.0
LOOK_AGAIN_S = 0.005
QUESTION = signal.SIGCHLD
"""It wakes up for this one, finds that no child of its own has ended, and does nothing."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What of keepalived is run: only this, with files of its own."""

    option: str
    child_pid_option: str
    """Which file its child says in that it works."""
    marker: str
    """That file, in the folder where it may write."""
    configuration: str
    pid: str
    words: str
    capabilities: tuple[str, ...]
    nice: int = 0


class KeepalivedProcess:
    """One of them. All calls block for some milliseconds; the caller holds the amphora's lock."""

    def __init__(self, amphora_id: str, folders: AmphoraFolders, part: Part) -> None:
        self._amphora_id = amphora_id
        self._folders = folders
        self._part = part
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def words(self) -> Words:
        """What it printed."""
        return Words(self._folders.run / self._part.words)

    @property
    def marker(self) -> Path:
        return self._folders.live / self._part.marker

    @property
    def _pid_file(self) -> Path:
        return self._folders.run / self._part.pid

    def find_pid(self) -> int | None:
        """Return the pid of its parent process if it runs."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        return process.find_master(self._pid_file, self._amphora_id)

    def is_up(self) -> bool:
        """Say whether it runs and would read its file anew when it is told: earlier the signal would end it."""
        # It reads its signals from a descriptor (signalfd(2)), for which they are blocked.
        return _has_signal(self.find_pid() or 0, "SigBlk", signal.SIGHUP)

    def ask(self) -> bool:
        """Ask its processes for a sign of life; say whether they took in what the call before has asked."""
        parent = self.find_pid()
        asked = list_family(parent) if parent is not None else []
        has_answered = not any(_has_signal(pid, "ShdPnd", QUESTION) for pid in asked)
        _send(asked, QUESTION)
        return has_answered

    def start(self, launch: Launch, *, takes_lifeline: bool = False) -> subprocess.Popen[bytes]:
        """Start it instead of any other of its kind; return it, which may end again at once."""
        # One without its parent may be left, and would not know that another begins.
        self.end(signal.SIGKILL)
        self.words.trim()
        # It would not start beside a process that has got a pid which stands there.
        for file in (self.marker, self.marker.with_name(f"{self._part.marker}{PARENT}")):
            file.unlink(missing_ok=True)
        command = process.make_command(
            msgspec.structs.replace(launch, groups=()),
            list_words(self._part),
            pid_file=str(self._pid_file),
            is_inside=True,
            capabilities=self._part.capabilities,
            nice=self._part.nice,
        )
        if takes_lifeline:
            self._child = process.start_holding(launch, command, self.words.file)
        else:
            self._child = process.start_program(command, self.words.file)
        return self._child

    def end(self, number: signal.Signals) -> None:
        """Signal all its processes, and wait a while until they are gone."""
        _send(self._list_pids(), number)
        wait_for(lambda: not self._list_pids(), GONE_WITHIN_S)

    def forget(self) -> None:
        """Remove what says that there may be one."""
        for file in (self._folders.run / self._part.configuration, self._pid_file):
            file.unlink(missing_ok=True)

    def _list_pids(self) -> list[int]:
        if not self._pid_file.exists() or not namespace.exists(self._amphora_id):
            return []
        return [pid for pid in process.list_running(self._amphora_id, only=(PROGRAM,)) if self._is_own(pid)]

    def _is_own(self, pid: int) -> bool:
        # Its children have their parent's words.
        with contextlib.suppress(OSError):
            return self._part.option.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return False


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _has_signal(pid: int, field: str, number: signal.Signals) -> bool:
    """Say whether a signal is in this set of a process (proc(5)); False when the process has gone."""
    with contextlib.suppress(OSError):
        (found,) = read_status(pid, field) or ["0"]
        return bool(int(found, 16) & 1 << number - 1)
    return False


def list_words(part: Part) -> list[str]:
    """Return keepalived's command line."""
    live = f"{SANDBOX_PATHS.folder}/live"
    return [
        PROGRAM, "--dont-fork", part.option, "--log-console", "--log-detail",
        f"--use-file={SANDBOX_PATHS.folder}/{part.configuration}",
        f"--pid={live}/{part.marker}{PARENT}", f"{part.child_pid_option}={live}/{part.marker}",
    ]  # fmt: skip


def wait_for(condition: Callable[[], bool], within_s: float) -> bool:
    """Wait until it holds, for so long at most; say whether it does."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_AGAIN_S)
    return True
