"""IPVS of one amphora: a keepalived that fills it, and what must stand around it. Which file, `datagrams.py` knows.

The kernel balances by itself: flows go on while no keepalived runs, and only its table says what is live.
"""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from statera.agent import namespace, process
from statera.agent.datagram_engine import DatagramEngine
from statera.agent.ipvs import Table, count_active, parse_file, read_table, tell_difference
from statera.agent.keepalived import PROGRAM, KeepalivedProcess, Part
from statera.agent.process import Launch
from statera.agent.words import TOLD_LENGTH, clip
from statera.base.errors import Lasting, Transient
from statera.model.datagrams import DatagramDocument
from statera.render.lvs_network import list_lvs_settings, render_lvs_network
from statera.render.paths import SANDBOX_PATHS

UP_WITHIN_S = 10.0
RELOADED_WITHIN_S = 3.0
"""Then it is started anew."""
NFT_WITHIN_S = 5.0
LOOK_AGAIN_S = 0.02
BALANCING = Part(
    option="--check",
    child_pid_option="--checkers_pid",
    marker="keepalived-lvs",
    configuration="lvs.conf",
    pid="lvs-pid",
    words="lvs-words",
    capabilities=("net_admin",),
)


async def check_file(launch: Launch, text: str) -> str:
    """Let keepalived check a file beside the live one; return "" when it accepts it, else its words."""
    with launch.folders.beside(launch.user) as folders:
        folders.write(BALANCING.configuration, text)
        beside = msgspec.structs.replace(launch, folders=folders, groups=())
        words = [PROGRAM, "--config-test", BALANCING.option, f"--use-file={SANDBOX_PATHS.keepalived_configuration}"]
        told = await process.run_check(process.make_command(beside, words, pid_file="", is_inside=False))
    return "" if told is None else shorten(told) or "keepalived ended without a word."


class Lvs(DatagramEngine):
    """The process and what is around it. Its caller holds the amphora's lock: no two calls at a time."""

    name = "keepalived"

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self._process = KeepalivedProcess(launch.amphora_id, launch.folders, BALANCING)

    @property
    def file(self) -> Path:
        return self.launch.folders.run / BALANCING.configuration

    def find_pid(self) -> int | None:
        return self._process.find_pid()

    def ask_for_life(self, pid: int) -> bool:
        return self._process.ask()

    async def check(self, text: str) -> str:
        return await check_file(self.launch, text)

    async def prepare(self, document: DatagramDocument) -> bool:
        """Bring the network around IPVS to a document; say that it is another one now. Raises `Transient`."""
        await asyncio.to_thread(self._prepare, document)
        return True

    def _prepare(self, document: DatagramDocument) -> None:
        # The rules first: with them comes the tracking that some of the settings are about.
        self._run_nft(render_lvs_network(document))
        try:
            with namespace.entered(self.launch.amphora_id):
                _write_settings(list_lvs_settings(document))
        except OSError as error:
            sentence = f"IPVS cannot be set up in the amphora's network: {error.filename}: {error.strerror}."
            raise Transient("engine-not-started", sentence) from error

    def _run_nft(self, text: str) -> None:
        told = ""
        try:
            with namespace.entered(self.launch.amphora_id):
                done = subprocess.run(
                    ["nft", "-f", "-"], check=False, input=text, capture_output=True, text=True, timeout=NFT_WITHIN_S
                )
            told = done.stderr.strip() if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            told = str(error)
        if told:
            sentence = f"nftables does not take the rules around IPVS: {told[:TOLD_LENGTH]}"
            raise Transient("engine-not-started", sentence)

    async def start(self) -> None:
        """Start it on the live file and wait until the kernel balances so.

        It empties the kernel's table first: members that stay take up their flows again. Raises `Lasting` with its
        words, `Transient`.
        """
        words = self._process.words
        begun = words.begin()
        child = await asyncio.to_thread(self._process.start, self.launch, takes_lifeline=self.takes_lifeline)
        left = await self._wait(UP_WITHIN_S, child)
        if child.poll() is not None:
            raise Lasting("engine-not-started", f"keepalived does not start: {shorten(words.read(begun))}")
        if left:
            sentence = f"keepalived did not bring IPVS to its file within {UP_WITHIN_S:.0f} s: {left}."
            raise Transient("engine-not-started", sentence)

    async def reload(self) -> None:
        """Make it read its file anew, and wait until the kernel balances so. Raises as `start` does."""
        pid = self.find_pid()
        if pid is None or self.must_start:
            await self.start()
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGHUP)
        if await self._wait(RELOADED_WITHIN_S):
            await self.start()

    async def _wait(self, within_s: float, child: subprocess.Popen[bytes] | None = None) -> str:
        """Wait until the kernel's table is the file's; return how it differs from it, "" when it does not."""
        wanted = parse_file(self.file.read_text(encoding="utf-8"))
        deadline = time.monotonic() + within_s
        while True:
            left = tell_difference(wanted, await self._read_table())
            if (
                (not left and self._process.is_up())
                or time.monotonic() > deadline
                or (child is not None and child.poll() is not None)
            ):
                return left
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _read_table(self) -> Table:
        return await asyncio.to_thread(read_table, self.launch.amphora_id)

    async def stop(self) -> None:
        """End it: it takes out of the kernel what it has put there. What stands around goes, too."""
        if self.find_pid() is None and await self._read_table():
            # It has ended by itself, and only another one can take it out.
            await self.start()
        for number in (signal.SIGTERM, signal.SIGKILL):
            await asyncio.to_thread(self._process.end, number)
        self._process.forget()
        await asyncio.to_thread(self._run_nft, render_lvs_network(None))

    # Observations

    async def is_serving(self) -> bool:
        """Say whether clients are served: without a keepalived, too."""
        return self.find_pid() is not None or bool(await self._read_table())

    async def count_active(self, document: DatagramDocument) -> dict[str, int]:
        """Return the flows of each listener at the moment."""
        return count_active(document, await self._read_table())


def _write_settings(settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        # IPv6 may be off, and what is tracked may end sooner; without the others nobody would be served.
        with contextlib.suppress(*(() if name.startswith("net/ipv4/") else (FileNotFoundError,))):
            Path("/proc/sys", name).write_text(value, encoding="ascii")


def shorten(words: str) -> str:
    """Return the lines that tell of an error, without their dates, bounded."""
    lines = [re.sub(r"^\w{3} \w{3} +\d+ [\d:]+ \d{4}: ", "", line).strip() for line in words.splitlines()]
    bad = [line for line in lines if re.search(r"^\(|IPVS:|[Ee]rror|[Uu]nable|[Cc]annot|[Ff]ail|[Ii]nvalid", line)]
    text = " ".join(bad or lines)
    return clip(text)
