"""keepalived of one amphora that shares its VIPs: started, told of changes, found again, ended."""

import os
import signal
import socket

import msgspec

from statera.agent import namespace
from statera.agent.folders import AmphoraFolders
from statera.agent.keepalived import KeepalivedProcess, Part, wait_for
from statera.agent.process import Launch
from statera.agent.silence import Silence
from statera.base.errors import Transient
from statera.model.spec import SandboxSpec
from statera.model.vrrp import YIELDING_PRIORITY
from statera.render.keepalived import render_keepalived

UP_WITHIN_S = 3.0
MOST_SILENCES = 2
"""Questions in a row that it leaves alone, each for seconds, before it is taken for hung: it can neither take the
VIPs nor give them up, and those that it has stay where they are when another one takes them, too."""
SHARING = Part(
    option="--vrrp",
    child_pid_option="--vrrp_pid",
    marker="keepalived-vrrp",
    configuration="keepalived.conf",
    pid="vrrp-pid",
    words="vrrp-words",
    capabilities=("net_admin", "net_raw"),
    # It does next to nothing, but must do it in time.
    nice=-10,
)


class Keepalived:
    """keepalived of one amphora. All calls block for some milliseconds; its caller holds the amphora's lock."""

    def __init__(self, amphora_id: str, folders: AmphoraFolders) -> None:
        self._amphora_id = amphora_id
        self._folders = folders
        self._process = KeepalivedProcess(amphora_id, folders, SHARING)
        self._silence = Silence(MOST_SILENCES)

    def find_pid(self) -> int | None:
        """Return the pid of its parent process if it runs."""
        return self._process.find_pid()

    @property
    def has_shared(self) -> bool:
        """Say whether it has been brought up, and not been ended on purpose since."""
        return self._folders.vrrp.exists()

    def is_missed(self, spec: SandboxSpec) -> bool:
        """Say whether it should run and does not, or hangs."""
        return is_sharing(spec) and (self.is_hung or self.find_pid() is None)

    @property
    def is_hung(self) -> bool:
        return self._silence.is_hung

    def ask(self) -> None:
        """Ask it for a sign of life, and note whether it has given the one that was asked for by the last call.

        Needs no lock.
        """
        self._silence.note(is_answer=self._process.ask())

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
        if pid is None or self.is_hung or not known.startswith(mark):
            self._start(launch)
        elif mark + wanted != known:
            os.kill(pid, signal.SIGHUP)

    def _mark_interfaces(self, spec: SandboxSpec) -> str:
        """Return a line that changes when an interface is another one of the same name: it must begin anew there."""
        with namespace.entered(self._amphora_id):
            numbers = [socket.if_nametoindex(interface.name) for interface in spec.interfaces if interface.vips]
        return f"# Interface {' '.join(map(str, numbers))}\n"

    def _start(self, launch: Launch) -> None:
        child, marker = self._process.start(launch), self._process.marker
        self._silence.end()
        if not wait_for(lambda: marker.exists() or child.poll() is not None, UP_WITHIN_S) or not marker.exists():
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
        self._process.end(signal.SIGTERM)
        self._process.end(signal.SIGKILL)
        self._process.forget()


def is_sharing(spec: SandboxSpec) -> bool:
    """Say whether an amphora takes part in sharing its VIPs: one that stands by does not yet."""
    return spec.vrrp is not None and any(interface.vips for interface in spec.interfaces)
