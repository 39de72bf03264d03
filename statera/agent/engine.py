"""One amphora's HAProxy: brought to a document by the smallest means, kept running.

The file `haproxy.cfg` is always the live document's: whoever starts HAProxy again starts what was live.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping

from statera.agent import process
from statera.agent.contents import drop_contents, keep_contents, list_missing, read_content
from statera.agent.counters import Counters
from statera.agent.draining import Drains
from statera.agent.folders import AmphoraFolders
from statera.agent.pace import Pace
from statera.agent.process import Launch
from statera.agent.runtime import Processes, RuntimeUnavailable, ask, parse_processes
from statera.agent.server_state import make_state
from statera.agent.words import Words, clip
from statera.base.errors import Lasting, StateraError, Transient
from statera.base.logging import get_logger
from statera.base.metrics import counter
from statera.base.secret import Secret
from statera.base.settings import AgentSettings
from statera.model.amphora import AppliedConfiguration
from statera.model.document import Document
from statera.render.change import Command, Reload, RuntimeChange, Unchanged, decide_change
from statera.render.engine import EngineCapabilities

log = get_logger("agent")

STARTS = counter(
    "statera_agent_haproxy_starts_total", "Starts of HAProxy, the first of an amphora and those of mending."
)

UP_WITHIN_S = 10.0
MASTER_WITHIN_S = 5.0
LOOK_AGAIN_S = 0.005
ASK_AGAIN_S = 0.2
REPEATED_S = 3.0
"""How long is waited for an instant in which a server has no connections. Shorter than anybody waits for an edit."""
ALERT = "[ALERT]"
"""What HAProxy begins a line with that tells why it does not do what it should."""


class Engine:
    """HAProxy of one amphora. Its caller holds the amphora's lock: no two calls at a time."""

    def __init__(self, launch: Launch, agent: AgentSettings, capabilities: EngineCapabilities) -> None:
        self.launch = launch
        self._agent = agent
        self._capabilities = capabilities
        self._drains = Drains(launch.folders.live, agent.drain_s)
        self._counters = Counters(launch.folders.live / "stats")
        self._pace = Pace()
        self._child: subprocess.Popen[bytes] | None = None
        self.take_user: Callable[[], bool] = lambda: False
        """Asked before a reload: gives the sandbox a user of its own, and says whether it had none and has one now."""
        self.parting = ""
        """Statistics of the last process that was replaced or stopped on purpose, as they were just before."""

    @property
    def _folders(self) -> AmphoraFolders:
        return self.launch.folders

    @property
    def _words(self) -> Words:
        """What HAProxy printed."""
        return Words(self._folders.words)

    def find_pid(self) -> int | None:
        """Return the master's pid if it runs."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        return process.find_master(self._folders.pid, self.launch.amphora_id)

    async def apply(
        self, live: Document | None, wanted: Document | None, contents: Mapping[str, Secret[bytes]]
    ) -> AppliedConfiguration:
        """Go from the live document to the wanted one, whose files have these contents; None stands for no HAProxy.

        Raises `Lasting` (slug `configuration-rejected`) with HAProxy's words while the live one goes on serving.
        """
        run, serving = self._folders.run, live
        try:
            keep_contents(run, contents, self.launch.user.group_id)
            if wanted is not None and list_missing(run, wanted):
                raise Transient("certificates-awaited", "The contents of certificates did not come with their names.")
            applied = await self._apply(live, wanted, contents)
            serving = wanted
        finally:
            drop_contents(run, [serving])
        return applied

    async def _apply(
        self, live: Document | None, wanted: Document | None, contents: Mapping[str, Secret[bytes]]
    ) -> AppliedConfiguration:
        if wanted is None:
            await self.stop()
            return AppliedConfiguration(means="unchanged" if live is None else "reload", why="No listener is enabled.")
        if self.find_pid() is None:
            await self._start_first(live, wanted, contents)
            return AppliedConfiguration(means="reload", why="HAProxy was not running.")
        change = decide_change(live, wanted, self._capabilities)
        if isinstance(change, Unchanged):
            return AppliedConfiguration(means="unchanged")
        await self._check(wanted, contents)
        if isinstance(change, RuntimeChange):
            refused = await self._run_commands(change.commands, wanted)
            if not refused:
                self._folders.write_document(wanted)
                return AppliedConfiguration(means="runtime")
            change = Reload(why=f"HAProxy did not take the change at run time: {refused}")
        await self._reload(live, wanted)
        return AppliedConfiguration(means="reload", why=change.why)

    async def _start_first(
        self, live: Document | None, wanted: Document, contents: Mapping[str, Secret[bytes]]
    ) -> None:
        """Start HAProxy on a document. Where nothing is live there is nothing to protect: the start is the check."""
        if live is not None:
            await self._check(wanted, contents)
        self._folders.write_document(wanted)
        try:
            await self.start(wanted)
        except Lasting:
            # HAProxy tells more of a configuration that is wrong than of a start that failed.
            if live is None:
                await self.stop()
                await self._check(wanted, contents)
            raise

    # Files

    async def _check(self, wanted: Document, contents: Mapping[str, Secret[bytes]]) -> None:
        told = await process.check_document(self.launch, self._agent, wanted, contents)
        if told:
            raise Lasting("configuration-rejected", f"HAProxy rejects the configuration: {shorten(told)}")

    # Run time

    async def _run_commands(self, commands: tuple[Command, ...], wanted: Document) -> str:
        """Run them in order; return the first answer that is not a success, "" when all went well.

        HAProxy prefixes no answer with its command, so commands whose answer must be told apart go alone.
        """
        version = ""
        for command in commands:
            # A server that waits for its last connection must make room before one of its name comes back.
            if self._drains.is_leaving(command):
                continue
            with contextlib.suppress(RuntimeUnavailable):
                answer = await self._run_command(command, self._complete(command, command.say(version), wanted))
                if _succeeded(command, answer):
                    version = command.read_version(answer, version)
                    self._drains.note(command)
                    continue
                if command.may_wait:
                    self._drains.note(command, is_waiting=True)
                    continue
                return answer
            return "its socket did not answer"
        return ""

    async def _run_command(self, command: Command, line: str) -> str:
        """Return the answer; to one that may be repeated the first success, or the last answer. Raises as `ask`."""
        deadline = time.monotonic() + REPEATED_S
        while True:
            answer = (await ask(self._folders.live / "stats", line)).strip()
            if not command.may_repeat or _succeeded(command, answer) or time.monotonic() > deadline:
                return answer
            await asyncio.sleep(LOOK_AGAIN_S)

    def _complete(self, command: Command, line: str, wanted: Document) -> str:
        """Return what goes over the socket: with a file's content behind the command, which an empty line ends."""
        if not command.file:
            return line
        return f"{line} <<\n{read_content(self._folders.run, command.file, wanted).decode('ascii')}"

    @property
    def has_drains(self) -> bool:
        """Say whether servers finish their connections, or wait to be deleted."""
        return bool(self._drains)

    async def finish_deletes(self) -> None:
        """Try again to delete the servers that still had connections, and close those whose time is over."""
        await self._drains.look()

    async def read_statistics(self) -> str:
        """Return what tells the process apart, and its answer to `show stat`. Raises `RuntimeUnavailable`."""
        return await self._counters.read()

    def let_go(self) -> None:
        """Hold no connection any more: the process may be one that ends with its last."""
        self._counters.let_go()

    async def _note_parting(self) -> None:
        # What it counts from here on, for its last connections, nobody asks any more.
        with contextlib.suppress(RuntimeUnavailable):
            self.parting = await self.read_statistics()

    # Processes

    async def start(self, document: Document) -> None:
        """Start HAProxy on the live file, `document`, and wait until it answers. Raises `Lasting` with its words."""
        await process.end_all(self.launch.amphora_id, but=process.OTHER_ENGINES)
        self._drains.note_end()
        self._folders.write("state", make_state("", None, document))
        begun = self._words.begin()
        STARTS.inc()
        self._child = child = await asyncio.to_thread(process.start, self.launch, self._agent)
        deadline = time.monotonic() + UP_WITHIN_S
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise Lasting("engine-not-started", f"HAProxy does not start: {shorten(self._words.read(begun))}")
            with contextlib.suppress(RuntimeUnavailable):
                await ask(self._folders.live / "stats", "show info", timeout_s=1.0)
                return
            await asyncio.sleep(LOOK_AGAIN_S)
        raise Transient("engine-not-started", f"HAProxy did not answer within {UP_WITHIN_S:.0f} s of its start.")

    async def finish(self, deadline: float) -> None:
        """Let HAProxy end with its last connection, or at the deadline of the monotonic clock leave it running."""
        self.let_go()
        asked_at = 0.0
        while (pid := self.find_pid()) is not None and (now := time.monotonic()) < deadline:
            # Again and again: a master that has just begun does not hear the first one, and twice is no harm.
            if now >= asked_at + ASK_AGAIN_S:
                asked_at = now
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR1)
            await asyncio.sleep(LOOK_AGAIN_S)

    async def stop(self) -> None:
        """End HAProxy; its listeners answer no more."""
        pid = self.find_pid()
        if pid is not None:
            await self._note_parting()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 1.0
            while self.find_pid() is not None and time.monotonic() < deadline:
                await asyncio.sleep(LOOK_AGAIN_S)
        await process.end_all(self.launch.amphora_id, but=process.OTHER_ENGINES)
        self._drains.note_end()
        for file in (self._folders.configuration, self._folders.pid):
            file.unlink(missing_ok=True)

    async def _reload(self, live: Document | None, wanted: Document) -> None:
        """Load the candidate. When the new worker does not come up, the old file is loaded again."""
        await asyncio.sleep(self._pace.wait_s(time.monotonic()))
        self._pace.note(time.monotonic())
        await self._save_server_state(live, wanted)
        await self._note_parting()
        begun = self._words.begin()
        self._folders.write_document(wanted)
        begins = await asyncio.to_thread(self.take_user)
        try:
            failure = await (self._begin_beside() if begins else self._load_anew())
        finally:
            self.let_go()
        if not failure:
            self._drains.note_reload(live, wanted)
            return
        words = self._words.read(begun)
        if live is not None:
            self._folders.write_document(live)
            again = await (self._begin_again(live) if begins else self._load_anew())
            log.warning("reload rolled back", amphora_id=self.launch.amphora_id, again=again)
        if ALERT not in words:
            # It was checked and nothing in it is refused: the machine is too busy, or HAProxy is in trouble itself.
            raise Transient("engine-not-reloaded", f"HAProxy has not taken over the configuration: {failure}")
        raise Lasting("configuration-rejected", f"HAProxy could not load the configuration: {shorten(words)}")

    async def _load_anew(self) -> str:
        """Make the master load its file; return "" when a new worker serves, else what went wrong."""
        master = self._folders.live / "master"
        try:
            before = await self._look_patiently()
        except RuntimeUnavailable as error:
            return str(error)
        with contextlib.suppress(RuntimeUnavailable):
            await ask(master, "reload", timeout_s=1.0)
        deadline = time.monotonic() + UP_WITHIN_S
        while time.monotonic() < deadline:
            with contextlib.suppress(RuntimeUnavailable):
                now = await self._look()
                if now is not None and now.failed:
                    return "The new worker failed."
                if now is not None and now.workers - (before.workers if before else frozenset()):
                    return ""
            if self.find_pid() is None:
                return "HAProxy ended."
            await asyncio.sleep(LOOK_AGAIN_S)
        return f"HAProxy did not load it within {UP_WITHIN_S:.0f} s."

    async def _begin_beside(self) -> str:
        """Start HAProxy as the sandbox's user, which the running one is not, and let that one finish.

        Return "" when the new one serves, else what went wrong. A master cannot become another user by a reload.
        """
        before = self.find_pid()
        await asyncio.to_thread(process.hand_sockets_over, self.launch.amphora_id, self.launch.user)
        self._child = child = await asyncio.to_thread(process.start, self.launch, self._agent, takes_over=True)
        deadline = time.monotonic() + UP_WITHIN_S
        while time.monotonic() < deadline:
            if child.poll() is not None:
                return "HAProxy does not start as another user."
            with contextlib.suppress(RuntimeUnavailable):
                now = await self._look()
                if now is not None and now.master == self.find_pid() != before and now.workers:
                    if before is not None:
                        os.kill(before, signal.SIGUSR1)
                    return ""
            await asyncio.sleep(LOOK_AGAIN_S)
        return f"HAProxy did not start as another user within {UP_WITHIN_S:.0f} s."

    async def _begin_again(self, live: Document) -> str:
        """Start HAProxy on the live file, whatever runs; return "" or what went wrong."""
        try:
            await self.start(live)
        except StateraError as error:
            return error.sentence
        return ""

    async def _look_patiently(self) -> Processes | None:
        """Look as soon as the master answers: one that has just begun opens its socket after its worker does.

        Raises `RuntimeUnavailable` when it does not within a while.
        """
        deadline = time.monotonic() + MASTER_WITHIN_S
        while True:
            try:
                return await self._look()
            except RuntimeUnavailable:
                if time.monotonic() > deadline or self.find_pid() is None:
                    raise
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _look(self) -> Processes | None:
        return parse_processes(await ask(self._folders.live / "master", "show proc;quit", timeout_s=1.0))

    async def _save_server_state(self, live: Document | None, wanted: Document) -> None:
        # Without it a new worker takes every member for healthy until its first checks.
        now = ""
        with contextlib.suppress(RuntimeUnavailable):
            now = await ask(self._folders.live / "stats", "show servers state")
        self._folders.write("state", make_state(now, live, wanted))


def _succeeded(command: Command, answer: str) -> bool:
    if command.says:
        return all(words in answer for words in command.says)
    return not answer or answer.startswith(command.expects or ("\0",))


def shorten(words: str) -> str:
    """Return the lines that tell of an error, without process ids, bounded."""
    lines = [line.partition(" : ")[2] or line for line in words.splitlines()]
    telling = [line for line, whole in zip(lines, words.splitlines(), strict=True) if ALERT in whole] or lines
    text = " ".join(line.strip() for line in telling if line.strip())
    return clip(text)
