"""keepalived of one amphora that shares its VIPs: started, told of changes, found again, ended.

It runs as the sandbox's user with the two capabilities that it needs. It stands outside of the sandbox's limits: a
HAProxy that uses up all that the sandbox may have must not make its neighbour believe that it is dead.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable

import msgspec

from statera.agent import namespace, process
from statera.agent.folders import AmphoraFolders
from statera.agent.process import Launch
from statera.base.errors import Transient
from statera.model.spec import SandboxSpec
from statera.model.vrrp import YIELDING_PRIORITY
from statera.render.keepalived import render_keepalived
from statera.render.paths import SANDBOX_PATHS

UP_WITHIN_S = 3.0
GONE_WITHIN_S = 2.0
LOOK_AGAIN_S = 0.005
MOST_WORDS_BYTES = 256 * 1024
KEEPALIVED = "keepalived"
"""As the kernel names its processes."""
NICENESS = -10
"""It does next to nothing, but must do it in time."""
CAPABILITIES = ("net_admin", "net_raw")


class Keepalived:
    """keepalived of one amphora. All calls block for some milliseconds; its caller holds the amphora's lock."""

    def __init__(self, amphora_id: str, folders: AmphoraFolders) -> None:
        self._amphora_id = amphora_id
        self._folders = folders
        self._child: subprocess.Popen[bytes] | None = None

    def find_pid(self) -> int | None:
        """Return the pid of its parent process if it runs."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        return process.find_master(self._folders.vrrp_pid, self._amphora_id)

    @property
    def has_shared(self) -> bool:
        """Say whether it has been brought up, and not been ended on purpose since."""
        return self._folders.vrrp.exists()

    def is_missed(self, spec: SandboxSpec) -> bool:
        """Say whether it should run and does not."""
        return is_sharing(spec) and self.find_pid() is None

    def ensure(self, spec: SandboxSpec, launch: Launch) -> None:
        """Bring it to the spec: the VIPs stay where they are when it only reads anew. Raises `Transient`."""
        wanted = render_keepalived(spec)
        if not wanted:
            self.stop()
            return
        mark = self._mark_interfaces(spec)
        known = self._folders.vrrp.read_text(encoding="ascii") if self.has_shared else ""
        if mark + wanted != known:
            self._folders.write(self._folders.vrrp.name, mark + wanted)
        pid = self.find_pid()
        if pid is None or not known.startswith(mark):
            self._start(launch)
        elif mark + wanted != known:
            os.kill(pid, signal.SIGHUP)

    def _mark_interfaces(self, spec: SandboxSpec) -> str:
        """Return a line that changes when an interface is another one of the same name: it must begin anew there."""
        with namespace.entered(self._amphora_id):
            numbers = [socket.if_nametoindex(interface.name) for interface in spec.interfaces if interface.vips]
        return f"# Interface {' '.join(map(str, numbers))}\n"

    def _start(self, launch: Launch) -> None:
        # One without its parent may be left, and would not know that another begins.
        self._end(signal.SIGKILL)
        words = self._folders.vrrp_words
        if words.exists() and words.stat().st_size > MOST_WORDS_BYTES:
            os.truncate(words, 0)
        live = f"{SANDBOX_PATHS.folder}/{self._folders.live.name}"
        program = [
            KEEPALIVED, "--dont-fork", "--vrrp", "--log-console", "--log-detail",
            f"--use-file={SANDBOX_PATHS.folder}/{self._folders.vrrp.name}",
            f"--pid={live}/keepalived", f"--vrrp_pid={live}/keepalived-vrrp",
        ]  # fmt: skip
        marker = self._folders.live / "keepalived-vrrp"
        marker.unlink(missing_ok=True)
        command = process.make_command(
            msgspec.structs.replace(launch, groups=()),
            program,
            pid_file=str(self._folders.vrrp_pid),
            is_inside=True,
            capabilities=CAPABILITIES,
            nice=NICENESS,
        )
        self._child = child = process.start_program(command, words)
        if not _wait_for(lambda: marker.exists() or child.poll() is not None, UP_WITHIN_S) or not marker.exists():
            raise Transient("vrrp-not-started", f"keepalived of amphora {self._amphora_id} does not start.")

    def yield_to_others(self, spec: SandboxSpec) -> None:
        """Let one that wants the VIPs have them: it takes them before they are given up here."""
        pid = self.find_pid()
        if pid is not None and spec.vrrp is not None:
            yielding = msgspec.structs.replace(spec.vrrp, priority=YIELDING_PRIORITY, preempts=False)
            text = render_keepalived(msgspec.structs.replace(spec, vrrp=yielding))
            self._folders.write(self._folders.vrrp.name, self._mark_interfaces(spec) + text)
            os.kill(pid, signal.SIGHUP)

    def stop(self) -> None:
        """End it; it tells its neighbours, so that another one has the VIPs at once."""
        self._end(signal.SIGTERM)
        self._end(signal.SIGKILL)
        for file in (self._folders.vrrp, self._folders.vrrp_pid):
            file.unlink(missing_ok=True)

    def _end(self, number: signal.Signals) -> None:
        for pid in self._list_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        _wait_for(lambda: not self._list_pids(), GONE_WITHIN_S)

    def _list_pids(self) -> list[int]:
        return process.list_running(self._amphora_id, only=(KEEPALIVED,)) if self._has_run() else []

    def _has_run(self) -> bool:
        return self._folders.vrrp_pid.exists() and namespace.exists(self._amphora_id)


def is_sharing(spec: SandboxSpec) -> bool:
    """Say whether an amphora takes part in sharing its VIPs: one that stands by does not yet."""
    return spec.vrrp is not None and any(interface.vips for interface in spec.interfaces)


def _wait_for(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_AGAIN_S)
    return True
