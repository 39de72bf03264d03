"""All amphorae of this host: adopted at the start, watched, fenced by epoch, bounded in number."""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from statera import __version__
from statera.agent import namespace, process
from statera.agent.bridges import Bridges
from statera.agent.capacity import Capacity, read_capacity
from statera.agent.datagrams import check_datagrams
from statera.agent.disk import read_disk_fault
from statera.agent.engine import shorten
from statera.agent.exporter import Exporter
from statera.agent.folders import HostFolders, Record
from statera.agent.installed import find_engine_versions
from statera.agent.intact import list_damaged
from statera.agent.neighbours import list_answering
from statera.agent.process import Launch
from statera.agent.removal import remove_traces
from statera.agent.rounds import ASK_EVERY, INSIDE_EVERY, announce_every, has_turn
from statera.agent.runtime import RuntimeUnavailable
from statera.agent.sandbox import Sandbox, open_pid
from statera.agent.statistics import read_metrics
from statera.agent.users import User
from statera.agent.vrrp import is_sharing
from statera.base.errors import Lasting, LostClaim, StateraError, Transient
from statera.base.logging import get_logger
from statera.base.metrics import counter, gauge, histogram
from statera.base.secret import Secret
from statera.base.settings import Settings
from statera.model.agent_wire import HostFacts, Metrics, NeighboursQuestion, SandboxRequest, Verdict
from statera.model.amphora import AmphoraObserved, AppliedConfiguration
from statera.model.document import Document
from statera.model.protocol import PROTOCOL
from statera.model.spec import Configuration, LimitsSpec
from statera.render.engine import haproxy_capabilities
from statera.render.paths import SANDBOX_PATHS

log = get_logger("agent")

SANDBOXES = gauge("statera_agent_sandboxes", "Sandboxes on this host.")
SANDBOXES_LIMIT = gauge("statera_agent_sandboxes_limit", "Sandboxes that this host takes at most.")
BUILD_SECONDS = histogram("statera_agent_build_seconds", "How long it took to build or change a sandbox.")
APPLIED = counter(
    "statera_agent_configurations_total", "Configurations that are live, by means: unchanged, runtime, reload.", "means"
)
REFUSED = counter(
    "statera_agent_configuration_failures_total", "Configurations that did not come live, by the reason's slug.", "slug"
)

WATCH_S = 1.0
MEND_AGAIN_S = 0.05
"""The least between two looks at one that broke; longer each time, since somebody else may be changing it."""
TRIM_EVERY = 60
"""Turns of the watch; so are the next two."""
CAPACITY_EVERY = 10
LOOK_EVERY = 30
"""A process that ends is told by its descriptor; to look at each one as well costs too much to do it every turn."""
ANNOUNCE_AFTER_S = (0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Seconds between the first announcements of a new sandbox. A bridge drops what a new port sends in its first moments,
and a neighbour that knows the VIP under a former MAC asks again only after 5 to 8 s."""
BUILDS_AT_ONCE = 4
"""More would only make the netlink lock and the processor busier."""
LOOKS_AT_ONCE = 8
"""One HAProxy that does not come up, or does not answer, takes seconds: the others must not wait for it."""
QUESTIONS_AT_ONCE = 16
"""To neighbours on a network: each takes a thread for a second when nobody answers. They have threads of their own: the
event loop has six on two processors, and what builds a successor would queue behind whoever waits for it."""
HANDOVERS_AT_ONCE = 32
"""Each takes such a thread until its successor answers, some seconds at most."""
CHECKS_AT_ONCE = 2
"""Of configurations that are only planned: those that are to go live come first."""


class AmphoraHost:
    """The sandboxes of this host by amphora."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        SANDBOXES_LIMIT.set(settings.agent.amphora_limit)
        self._folders = HostFolders(settings)
        self._versions = find_engine_versions(settings)
        self._capabilities = haproxy_capabilities(self._versions.get("haproxy", ""))
        self._bridges = Bridges(settings.networks)
        self._bridge_trouble = ""
        self._building = asyncio.Semaphore(BUILDS_AT_ONCE)
        self._looking = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._checking = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._asking = ThreadPoolExecutor(QUESTIONS_AT_ONCE, thread_name_prefix="question")
        self._handing = ThreadPoolExecutor(HANDOVERS_AT_ONCE, thread_name_prefix="hand-over")
        self._exporter = Exporter()
        self._watched: dict[str, tuple[int, int]] = {}
        """By amphora, or `<amphora>/vrrp`: its master's pid, and the descriptor that tells when it ends."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._mending: set[str] = set()
        self._untaken: set[str] = set()
        """Amphorae whose adoption failed: the watch ends it."""
        self.sandboxes: dict[str, Sandbox] = {}

    def close(self) -> None:
        """End the threads that wait for others; what they wait for is given up."""
        for threads in (self._asking, self._handing):
            threads.shutdown(wait=False, cancel_futures=True)

    # The host

    def describe(self) -> HostFacts:
        capacity = self._read_capacity()
        return HostFacts(
            name=self._settings.agent.name,
            agent_version=__version__,
            engine_versions=self._versions,
            amphora_count=len(self.sandboxes),
            amphora_limit=capacity.limit,
            limited_by=capacity.why,
            protocol=PROTOCOL,
        )

    def _read_capacity(self) -> Capacity:
        return read_capacity(len(self.sandboxes), self._settings.agent.amphora_limit)

    async def adopt(self) -> None:
        """Take over what an earlier life of the agent left: running processes are left alone, ended ones come back."""
        Path(SANDBOX_PATHS.folder).mkdir(parents=True, exist_ok=True)
        self._folders.clear()
        await self._look_after_bridges()
        try:
            self._folders.ensure_memory()
        except (OSError, subprocess.CalledProcessError) as error:
            log.warning("no memory for keys: listeners cannot end TLS here", error=str(error))
        await asyncio.gather(*(self._adopt_or_tell(amphora_id) for amphora_id in self._folders.list_ids()))
        log.info("adopted", amphorae=len(self.sandboxes), running=len(self._watched))

    async def _adopt_or_tell(self, amphora_id: str) -> None:
        try:
            await self._adopt(amphora_id)
        except Exception as error:
            # The edge: one that cannot be taken over must not keep the agent from all others. The watch tries again.
            self._untaken.add(amphora_id)
            _tell_fault("amphora not adopted", error, amphora_id=amphora_id)

    async def _adopt(self, amphora_id: str) -> None:
        folders = self._folders.of(amphora_id)
        known = folders.load()
        async with self._building:
            if known is None:
                # Half a record: its creation was cut off, and whoever asked for it asks again.
                await remove_traces(amphora_id, folders, None)
                return
            if self._folders.load_tombstone(amphora_id) >= known[0].epoch:
                # Its removal was cut off: whoever has its VIPs by now must not meet it again.
                await remove_traces(amphora_id, folders, known[0].sandbox)
                return
            sandbox = Sandbox(*known, folders, self._settings.agent, self._capabilities, self._handing)
            self.sandboxes[amphora_id] = sandbox
            if not namespace.exists(amphora_id):
                await self._rebuild(sandbox)
            await sandbox.take_up()
            self._watch_process(sandbox)
            await self._exporter.tend(sandbox)

    async def _rebuild(self, sandbox: Sandbox) -> None:
        try:
            await sandbox.build()
        except StateraError as error:
            # A bridge that is not there yet, say: the watch tries again.
            sandbox.reason = error.reason
        else:
            self._announce_soon(sandbox)

    # Requests

    def find(self, amphora_id: str) -> Sandbox | None:
        return self.sandboxes.get(amphora_id)

    def observe(self) -> tuple[AmphoraObserved, ...]:
        return tuple(sandbox.observe() for sandbox in self.sandboxes.values())

    async def ensure(self, request: SandboxRequest) -> None:
        """Build or change a sandbox. Raises `Lasting` (slug `host-full`), `LostClaim`, `Transient`."""
        amphora_id = request.sandbox.amphora_id
        # Whoever removed it never builds it again: a request of the same pass is an old one that comes late.
        if request.epoch <= self._folders.load_tombstone(amphora_id):
            raise LostClaim(request.sandbox.load_balancer_id)
        if amphora_id not in self.sandboxes:
            capacity = self._read_capacity()
            if len(self.sandboxes) >= capacity.limit:
                told = f"Host {self._settings.agent.name} holds {capacity.limit} amphorae, as many as it may"
                raise Lasting("host-full", f"{told}: {capacity.why}." if capacity.why else f"{told}.")
            self.sandboxes[amphora_id] = Sandbox(
                Record(sandbox=request.sandbox, sandbox_digest=request.digest, epoch=request.epoch, protocol=PROTOCOL),
                Secret(request.heartbeat_key),
                self._folders.of(amphora_id),
                self._settings.agent,
                self._capabilities,
                self._handing,
            )
        sandbox = self.sandboxes[amphora_id]
        async with self._building:
            await asyncio.to_thread(self._bridges.ensure)
            begun = time.monotonic()
            await sandbox.ensure(request)
            BUILD_SECONDS.observe(time.monotonic() - begun)
        self._watch_process(sandbox)
        self._announce_soon(sandbox)

    async def apply(self, amphora_id: str, configuration: Configuration) -> AppliedConfiguration:
        """Bring a configuration live. Raises as `Sandbox.apply` does."""
        sandbox = self.sandboxes.get(amphora_id)
        if sandbox is None:
            raise Transient("sandbox-missing", f"Amphora {amphora_id} has no sandbox on this host.")
        try:
            applied = await sandbox.apply(configuration)
        except StateraError as error:
            REFUSED.labels(error.reason.slug).inc()
            raise
        finally:
            self._watch_process(sandbox)
            await self._exporter.tend(sandbox)
        APPLIED.labels(applied.means).inc()
        return applied

    async def check(self, amphora_id: str, configuration: Configuration) -> Verdict:
        """Return what HAProxy says of a configuration, beside a sandbox or without one. Nothing changes."""
        document = configuration.haproxy
        if document is None:
            return Verdict(accepted=True)
        sandbox = self.sandboxes.get(amphora_id)
        async with self._checking:
            if sandbox is not None:
                told = await self._check(sandbox.engine.launch, document, configuration.contents)
            else:
                with self._folders.lend_user(self._settings.agent) as user:
                    told = await self._check(self._make_launch(amphora_id, user), document, configuration.contents)
        return Verdict(accepted=not told, words=told)

    async def _check(self, launch: Launch, document: Document, contents: Mapping[str, Secret[bytes]]) -> str:
        agent, streams, told = self._settings.agent, document.for_haproxy(), ""
        if streams is not None:
            told = shorten(await process.check_document(launch, agent, streams, contents))
        if document.datagrams is not None and not told:
            told = await check_datagrams(launch, agent, document.datagrams)
        return told

    async def list_answering(self, asked: NeighboursQuestion) -> list[str]:
        """Return for which addresses somebody on a network answers, as seen from this host. Raises `Transient`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._asking, list_answering, asked.attachment, asked.mtu, asked.addresses)

    def _make_launch(self, amphora_id: str, user: User) -> Launch:
        options = self._settings.compute
        limits = LimitsSpec(
            memory_mib=options.memory_mib,
            file_descriptors=options.file_descriptors,
            cpu_percent=options.cpu_percent,
            max_connections=0,
        )
        return Launch(amphora_id=amphora_id, folders=self._folders.of(amphora_id), limits=limits, user=user)

    async def remove(self, amphora_id: str, epoch: int, *, hands_over_s: float = 0.0) -> None:
        """Remove a sandbox, whatever is left of it; the epoch is remembered. Raises `LostClaim`, `Transient`.

        With some seconds for it, another amphora takes its VIPs over while it finishes its connections.
        """
        sandbox = self.sandboxes.get(amphora_id)
        if sandbox is not None:
            sandbox.check_epoch(epoch)
        # A removal that comes late must not lower the fence against requests that come later still.
        self._folders.save_tombstone(amphora_id, max(epoch, self._folders.load_tombstone(amphora_id)))
        try:
            if sandbox is not None:
                await self._exporter.forget(amphora_id)
                await sandbox.remove(hands_over_s=hands_over_s)
                # Whoever looked after it when the removal began may have listened anew.
                await self._exporter.forget(amphora_id)
            else:
                await remove_traces(amphora_id, self._folders.of(amphora_id), None)
        except (OSError, TimeoutError) as error:
            raise Transient("sandbox-not-removed", f"Amphora {amphora_id} could not be removed yet.") from error
        self.sandboxes.pop(amphora_id, None)
        self._untaken.discard(amphora_id)

    async def measure(self, sandbox: Sandbox) -> Metrics:
        """Return what HAProxy counts; nothing when it does not answer."""
        text, document = "", sandbox.record.document
        if document is None:
            # An edit was cut off: nobody knows what it serves, but one that hangs must not keep the next one waiting.
            if sandbox.engine.find_pid() is not None:
                await self._ask(sandbox)
        elif document.parts:
            text = await self._ask(sandbox)
        running = document is None or (sandbox.is_running and (bool(text) or not sandbox.is_hung))
        metrics = read_metrics(sandbox.id, text, haproxy_running=running)
        listeners, members = await sandbox.datagrams.observe(metrics.process)
        return msgspec.structs.replace(
            metrics, listeners=(*metrics.listeners, *listeners), members=(*metrics.members, *members)
        )

    async def _ask(self, sandbox: Sandbox) -> str:
        """Return HAProxy's statistics, "" when it does not answer; one that hangs is looked after."""
        text = ""
        with contextlib.suppress(RuntimeUnavailable, OSError):
            text = await sandbox.engine.read_statistics()
        sandbox.note_answer(is_answer=bool(text))
        if sandbox.is_hung:
            # Not by the next turn of the watch: this one may itself be waiting for its answers.
            self._keep_task(self._mend(sandbox))
        return text

    # The watch

    async def watch(self, stop: asyncio.Event) -> None:
        """Keep every HAProxy running until `stop` is set. A process that ends is noticed at once by its descriptor."""
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                await self._watch_once(turn)
            except Exception:
                # The edge of the loop: without it, nothing on this host would be looked after.
                log.exception("turn of the watch failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), WATCH_S)
        await self._exporter.close()
        self.forget_processes()

    async def _watch_once(self, turn: int) -> None:
        SANDBOXES.set(len(self.sandboxes))
        if turn % CAPACITY_EVERY == 1:
            SANDBOXES_LIMIT.set(self._read_capacity().limit)
        await self._look_after_bridges()
        await self._look_at_all(turn)
        if turn % TRIM_EVERY == 0:
            await asyncio.to_thread(self._folders.trim)

    def forget_processes(self) -> None:
        """Stop listening for the end of processes: none is started again, not even one that has ended already."""
        for task in list(self._tasks):
            task.cancel()
        for name in list(self._watched):
            self._forget_process(name)
        for sandbox in self.sandboxes.values():
            sandbox.close()

    async def _look_after_bridges(self) -> None:
        try:
            await asyncio.to_thread(self._bridges.ensure)
        except Transient as error:
            # It is tried again every second, and told once.
            if error.sentence != self._bridge_trouble:
                log.warning("bridge not made", slug=error.reason.slug, sentence=error.sentence)
            self._bridge_trouble = error.sentence
        else:
            self._bridge_trouble = ""

    async def _look_at_all(self, turn: int) -> None:
        """Look at all sandboxes, and after those that need it. A thousand that need nothing cost next to nothing."""
        sandboxes = list(self.sandboxes.values())
        inside = [one for one in sandboxes if has_turn(one.id, turn, INSIDE_EVERY) and one.may_look_inside]
        damaged = await asyncio.to_thread(list_damaged, [one.record.sandbox for one in inside])
        asked = [one for one in sandboxes if has_turn(one.id, turn, ASK_EVERY)]
        await asyncio.to_thread(_ask_all, asked)
        needy = [one for one in sandboxes if one.id in damaged or self._needs_more(one, turn)]
        await asyncio.gather(*(self._look_in_turn(one, turn, is_damaged=one.id in damaged) for one in needy))
        # A neighbour that missed the first announcement learns it from a later one.
        every = announce_every(len(sandboxes))
        announced = [one for one in sandboxes if has_turn(one.id, turn, every) and one.may_announce]
        await asyncio.to_thread(namespace.announce_all, [one.record.sandbox for one in announced])

    def _needs_more(self, sandbox: Sandbox, turn: int) -> bool:
        """Say whether a turn may find anything to do, as far as it is seen without waiting."""
        return (
            self._may_be_broken(sandbox, turn)
            or sandbox.engine.has_drains
            or sandbox.datagrams.has_parting
            or self._exporter.is_due(sandbox)
        )

    def _may_be_broken(self, sandbox: Sandbox, turn: int) -> bool:
        has_ended = sandbox.id in self._untaken or not turn or not self._watches_all(sandbox)
        return has_ended or has_turn(sandbox.id, turn, LOOK_EVERY) or bool(sandbox.list_hung()) or not sandbox.is_whole

    def _watches_all(self, sandbox: Sandbox) -> bool:
        """Say whether the end of each process would be told, of one that has ended already as well."""
        document = sandbox.record.document
        names = [sandbox.id]
        names += [f"{sandbox.id}/vrrp"] if is_sharing(sandbox.record.sandbox) else []
        names += [f"{sandbox.id}/datagrams"] if document is not None and document.datagrams is not None else []
        return all(name in self._watched for name in names)

    async def _look_in_turn(self, sandbox: Sandbox, turn: int, *, is_damaged: bool) -> None:
        async with self._looking:
            await self._look_after(sandbox, turn, is_damaged=is_damaged)

    async def _look_after(self, sandbox: Sandbox, turn: int, *, is_damaged: bool = False) -> None:
        """Look after one; turn 0 is for a process of it that has just ended."""
        try:
            if is_damaged:
                await sandbox.look_inside()
            if self._may_be_broken(sandbox, turn):
                if await sandbox.keep_running(time.monotonic()):
                    self._announce_soon(sandbox)
                self._watch_process(sandbox)
            await sandbox.engine.finish_deletes()
            await sandbox.datagrams.end_parting()
            await self._exporter.tend(sandbox)
            await self._end_adoption(sandbox)
        except Exception as error:
            # The edge of the loop: one broken sandbox must not end the watch over the others.
            _tell_fault("watch failed", error, **sandbox.about)

    async def _end_adoption(self, sandbox: Sandbox) -> None:
        if sandbox.id in self._untaken and not sandbox.is_removed and not sandbox.lock.locked():
            async with sandbox.lock:
                await sandbox.take_up()
            self._untaken.discard(sandbox.id)

    def _announce_soon(self, sandbox: Sandbox) -> None:
        self._keep_task(self._announce_often(sandbox))

    async def _announce_often(self, sandbox: Sandbox) -> None:
        for wait_s in ANNOUNCE_AFTER_S:
            await asyncio.sleep(wait_s)
            if not sandbox.may_announce:
                return
            # Best effort: the sandbox may be going this very moment.
            with contextlib.suppress(OSError):
                await asyncio.to_thread(namespace.announce_vips, sandbox.record.sandbox)

    def _keep_task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _watch_process(self, sandbox: Sandbox) -> None:
        self._watch_pid(sandbox, sandbox.id, sandbox.engine.find_pid())
        self._watch_pid(sandbox, f"{sandbox.id}/vrrp", sandbox.vrrp.find_pid())
        self._watch_pid(sandbox, f"{sandbox.id}/datagrams", sandbox.datagrams.find_pid())

    def _watch_pid(self, sandbox: Sandbox, name: str, pid: int | None) -> None:
        known, _ = self._watched.get(name, (None, None))
        if pid == known:
            return
        self._forget_process(name)
        descriptor = open_pid(pid) if pid is not None else None
        if pid is None or descriptor is None:
            return
        self._watched[name] = (pid, descriptor)
        asyncio.get_running_loop().add_reader(descriptor, self._on_end, sandbox, name)

    def _on_end(self, sandbox: Sandbox, name: str) -> None:
        self._forget_process(name)
        self._keep_task(self._mend(sandbox))

    async def _mend(self, sandbox: Sandbox) -> None:
        """Look after one whose process ended until it stands: to wait for turns of the watch would take seconds."""
        if sandbox.id in self._mending:
            return
        self._mending.add(sandbox.id)
        least_s = MEND_AGAIN_S
        try:
            await self._look_after(sandbox, 0)
            while (wait_s := sandbox.mended_in_s(time.monotonic())) is not None:
                await asyncio.sleep(max(wait_s, least_s))
                await self._look_after(sandbox, 0)
                least_s = min(2 * least_s, WATCH_S)
        finally:
            self._mending.discard(sandbox.id)

    def _forget_process(self, name: str) -> None:
        _, descriptor = self._watched.pop(name, (None, None))
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)


def _ask_all(sandboxes: Sequence[Sandbox]) -> None:
    for sandbox in sandboxes:
        sandbox.ask()


def _tell_fault(what: str, error: Exception, **about: str) -> None:
    if (fault := read_disk_fault(error)) is not None:
        log.warning(what, slug=fault.reason.slug, sentence=fault.sentence, **about)
    else:
        log.exception(what, **about)
