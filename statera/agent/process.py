"""HAProxy's master process: started in its namespaces, found again after the agent's own restart, watched, ended.

The kernel is the truth: a pid counts only while that process is in the amphora's network namespace, so a pid that was
given to something else is never signalled.
"""

import asyncio
import contextlib
import os
import pwd
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from statera.agent import namespace
from statera.agent.contents import keep_contents
from statera.agent.folders import AmphoraFolders
from statera.base.processes import is_alive
from statera.base.secret import Secret
from statera.base.settings import AgentSettings
from statera.model.document import Document
from statera.model.spec import LimitsSpec
from statera.render.paths import SANDBOX_PATHS

GONE_WITHIN_S = 5.0
LOOK_AGAIN_S = 0.005

# Arguments: 1 the amphora's folder, 2 where it is bound, 3 the pid file or "", 4 the descriptor limit, then the control
# groups up to "--", then the command. All `exec`s, so the pid that is written stays that of the last program.
# Namespaces of other amphorae are let go of: each kept mount would keep one alive.
LAUNCHER = """
folder=$1 place=$2 pidfile=$3 descriptors=$4; shift 4
while [ "$1" != -- ]; do echo $$ >"$1" 2>/dev/null; shift; done; shift
umount -R -l /run/netns 2>/dev/null
mount --bind "$folder" "$place" || exit 97
ulimit -n "$descriptors" 2>/dev/null
cd / || exit 97
if [ -n "$pidfile" ]; then echo $$ >"$pidfile" || exit 97; fi
exec "$@"
"""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """What every program that is run inside one amphora has in common."""

    amphora_id: str
    folders: AmphoraFolders
    limits: LimitsSpec
    groups: tuple[Path, ...] = ()


def _command(
    launch: Launch, agent: AgentSettings, words: Sequence[str], *, pid_file: str, is_inside: bool
) -> list[str]:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = launch.limits.file_descriptors
    descriptors = limit if most == resource.RLIM_INFINITY else min(limit, most)
    user = agent.haproxy_user
    # Nobody gets CAP_NET_RAW, because of --no-new-privs. But the kernel runs no file that asks for a capability outside
    # the bounding set (capabilities(7)), and Debian's `ping`, which PING monitors use, asks for this one.
    entering = ["nsenter", f"--net={namespace.namespace_path(launch.amphora_id)}"] if is_inside else []
    return [
        *entering, "unshare", "--mount", "--propagation", "slave",
        "sh", "-c", LAUNCHER, "statera-launch",
        str(launch.folders.run), SANDBOX_PATHS.folder, pid_file, str(descriptors), *map(str, launch.groups), "--",
        "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
        "--inh-caps=-all", "--bounding-set=-all,+net_raw", "--no-new-privs", "--", agent.haproxy, *words,
    ]  # fmt: skip


async def check_document(
    launch: Launch, agent: AgentSettings, document: Document, contents: Mapping[str, Secret[bytes]]
) -> str:
    """Let HAProxy check a document beside the live one; return "" when it accepts it, else its words."""
    with launch.folders.beside() as folders:
        keep_contents(folders.run, contents, find_group(agent))
        folders.write_document(document)
        if not (folders.run / "state").exists():
            folders.write("state", "")
        # Outside the sandbox's memory group: a check beside a busy HAProxy must not get it killed.
        return await _check(msgspec.structs.replace(launch, folders=folders, groups=()), agent)


def find_group(agent: AgentSettings) -> int:
    """Return the id of the group that HAProxy runs in."""
    return pwd.getpwnam(agent.haproxy_user).pw_gid


async def _check(launch: Launch, agent: AgentSettings) -> str:
    words = ["-c", "-f", SANDBOX_PATHS.configuration]
    process = await asyncio.create_subprocess_exec(
        *_command(launch, agent, words, pid_file="", is_inside=False),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _, told = await asyncio.wait_for(process.communicate(), 30.0)
    except (TimeoutError, asyncio.CancelledError):
        process.kill()
        await process.wait()
        raise
    if process.returncode == 0:
        return ""
    return told.decode("utf-8", errors="replace").strip() or f"HAProxy ended with {process.returncode}."


def start(launch: Launch, agent: AgentSettings) -> subprocess.Popen[bytes]:
    """Start the master with its worker. It belongs to nobody: it lives on when the agent ends."""
    words = ["-W", "-S", f"{SANDBOX_PATHS.master_socket},mode,600", "-f", SANDBOX_PATHS.configuration]
    command = _command(launch, agent, words, pid_file=str(launch.folders.pid), is_inside=True)
    with launch.folders.words.open("ab") as told:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, start_new_session=True, close_fds=True
        )


def find_master(folders: AmphoraFolders, amphora_id: str) -> int | None:
    """Return the pid of the amphora's running master, from an earlier life of the agent too."""
    try:
        pid = int(folders.pid.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return pid if is_inside(pid, amphora_id) else None


def is_inside(pid: int, amphora_id: str) -> bool:
    """Say whether a living process is in the amphora's namespace."""
    try:
        return is_alive(pid) and os.stat(f"/proc/{pid}/ns/net").st_ino == namespace.inode(amphora_id)
    except OSError:
        return False


def list_inside(amphora_id: str) -> list[int]:
    """Return all processes in the amphora's namespace."""
    wanted = namespace.inode(amphora_id)
    if wanted is None:
        return []
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            pid = int(name)
            if os.stat(f"/proc/{pid}/ns/net").st_ino == wanted:
                found.append(pid)
    return found


def end_strays(amphora_id: str) -> None:
    """Kill the amphora's processes in a namespace that lost its name: the folder that they have mounted tells them."""
    folder = f"/amphorae/{amphora_id}"
    # The kernel adds a mark when the folder itself is gone, too (proc(5)).
    marks = tuple(f"{folder}{end} {SANDBOX_PATHS.folder} " for end in ("", "//deleted"))
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):
            mounts = path.read_text(encoding="utf-8", errors="replace")
            if any(mark in mounts for mark in marks):
                os.kill(int(path.parent.name), signal.SIGKILL)


async def end_all(amphora_id: str) -> None:
    """Kill every process in the namespace and wait until the kernel has let go of them. Raises `TimeoutError`."""
    async with asyncio.timeout(GONE_WITHIN_S):
        while pids := await asyncio.to_thread(list_inside, amphora_id):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(LOOK_AGAIN_S)
