"""What serves datagrams in one amphora, beside HAProxy: its engine, the checks of its members, what it counts.

The engine's file is made here, of the live document and of which members fail: it changes when either does.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

import msgspec

from statera.agent.checks import MemberChecks, Place
from statera.agent.datagram_engine import DatagramEngine
from statera.agent.flows import FlowCounters
from statera.agent.lvs import Lvs
from statera.agent.nginx import Nginx, find_stream_module
from statera.agent.pace import Pace
from statera.agent.process import Launch
from statera.base.errors import Lasting, StateraError
from statera.base.logging import get_logger
from statera.base.settings import AgentSettings
from statera.base.unreadable import UNREADABLE
from statera.model.amphora import AppliedConfiguration
from statera.model.datagrams import DatagramDocument
from statera.model.engines import EngineName
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
    engine: DatagramEngine = Lvs(launch) if document.engine == EngineName.LVS else Nginx(launch, agent)
    return await engine.check(text)


class Datagrams:
    """Of one amphora. `lock` is the amphora's, `changed` is called when there is news for its heartbeat."""

    def __init__(self, launch: Launch, agent: AgentSettings, lock: asyncio.Lock, changed: Callable[[], None]) -> None:
        self.nginx = Nginx(launch, agent)
        self._engines: dict[EngineName, DatagramEngine] = {EngineName.NGINX: self.nginx, EngineName.LVS: Lvs(launch)}
        self.engine: DatagramEngine = self.nginx
        """The one that carries the live document, or the last one that did."""
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
        return self.engine.launch

    @launch.setter
    def launch(self, launch: Launch) -> None:
        for engine in self._engines.values():
            engine.launch = launch

    def take_lifeline(self, takes: bool) -> None:
        """Say whether what carries datagrams is to keep the VIPs here: nothing else serves."""
        for engine in self._engines.values():
            engine.takes_lifeline = takes

    def find_pid(self) -> int | None:
        return self.engine.find_pid()

    @property
    def is_running(self) -> bool:
        return self.find_pid() is not None

    @property
    def is_hung(self) -> bool:
        """Say whether what should serve runs and takes nothing in any more."""
        return self._document is not None and self.engine.is_hung

    def ask(self) -> None:
        """Ask what should serve for a sign of life; not while it is being changed, when it may be busy with that."""
        if self._document is not None and not self._lock.locked():
            self.engine.ask()

    # Requests; the caller holds the lock

    async def apply(self, wanted: DatagramDocument | None) -> AppliedConfiguration:
        """Bring a document live, None for nothing. Raises `Lasting`, `Transient` while the old one serves on."""
        if wanted is None:
            return await self._retire()
        # What was seen of members that stay goes into the first file of the new document.
        self._checks.follow(wanted)
        text = self._render(wanted)
        before, self.engine = self.engine, self._engines[wanted.engine]
        try:
            applied = await self._bring_live(wanted, text)
        except StateraError:
            with contextlib.suppress(StateraError):
                await self._come_back(before)
            raise
        self._adopt(wanted)
        await self._stop_others()
        return applied

    async def _bring_live(self, wanted: DatagramDocument, text: str) -> AppliedConfiguration:
        was_running = self.is_running
        if was_running and self._read_live() == text and not self.engine.is_misheld and not self.engine.is_hung:
            is_same = wanted == self._document or not await self._surround(wanted)
            return AppliedConfiguration(means="unchanged" if is_same else "runtime")
        told = await self.engine.check(text)
        if told:
            raise Lasting("configuration-rejected", f"{self.engine.name} rejects the configuration: {told}")
        await self.engine.prepare(wanted)
        await self._load(text)
        await self._flows.ensure(wanted)
        name = self.engine.name
        why = "What serves datagrams can only be told by a reload." if was_running else f"{name} was not running."
        return AppliedConfiguration(means="reload", why=why)

    async def _surround(self, document: DatagramDocument) -> bool:
        is_news = await self.engine.prepare(document)
        await self._flows.ensure(document)
        return is_news

    async def _come_back(self, engine: DatagramEngine) -> None:
        """Let the engine of the document that is live serve on as it did."""
        failed, self.engine = self.engine, engine
        if failed is not engine:
            await failed.stop()
        elif self._document is not None:
            await engine.prepare(self._document)

    async def _stop_others(self) -> bool:
        """End every engine that is not to serve; say whether one ran."""
        has_run = False
        for engine in self._engines.values():
            is_idle = engine is not self.engine or self._document is None
            if is_idle and (engine.find_pid() is not None or engine.file.exists()):
                has_run = has_run or engine.find_pid() is not None
                await engine.stop()
        return has_run

    async def settle(self) -> None:
        """Take up the sandbox's lifeline when nobody holds it any more, and its user when it has another one now."""
        if self._document is not None and self.is_running and (self.engine.is_misheld or self.engine.is_anothers):
            await self.engine.start()

    @property
    def has_parting(self) -> bool:
        """Say whether something may have been replaced that still answers."""
        return self._document is not None

    async def end_parting(self) -> None:
        """End what has answered all that it was asked before another one took over."""
        if self.has_parting and not self._lock.locked():
            async with self._lock:
                await asyncio.to_thread(self.nginx.parting.end, self.nginx.find_pid())

    def _adopt(self, document: DatagramDocument) -> None:
        self._document = document
        self.engine = self._engines[document.engine]
        self._checks.follow(document)

    async def _retire(self) -> AppliedConfiguration:
        self.close()
        self._document = None
        was_running = await self._stop_others()
        return AppliedConfiguration(means="reload" if was_running else "unchanged")

    async def resume(self, document: DatagramDocument) -> None:
        """Take up a document that is live already, or start what serves it. Raises `Lasting`, `Transient`."""
        self._adopt(document)
        if not self.is_running or self.is_hung:
            self.launch.folders.write(self.engine.file.name, self._render(document))
            await self.engine.prepare(document)
            await self.engine.start()
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
            return self.engine.file.read_text(encoding="utf-8")
        return ""

    async def _load(self, text: str) -> None:
        """Make the engine run with a file; it comes back to the one of before when it does not take it."""
        await asyncio.sleep(self._pace.wait_s(time.monotonic()))
        self._pace.note(time.monotonic())
        before, was_running = self._read_live(), self.is_running
        self.launch.folders.write(self.engine.file.name, text)
        try:
            await self.engine.reload()
        except StateraError:
            if was_running and before:
                self.launch.folders.write(self.engine.file.name, before)
                with contextlib.suppress(StateraError):
                    # An nginx that serves has not read the other file.
                    if not self.is_running or self.engine is not self.nginx:
                        await self.engine.reload()
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
                    continue
                except (StateraError, OSError) as error:
                    log.warning("members not taken out of use", amphora_id=self.launch.amphora_id, error=str(error))
            # Without the lock: a HAProxy that has died beside it is mended meanwhile.
            await asyncio.sleep(AGAIN_S)

    # Observations

    async def observe(self, process: int) -> tuple[tuple[ListenerObserved, ...], tuple[MemberObserved, ...]]:
        """Say what is served and how the members are. Counters count from when HAProxy's `process` was first seen."""
        document = self._document
        if document is None:
            return (), ()
        counted = await self._flows.count(document, process, await self.engine.count_active(document))
        state = ListenerState.OPEN if await self.engine.is_serving() else ListenerState.STOP
        listeners = []
        for listener in document.listeners:
            told = counted.get(listener.id, ListenerObserved(listener.id, state))
            is_full = state is ListenerState.OPEN and told.active_connections >= listener.max_connections > 0
            listeners.append(msgspec.structs.replace(told, status=ListenerState.FULL if is_full else state))
        return tuple(listeners), self._checks.observe(document)
