"""HAProxy's master process: started in its namespaces, found again after the agent's own restart, watched, ended.

The kernel is the truth: a pid counts only while that process is in the amphora's network namespace, so a pid that was
given to something else is never signalled.
"""

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from statera.agent import namespace
from statera.agent.contents import keep_contents
from statera.agent.folders import AmphoraFolders
from statera.agent.lifeline import hold_lifeline
from statera.agent.users import User
from statera.base.processes import read_status
from statera.base.secret import Secret
from statera.base.settings import AgentSettings
from statera.model.document import Document
from statera.model.spec import LimitsSpec
from statera.render.paths import SANDBOX_PATHS

OTHER_ENGINES = ("nginx", "keepalived")
"""Programs that run beside HAProxy, as the kernel names them."""
MOST_PID_BYTES = 32
GONE_WITHIN_S = 5.0
LOOK_AGAIN_S = 0.005

# Arguments: 1 the amphora's folder, 2 where it is bound, 3 the pid file or "", 4 the descriptor limit, then the control
# groups up to "--", then the command. All `exec`s, so the pid that is written stays that of the last program.
# Namespaces of other amphorae are let go of, since each kept mount would keep one alive: all of them at once, not one
# after the other as `--recursive` does it, and again while another mount lies below. Whoever cleans /run up may have
# taken the place away.
# What stays closes the folders in which every user may write, with one `mount` for all, so that nobody fills the host
# from within; a check, which ends by itself, does not take the time. A core dump would hold keys. There are as many
# processes as monitors of type PING may need at once and no more; some shells name that limit by another letter.
LAUNCHER = """
folder=$1 place=$2 pidfile=$3 descriptors=$4; shift 4
while [ "$1" != -- ]; do echo $$ >"$1" 2>/dev/null; shift; done; shift
while umount -l /run/netns 2>/dev/null; do :; done
[ -d "$place" ] || mkdir -p "$place"
if [ -n "$pidfile" ]; then
  for open in /tmp /var/tmp /dev/shm; do
    case $folder in "$open"/*) ;; *) echo "$place $open none bind 0 0";; esac
  done >"$folder/closed"
  mount -a -n -T "$folder/closed" 2>/dev/null
fi
mount --bind "$folder" "$place" || exit 97
ulimit -n "$descriptors" 2>/dev/null
ulimit -c 0
ulimit -u 4096 2>/dev/null || ulimit -p 4096
cd / || exit 97
if [ -n "$pidfile" ]; then echo $$ >"$pidfile" || exit 97; fi
exec "$@"
"""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What every program that is run inside one amphora has in common."""

    amphora_id: str
    folders: AmphoraFolders
    limits: LimitsSpec
    user: User
    groups: tuple[Path, ...] = ()
    has_lifeline: bool = False
    """Whether the sandbox has a lifeline, which HAProxy holds, or nginx where there is no HAProxy."""


def make_command(
    launch: Launch,
    words: Sequence[str],
    *,
    pid_file: str,
    is_inside: bool,
    capabilities: Sequence[str] = (),
    nice: int = 0,
) -> list[str]:
    """Return the command that runs another, without privileges, with the amphora's folder in its place.

    `is_inside`: in the amphora's network, too. It has these capabilities and no others.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = launch.limits.file_descriptors
    descriptors = limit if most == resource.RLIM_INFINITY else min(limit, most)
    # Nobody gets CAP_NET_RAW, because of --no-new-privs. But the kernel runs no file that asks for a capability outside
    # the bounding set (capabilities(7)), and Debian's `ping`, which PING monitors use, asks for this one.
    keeps = "-all" + "".join(f",+{name}" for name in capabilities)
    bounds = keeps if "net_raw" in capabilities else f"{keeps},+net_raw"
    entering = ["nsenter", f"--net={namespace.namespace_path(launch.amphora_id)}"] if is_inside else []
    return [
        *entering, "unshare", "--mount", "--ipc", "--propagation", "slave",
        "sh", "-c", LAUNCHER, "statera-launch",
        str(launch.folders.run), SANDBOX_PATHS.folder, pid_file, str(descriptors), *map(str, launch.groups), "--",
        *(["nice", f"--adjustment={nice}"] if nice else []),
        "setpriv", f"--reuid={launch.user.user_id}", f"--regid={launch.user.group_id}", "--clear-groups",
        f"--inh-caps={keeps}", f"--ambient-caps={keeps}", f"--bounding-set={bounds}", "--no-new-privs", "--", *words,
    ]  # fmt: skip


async def check_document(
    launch: Launch, agent: AgentSettings, document: Document, contents: Mapping[str, Secret[bytes]]
) -> str:
    """Let HAProxy check a document beside the live one; return "" when it accepts it, else its words."""
    with launch.folders.beside(launch.user) as folders:
        keep_contents(folders.run, contents, launch.user.group_id)
        folders.write_document(document)
        if not (folders.run / "state").exists():
            folders.write("state", "")
        # Outside the sandbox's memory group: a check beside a busy HAProxy must not get it killed.
        return await _check(msgspec.structs.replace(launch, folders=folders, groups=()), agent)


async def _check(launch: Launch, agent: AgentSettings) -> str:
    words = [agent.haproxy, "-c", "-f", SANDBOX_PATHS.configuration]
    told = await run_check(make_command(launch, words, pid_file="", is_inside=False))
    return "" if told is None else told or "HAProxy ended without a word."


async def run_check(command: Sequence[str]) -> str | None:
    """Run a program that judges a file; return None when it accepts it, else its words."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_make_environment(),
    )
    try:
        _, told = await asyncio.wait_for(process.communicate(), 30.0)
    except (TimeoutError, asyncio.CancelledError):
        process.kill()
        await process.wait()
        raise
    return None if process.returncode == 0 else told.decode("utf-8", errors="replace").strip()


def start(launch: Launch, agent: AgentSettings, *, takes_over: bool = False) -> subprocess.Popen[bytes]:
    """Start the master with its worker. It belongs to nobody: it lives on when the agent ends.

    `takes_over`: it gets the listening sockets of the one that runs, which is to be told to finish then.
    """
    socket = f"{SANDBOX_PATHS.master_socket},mode,600"
    words = [agent.haproxy, "-W", "-S", socket, "-f", SANDBOX_PATHS.configuration]
    words += ["-x", SANDBOX_PATHS.stats_socket] if takes_over else []
    command = make_command(launch, words, pid_file=str(launch.folders.pid), is_inside=True)
    return start_holding(launch, command, launch.folders.words)


def start_holding(launch: Launch, command: Sequence[str], words: Path) -> subprocess.Popen[bytes]:
    """Start a program that holds the sandbox's lifeline, if there is one and nobody else does."""
    lifeline = hold_lifeline(launch.amphora_id) if launch.has_lifeline else None
    return _start_with(lifeline, command, words)


def _start_with(lifeline: int | None, command: Sequence[str], words: Path) -> subprocess.Popen[bytes]:
    if lifeline is None:
        return start_program(command, words)
    try:
        return start_program(command, words, kept=[lifeline])
    finally:
        os.close(lifeline)


def start_sharing(launch: Launch, command: Sequence[str], words: Path) -> subprocess.Popen[bytes]:
    """Start a program that holds the sandbox's lifeline together with the one that it takes over from."""
    lifeline = hold_lifeline(launch.amphora_id, shares=True) if launch.has_lifeline else None
    return _start_with(lifeline, command, words)


def start_program(command: Sequence[str], words: Path, *, kept: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start a program that lives on when the agent ends; what it prints goes into a file.

    It inherits the descriptors in `kept`.
    """
    with words.open("ab") as told:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=told,
            start_new_session=True,
            pass_fds=kept,
            env=_make_environment(),
        )


def _make_environment() -> dict[str, str]:
    # The agent's own may hold secrets, the password of the database say, and every process can read its own.
    return {"PATH": os.environ.get("PATH", os.defpath)}


def find_master(pid_file: Path, amphora_id: str) -> int | None:
    """Return the pid of a program that runs in the amphora, from an earlier life of the agent too."""
    try:
        pid = int(_read_start(pid_file))
    except (OSError, ValueError):
        return None
    return pid if is_inside(pid, amphora_id) else None


def _read_start(path: Path) -> bytes:
    # Without Python's own file object, which costs many times as much: every heartbeat asks.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, MOST_PID_BYTES)
    finally:
        os.close(file)


def runs_as(pid: int, user: User) -> bool:
    """Say whether a process is this user's."""
    with contextlib.suppress(OSError):
        return read_status(pid, "Uid")[:1] == [str(user.user_id)]
    return False


def hand_sockets_over(amphora_id: str, user: User) -> None:
    """Give the sockets of HAProxy to a user, who may listen beside them then (`SO_REUSEPORT`, socket(7))."""
    for pid in list_running(amphora_id, but=OTHER_ENGINES):
        for path in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                if os.readlink(path).startswith("socket:"):
                    os.chown(path, user.user_id, user.group_id)


def is_inside(pid: int, amphora_id: str) -> bool:
    """Say whether a living process is in the amphora's namespace: one that has ended, reaped or not, is in none."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino == namespace.inode(amphora_id)
    except OSError:
        return False


def list_inside(amphora_id: str) -> list[int]:
    """Return all processes in the amphora's namespace, but for this one and what it has sent there on an errand."""
    wanted = namespace.inode(amphora_id)
    if wanted is None:
        return []
    return [pid for pid, inode in _list_inodes() if inode == wanted and not _is_errand(pid)]


def _is_errand(pid: int) -> bool:
    """Say whether this process waits for the end of another one, `nft` say: what is to live on has its own session."""
    with contextlib.suppress(OSError):
        return os.getsid(pid) == os.getsid(0) and read_status(pid, "PPid") == [str(os.getpid())]
    return False


def end_strays(amphora_id: str) -> None:
    """Kill the amphora's processes in a namespace that lost its name: the folder that they have mounted tells them."""
    folder = f"/amphorae/{amphora_id}"
    # The kernel adds a mark when the folder itself is gone, too (proc(5)).
    marks = tuple(f"{folder}{end} {SANDBOX_PATHS.folder} " for end in ("", "//deleted"))
    for pid in list_nameless():
        with contextlib.suppress(OSError):
            mounts = Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8", errors="replace")
            if any(mark in mounts for mark in marks):
                os.kill(pid, signal.SIGKILL)


def list_nameless() -> list[int]:
    """Return the processes in network namespaces that have no name: neither this one nor one of a sandbox.

    They are few. Where a thousand sandboxes are mounted, to read what a process has mounted takes 10 ms.
    """
    named = namespace.list_inodes()
    return [pid for pid, inode in _list_inodes() if inode not in named]


def _list_inodes() -> Iterator[tuple[int, int]]:
    """Give every other process, and what identifies its network namespace.

    This process is in a sandbox for moments: another of its threads, which looks then, must not take it for a stray.
    """
    own = os.getpid()
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(name)
            if pid != own:
                yield pid, os.stat(f"/proc/{pid}/ns/net").st_ino


def list_running(amphora_id: str, *, only: Sequence[str] = (), but: Sequence[str] = ()) -> list[int]:
    """Return the processes in the namespace, those of some programs only, or all but those."""
    return [pid for pid in list_inside(amphora_id) if _is_meant(pid, only, but)]


def _is_meant(pid: int, only: Sequence[str], but: Sequence[str]) -> bool:
    try:
        program = Path(f"/proc/{pid}/comm").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return False
    return program not in but and (not only or program in only)


async def end_all(amphora_id: str, *, only: Sequence[str] = (), but: Sequence[str] = ()) -> None:
    """Kill every process in the namespace, or those of some programs, or all others.

    Waits until the kernel has let go of them. Raises `TimeoutError`.
    """
    async with asyncio.timeout(GONE_WITHIN_S):
        while pids := await asyncio.to_thread(list_running, amphora_id, only=only, but=but):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(LOOK_AGAIN_S)
