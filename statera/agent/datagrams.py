"""What serves datagrams in one amphora, beside HAProxy: its engine, the checks of its members, what it counts.

The engine's file is made here, of the live document and of which members fail: it changes when either does.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import msgspec

from statera.agent.checks import MemberChecks, Place
from statera.agent.flows import FlowCounters
from statera.agent.nginx import Nginx, check_file, find_stream_module, shorten
from statera.agent.pace import Pace
from statera.agent.process import Launch
from statera.base.errors import Lasting, StateraError
from statera.base.logging import get_logger
from statera.base.settings import AgentSettings
from statera.base.unreadable import UNREADABLE
from statera.model.amphora import AppliedConfiguration
from statera.model.datagrams import DatagramDocument
from statera.model.heartbeat import ListenerObserved, ListenerState, MemberObserved
from statera.render.document import render_engine_file
from statera.render.paths import SANDBOX_PATHS

log = get_logger("agent")

FAILING = "failing.json"
AGAIN_S = 1.0
"""After a file that could not be loaded."""


async def check_datagrams(launch: Launch, agent: AgentSettings, document: DatagramDocument) -> str:
    """Let the engine check a document; return "" when it accepts it, else its words."""
    text = render_engine_file(document, SANDBOX_PATHS, module=find_stream_module(agent.nginx) or "")
    told = await check_file(launch, agent, text)
    return shorten(told) if told else ""


class Datagrams:
    """Of one amphora. `lock` is the amphora's, `changed` is called when there is news for its heartbeat."""

    def __init__(self, launch: Launch, agent: AgentSettings, lock: asyncio.Lock, changed: Callable[[], None]) -> None:
        self.nginx = Nginx(launch, agent)
        self._agent = agent
        self._lock = lock
        self._changed = changed
        self._checks = MemberChecks(launch.amphora_id, self._on_change)
        self._flows = FlowCounters(launch.amphora_id, launch.folders.run)
        self._pace = Pace()
        self._document: DatagramDocument | None = None
        self._following: asyncio.Task[None] | None = None
        self._checks.remember(self._load_failing())

    @property
    def launch(self) -> Launch:
        return self.nginx.launch

    @launch.setter
    def launch(self, launch: Launch) -> None:
        self.nginx.launch = launch

    @property
    def is_running(self) -> bool:
        return self.nginx.find_pid() is not None

    # Requests; the caller holds the lock

    async def apply(self, wanted: DatagramDocument | None) -> AppliedConfiguration:
        """Bring a document live, None for nothing. Raises `Lasting`, `Transient` while the old one serves on."""
        if wanted is None:
            return await self._retire()
        # What was seen of members that stay goes into the first file of the new document.
        self._checks.follow(wanted)
        text = self._render(wanted)
        if self.is_running and self._read_live() == text and not self.nginx.is_misheld:
            self._adopt(wanted)
            return AppliedConfiguration(means="unchanged")
        told = await check_file(self.launch, self._agent, text)
        if told:
            raise Lasting("configuration-rejected", f"nginx rejects the configuration: {shorten(told)}")
        was_running = self.is_running
        await self._load(text)
        self._adopt(wanted)
        await self._flows.ensure(wanted)
        why = "What serves datagrams can only be told by a reload." if was_running else "nginx was not running."
        return AppliedConfiguration(means="reload", why=why)

    async def settle(self) -> None:
        """Take up the sandbox's lifeline when nobody holds it any more, and its user when it has another one now."""
        if self._document is not None and self.is_running and (self.nginx.is_misheld or self.nginx.is_anothers):
            await self.nginx.start()

    async def end_parting(self) -> None:
        """End what has answered all that it was asked before another one took over."""
        if self._document is not None and not self._lock.locked():
            async with self._lock:
                await asyncio.to_thread(self.nginx.parting.end, self.nginx.find_pid())

    def _adopt(self, document: DatagramDocument) -> None:
        self._document = document
        self._checks.follow(document)

    async def _retire(self) -> AppliedConfiguration:
        self.close()
        self._document = None
        was_running = self.is_running
        if was_running or self.nginx.file.exists():
            await self.nginx.stop()
        return AppliedConfiguration(means="reload" if was_running else "unchanged")

    async def resume(self, document: DatagramDocument) -> None:
        """Take up a document that is live already, or start what serves it. Raises `Lasting`, `Transient`."""
        self._adopt(document)
        if not self.is_running:
            self.launch.folders.write(self.nginx.file.name, self._render(document))
            await self.nginx.start()
        await self._flows.ensure(document)

    def adopt(self, document: DatagramDocument) -> None:
        """Look after the members of a document that is live already."""
        if self._document is None:
            self._adopt(document)

    def close(self) -> None:
        """Look after nobody any more; what runs, runs on."""
        self._checks.close()
        if self._following is not None:
            self._following.cancel()
            self._following = None

    # Files

    def _render(self, document: DatagramDocument) -> str:
        module = find_stream_module(self._agent.nginx) or ""
        failing = self._checks.failing
        self.launch.folders.write(FAILING, msgspec.json.encode(sorted(failing)).decode())
        return render_engine_file(document, SANDBOX_PATHS, failing=failing, module=module)

    def _load_failing(self) -> frozenset[Place]:
        with contextlib.suppress(OSError, *UNREADABLE):
            return frozenset(
                msgspec.json.decode((self.launch.folders.run / FAILING).read_bytes(), type=list[tuple[str, str]])
            )
        return frozenset()

    def _read_live(self) -> str:
        with contextlib.suppress(OSError):
            return self.nginx.file.read_text(encoding="utf-8")
        return ""

    async def _load(self, text: str) -> None:
        """Make the engine run with a file; it comes back to the one of before when it does not take it."""
        await asyncio.sleep(self._pace.wait_s(time.monotonic()))
        self._pace.note(time.monotonic())
        before, was_running = self._read_live(), self.is_running
        self.launch.folders.write(self.nginx.file.name, text)
        try:
            await self.nginx.reload()
        except StateraError:
            if was_running and before:
                self.launch.folders.write(self.nginx.file.name, before)
                if not self.is_running:
                    with contextlib.suppress(StateraError):
                        await self.nginx.start()
            raise

    # Members that fail and come back

    def _on_change(self) -> None:
        self._changed()
        if self._following is None or self._following.done():
            self._following = asyncio.get_running_loop().create_task(self._catch_up())

    async def _catch_up(self) -> None:
        """Bring what the checks say live. What changes meanwhile comes along."""
        while True:
            async with self._lock:
                document = self._document
                if document is None or not self.is_running:
                    return
                text = self._render(document)
                if text == self._read_live():
                    return
                try:
                    await self._load(text)
                except (StateraError, OSError) as error:
                    log.warning("members not taken out of use", amphora_id=self.launch.amphora_id, error=str(error))
                    await asyncio.sleep(AGAIN_S)

    # Observations

    async def observe(self, process: int) -> tuple[tuple[ListenerObserved, ...], tuple[MemberObserved, ...]]:
        """Say what is served and how the members are. Counters count from when HAProxy's `process` was first seen."""
        document = self._document
        if document is None:
            return (), ()
        counted = await self._flows.count(document, process, self.nginx.find_pid(), self.nginx.parting)
        state = ListenerState.OPEN if self.is_running else ListenerState.STOP
        listeners = []
        for listener in document.listeners:
            told = counted.get(listener.id, ListenerObserved(listener.id, state))
            is_full = state is ListenerState.OPEN and told.active_connections >= listener.max_connections > 0
            listeners.append(msgspec.structs.replace(told, status=ListenerState.FULL if is_full else state))
        return tuple(listeners), self._checks.observe(document)
