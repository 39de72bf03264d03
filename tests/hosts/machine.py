"""A host played by namespaces: its processes, mounts, network and name are its own, its kernel and its disk are ours.

What runs in it cannot tell it from a machine: `/run` is empty at each boot, the network namespaces of sandboxes are
there only, and when its first process dies all others die with it, as when a machine loses its power.
"""

import contextlib
import os
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from statera.agent.cgroups import remove_groups
from statera.base.errors import Lasting
from statera.base.processes import is_alive
from statera.cli.playground import run_ip

GONE_WITHIN_S = 10.0

# A fresh sysfs shows the devices of the new network, but no control groups: those are taken along. The first process
# ignores SIGCHLD, so that the kernel reaps whatever is left to it (wait(2)).
BOOT = """
set -e
hostname "$1"
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/groups
mount --rbind /sys/fs/cgroup /run/groups
mount -t sysfs sysfs /sys
mount --rbind /run/groups /sys/fs/cgroup
umount -l /run/groups
rmdir /run/groups
mount -t proc proc /proc
ip link set lo up
echo booted
exec env --ignore-signal=CHLD sleep infinity >/dev/null 2>&1
"""


class Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One interface of a host: `inside` is its name there, `outside` that of its other end, a port of `bridge`."""

    inside: str
    outside: str
    bridge: str
    addresses: tuple[str, ...] = ()
    """With prefix length."""


class Machine:
    """One host. `disk` outlives its boots; with `disk_mib` it is one of its own, and as small as that."""

    def __init__(self, name: str, disk: Path, legs: Sequence[Leg], *, disk_mib: int = 0) -> None:
        self.name = name
        self.disk = disk
        self._disk_mib = disk_mib
        self.legs = {leg.inside: leg for leg in legs}
        self._holder: subprocess.Popen[bytes] | None = None
        self._init = 0

    @property
    def is_on(self) -> bool:
        return self._holder is not None and self._holder.poll() is None

    @property
    def root(self) -> Path:
        """The host's own view of all files, `/run` and `/proc` above all."""
        return Path(f"/proc/{self._init}/root")

    def make_disk(self) -> None:
        self.disk.mkdir(parents=True, exist_ok=True)
        if self._disk_mib and not self.disk.is_mount():
            size = f"size={self._disk_mib}m,mode=755"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.disk)], check=True)

    def remove_disk(self) -> None:
        if self.disk.is_mount():
            subprocess.run(["umount", "--lazy", str(self.disk)], check=True)

    def boot(self) -> None:
        """Start the host with its legs plugged in; nothing runs on it yet. Raises `Lasting`."""
        apart = ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--"]
        # Its disk stands on the command line, so that what a killed test run left behind is found by it.
        words = [*apart, "sh", "-c", BOOT, str(self.disk), self.name]
        self._holder = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"booted\n":
            raise Lasting("machine-not-booted", f"Host {self.name} does not boot.")
        self._init = find_child(self._holder.pid)
        for leg in self.legs.values():
            self._plug_in(leg)

    def _plug_in(self, leg: Leg) -> None:
        with contextlib.suppress(Lasting):
            run_ip("link", "delete", leg.outside)
        run_ip("link", "add", leg.outside, "type", "veth", "peer", "name", leg.inside, "netns", str(self._init))
        run_ip("link", "set", leg.outside, "master", leg.bridge, "up")
        for address in leg.addresses:
            self.run("ip", "address", "add", address, "dev", leg.inside)
        self.run("ip", "link", "set", leg.inside, "up")

    def power_off(self) -> None:
        """End everything on it at once: processes, sandboxes, what was in memory."""
        if self._holder is not None:
            with contextlib.suppress(ProcessLookupError):
                self._holder.kill()
            self._holder.wait()
            assert self._holder.stdout is not None
            self._holder.stdout.close()
            self._holder = None
            _wait_gone(self._init)
        for leg in self.legs.values():
            # The kernel takes its time with a namespace; nobody may reach it meanwhile.
            with contextlib.suppress(Lasting):
                run_ip("link", "delete", leg.outside)

    def forget_sandboxes(self) -> None:
        """Remove the control groups of its sandboxes: those are in our kernel, and stay when it loses power."""
        kept = self.disk / "amphorae"
        for path in kept.iterdir() if kept.is_dir() else ():
            remove_groups(path.name)

    # Links

    def cut(self, *insides: str) -> None:
        """Cut these legs, all by default, somewhere on their way: the host sees its own link up."""
        for inside in insides or self.legs:
            outside = self.legs[inside].outside
            # Beyond the bridge it is a link of this machine, which would answer there for all of its own addresses.
            _answer_on(outside, is_wanted=False)
            run_ip("link", "set", outside, "nomaster")
            # The bridge may have had this link's own MAC: what is still sent to it must not arrive.
            run_ip("link", "set", outside, "address", f"02:{os.urandom(5).hex(':')}")

    def heal(self, *insides: str) -> None:
        """Join these legs again, all by default."""
        for inside in insides or self.legs:
            leg = self.legs[inside]
            run_ip("link", "set", leg.outside, "master", leg.bridge)
            _answer_on(leg.outside, is_wanted=True)

    # Processes

    def enter(self, *words: str) -> list[str]:
        """Return the command that runs `words` on the host."""
        into = ("nsenter", f"--target={self._init}", "--mount", "--net", "--pid", "--uts", "--")
        return [*into, *words]

    def run(self, *words: str) -> str:
        """Run a command on the host; return what it printed. Raises `Lasting` with its words."""
        done = subprocess.run(self.enter(*words), check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise Lasting("machine-command-failed", f"{self.name}: {shlex.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def start(self, words: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program on the host. What is returned waits for it outside; `find_child` gives the program itself."""
        return subprocess.Popen(self.enter(*words), stdout=log, stderr=log, start_new_session=True)

    def list_sandboxes(self) -> list[str]:
        """Return the amphorae that have a network namespace on this host."""
        folder = self.root / "run/netns"
        names = os.listdir(folder) if self.is_on and folder.is_dir() else []
        return sorted(name.removeprefix("statera-") for name in names if name.startswith("statera-"))

    def list_addresses(self, amphora_id: str) -> list[str]:
        """Return the addresses that a sandbox of this host has, without prefix length; none when it has just gone."""
        deadline = time.monotonic() + GONE_WITHIN_S
        while True:
            try:
                told = self.run("ip", "-n", f"statera-{amphora_id}", "-o", "address", "show", "scope", "global")
                break
            except Lasting:
                # Its name outlives a namespace that is being removed, for a moment.
                if amphora_id not in self.list_sandboxes():
                    return []
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        return [line.split()[3].partition("/")[0] for line in told.splitlines()]

    def list_processes(self, amphora_id: str) -> list[int]:
        """Return HAProxy's processes in a sandbox, by the pids that they have outside of the host."""
        wanted = os.stat(self.root / f"run/netns/statera-{amphora_id}").st_ino
        return [pid for pid in _list_pids() if _network_of(pid) == wanted]


def _answer_on(link: str, *, is_wanted: bool) -> None:
    """Let this machine answer questions for its addresses on a link, or none at all (ip-sysctl, arp_ignore)."""
    Path(f"/proc/sys/net/ipv4/conf/{link}/arp_ignore").write_text("0" if is_wanted else "8", encoding="ascii")
    no_ipv6 = Path(f"/proc/sys/net/ipv6/conf/{link}/disable_ipv6")
    if no_ipv6.exists():
        no_ipv6.write_text("0" if is_wanted else "1", encoding="ascii")


def find_child(pid: int, within_s: float = 5.0) -> int:
    """Return the first child of a process, once it has one. Raises `Lasting`."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if children := Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
                return int(children[0])
        time.sleep(0.005)
    raise Lasting("machine-command-failed", f"Process {pid} has started nothing.")


def _wait_gone(pid: int) -> None:
    # The first process of a host outlives all others there; when its own end is noted does not matter.
    deadline = time.monotonic() + GONE_WITHIN_S
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.005)


def _list_pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _network_of(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.stat(f"/proc/{pid}/ns/net").st_ino
    return 0
