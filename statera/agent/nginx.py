"""nginx of one amphora: its file checked, started, reloaded, ended. Which file, `datagrams.py` knows."""

import asyncio
import contextlib
import functools
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import msgspec

from statera.agent import namespace, process
from statera.agent.datagram_engine import DatagramEngine
from statera.agent.flows import count_active
from statera.agent.parting import PROGRAM, Parting, list_children
from statera.agent.process import Launch
from statera.agent.sockets import has_unread
from statera.agent.words import Words, clip
from statera.base.errors import Lasting, Transient
from statera.base.settings import AgentSettings
from statera.model.datagrams import DatagramDocument
from statera.render.nginx import SIGN_ADDRESS, SIGN_PORT
from statera.render.paths import SANDBOX_PATHS

UP_WITHIN_S = 10.0
END_WITHIN_S = 2.0
LOOK_AGAIN_S = 0.02
MOST_WORDS_BYTES = 64 * 1024
QUESTION = b"?"
EMERGENCY = "[emerg]"
"""What nginx begins a line with that tells why it does not do what it should."""

# A check binds what the file names: in a network of its own, in which every address and port may be bound.
CHECKER = """
for family in ipv4 ipv6; do echo 1 >/proc/sys/net/$family/ip_nonlocal_bind; done 2>/dev/null
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
exec "$@"
"""


@functools.cache
def find_stream_module(program: str) -> str | None:
    """Return the path of the stream module, "" where it is built in, None where this nginx has none."""
    try:
        done = subprocess.run([program, "-V"], check=False, capture_output=True, text=True, timeout=10.0)
    except (OSError, subprocess.TimeoutExpired):
        return None
    module = read_stream_module(done.stdout + done.stderr)
    return module if not module or Path(module).exists() else None


def read_stream_module(told: str) -> str:
    """Return where its stream module should be, by what `nginx -V` tells; "" where it is built in."""
    if re.search(r"--with-stream(\s|$)", told):
        return ""
    folder = re.search(r"--modules-path=(\S+)", told)
    return str(Path(folder[1] if folder else "/usr/lib/nginx/modules", "ngx_stream_module.so"))


def _list_words(agent: AgentSettings) -> list[str]:
    folder = f"{SANDBOX_PATHS.folder}/"
    return [agent.nginx, "-e", "stderr", "-p", folder, "-c", SANDBOX_PATHS.nginx_configuration]


async def check_file(launch: Launch, agent: AgentSettings, text: str) -> str:
    """Let nginx check a file beside the live one; return "" when it accepts it, else its words."""
    with launch.folders.beside(launch.user) as folders:
        folders.write(SANDBOX_PATHS.nginx_configuration.rpartition("/")[2], text)
        if not folders.live.exists():
            folders.live.mkdir()
            os.chown(folders.live, launch.user.user_id, launch.user.group_id)
        beside = msgspec.structs.replace(launch, folders=folders, groups=())
        words = [*_list_words(agent), "-t", "-q"]
        command = process.make_command(beside, words, pid_file="", is_inside=False)
        told = await process.run_check(["unshare", "--net", "sh", "-c", CHECKER, "statera-check", *command])
    return "" if told is None else told or "nginx ended without a word."


class Nginx(DatagramEngine):
    """The process. Its caller holds the amphora's lock: no two calls at a time."""

    name = PROGRAM

    def __init__(self, launch: Launch, agent: AgentSettings) -> None:
        super().__init__(launch)
        self._agent = agent
        self._children: list[subprocess.Popen[bytes]] = []
        self.parting = Parting(launch.amphora_id, agent.drain_s)

    @property
    def file(self) -> Path:
        return self.launch.folders.run / SANDBOX_PATHS.nginx_configuration.rpartition("/")[2]

    @property
    def _pid_file(self) -> Path:
        return self.launch.folders.run / "nginx-master"

    @property
    def _words(self) -> Words:
        return Words(self.launch.folders.run / "nginx-words", MOST_WORDS_BYTES)

    def find_pid(self) -> int | None:
        """Return the master's pid if it runs."""
        self._children = [child for child in self._children if child.poll() is None]
        return process.find_master(self._pid_file, self.launch.amphora_id)

    def ask_for_life(self, pid: int) -> bool:
        """Send its worker a datagram; say whether it has read the one of before.

        It listens for them only since a file that names the place; none lies unread before an older one.
        """
        has_answered = not has_unread(pid, SIGN_ADDRESS, SIGN_PORT)
        with (
            contextlib.suppress(OSError),
            namespace.entered(self.launch.amphora_id),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
        ):
            asking.sendto(QUESTION, (SIGN_ADDRESS, SIGN_PORT))
        return has_answered

    async def check(self, text: str) -> str:
        """Let it check a file; return "" when it accepts it, else its words."""
        told = await check_file(self.launch, self._agent, text)
        return shorten(told) if told else ""

    async def prepare(self, document: DatagramDocument) -> bool:
        """Nothing needs to stand around it."""
        return False

    async def start(self) -> None:
        """Start it on the live file and wait until a worker serves. Raises `Lasting` with its words, `Transient`."""
        await process.end_all(self.launch.amphora_id, only=(PROGRAM,))
        await self._begin()

    async def _begin(self) -> None:
        told = self._words
        begun = told.begin()
        words = [*_list_words(self._agent), "-g", "daemon off;"]
        command = process.make_command(self.launch, words, pid_file=str(self._pid_file), is_inside=True)
        if self.takes_lifeline:
            child = await asyncio.to_thread(process.start_sharing, self.launch, command, told.file)
        else:
            child = await asyncio.to_thread(process.start_program, command, told.file)
        self._children.append(child)
        deadline = time.monotonic() + UP_WITHIN_S
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise Lasting("engine-not-started", f"nginx does not start: {shorten(told.read(begun))}")
            pid = self.find_pid()
            if pid == child.pid and await asyncio.to_thread(self._has_worker, pid):
                return
            await asyncio.sleep(LOOK_AGAIN_S)
        child.terminate()
        raise Transient("engine-not-started", f"nginx did not serve within {UP_WITHIN_S:.0f} s of its start.")

    def _has_worker(self, master: int) -> bool:
        return any(True for _ in list_children(self.launch.amphora_id, master))

    async def reload(self) -> None:
        """Let another one take over with the live file; the one of before answers its flows to their end.

        Raises `Lasting` with its words, `Transient`; the one of before serves on then.
        """
        before = self.find_pid()
        if before is None or self.must_start:
            await self.start()
            return
        try:
            await self._begin()
        except BaseException:
            self._pid_file.write_text(f"{before}\n", encoding="ascii")
            raise
        self.parting.note(before)

    async def stop(self) -> None:
        """End it; its file goes."""
        pid = self.find_pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + END_WITHIN_S
            while self.find_pid() is not None and time.monotonic() < deadline:
                await asyncio.sleep(LOOK_AGAIN_S)
        await process.end_all(self.launch.amphora_id, only=(PROGRAM,))
        for file in (self.file, self._pid_file):
            file.unlink(missing_ok=True)

    # Observations

    async def is_serving(self) -> bool:
        """Say whether clients are served."""
        return self.find_pid() is not None and not self.is_hung

    async def count_active(self, document: DatagramDocument) -> dict[str, int]:
        """Return the flows of each listener at the moment."""
        pid = self.find_pid()
        return await asyncio.to_thread(count_active, document, pid, self.parting) if pid is not None else {}


def shorten(words: str) -> str:
    """Return the lines that tell of an error, without dates and process ids, bounded."""
    lines = [line.rpartition(EMERGENCY)[2].strip() for line in words.splitlines() if EMERGENCY in line]
    text = " ".join(re.sub(r"^\d+#\d+: ", "", line) for line in lines) or words.strip()
    return clip(text)
