"""One amphora on this host: its sandbox, its HAProxy, its record. All changes go through its lock, one at a time."""

import asyncio
import contextlib
import os
import time
from concurrent.futures import Executor

import msgspec
from pyroute2.netlink.exceptions import NetlinkError

from statera.agent import cgroups, handover, namespace, process
from statera.agent.contents import list_missing
from statera.agent.datagrams import Datagrams
from statera.agent.disk import read_disk_fault
from statera.agent.engine import Engine
from statera.agent.folders import AmphoraFolders, Record
from statera.agent.intact import is_intact
from statera.agent.process import Launch
from statera.agent.removal import hand_over, remove_traces
from statera.agent.restarts import Restarts
from statera.agent.silence import Silence
from statera.agent.turning import ensure_vrrp
from statera.agent.users import User, claim_user, find_shared_user, holds_user
from statera.agent.vrrp import Keepalived, is_sharing
from statera.base.errors import Lasting, LostClaim, StateraError, Transient
from statera.base.logging import get_logger
from statera.base.metrics import counter
from statera.base.reason import Reason
from statera.base.secret import Secret
from statera.base.settings import AgentSettings
from statera.model.agent_wire import SandboxRequest
from statera.model.amphora import AmphoraObserved, AppliedConfiguration
from statera.model.document import Document
from statera.model.spec import Configuration, SandboxSpec
from statera.render.engine import EngineCapabilities

log = get_logger("agent")

MENDS = counter("statera_agent_mends_total", "Times that a sandbox was broken and was to be mended: HAProxy died, say.")

MOST_SILENCES = 3
"""Questions in a row that HAProxy leaves without an answer, each of some seconds, before it is taken for hung."""
MOST_FAREWELLS = 16
CONNECTED_WITHIN_S = 2.0
LOOK_AGAIN_S = 0.01


class Farewell(msgspec.Struct, frozen=True, kw_only=True):
    """What a HAProxy process had counted when it was replaced, and what it had been configured to."""

    statistics: str
    generation: int
    epoch: int


class Sandbox:
    """One amphora. `changed` is called after every change that the next heartbeat should tell at once."""

    def __init__(
        self,
        record: Record,
        key: Secret[bytes],
        folders: AmphoraFolders,
        agent: AgentSettings,
        capabilities: EngineCapabilities,
        handing: Executor,
    ) -> None:
        self.record = record
        self.key = key
        self.folders = folders
        self.lock = asyncio.Lock()
        self.reason: Reason | None = None
        self.news = asyncio.Event()
        self._handing = handing
        self._is_removed = False
        self._is_intact = True
        self._live = str(folders.live)
        self._farewells: list[Farewell] = []
        self._has_stood = record.is_built
        self._agent = agent
        user = User(record.user_id, record.user_id) if record.user_id else find_shared_user(agent)
        launch = Launch(amphora_id=self.id, folders=folders, limits=record.sandbox.limits, user=user)
        self.engine = Engine(launch, agent, capabilities)
        self.engine.take_user = self._leave_shared_user
        self.datagrams = Datagrams(launch, agent, self.lock, self.news.set)
        self.vrrp = Keepalived(self.id, folders)
        self._takes_over_from = record.sandbox.handed_over_by
        self._restarts = Restarts()
        self._silence = Silence(MOST_SILENCES)
        self._broken_at: float | None = None

    @property
    def id(self) -> str:
        return self.record.sandbox.amphora_id

    @property
    def about(self) -> dict[str, str]:
        """What log lines about it carry."""
        return {"amphora_id": self.id, "load_balancer_id": self.record.sandbox.load_balancer_id}

    @property
    def is_running(self) -> bool:
        """Say whether every engine runs that the live configuration needs; without one, whether HAProxy does."""
        document = self.record.document
        if (document is None or document.parts) and self.engine.find_pid() is None:
            return False
        return document is None or document.datagrams is None or self.datagrams.is_running

    @property
    def is_whole(self) -> bool:
        # Folders go by hand or by a tidy-up: HAProxy serves on without them, but nobody can reach it.
        return self._is_intact and namespace.is_whole(self.record.sandbox) and os.path.isdir(self._live)

    @property
    def may_look_inside(self) -> bool:
        """Say whether a look inside the namespace tells anything: not while it is being built, or will be."""
        return not self.lock.locked() and self.record.is_built and self.is_whole

    async def look_inside(self) -> None:
        """Look whether something was taken away inside the namespace, where nothing else of ours would see it."""
        if not self.may_look_inside:
            return
        async with self.lock:
            self._is_intact = self._is_removed or await asyncio.to_thread(is_intact, self.record.sandbox)

    def note_answer(self, *, is_answer: bool) -> None:
        """Note whether HAProxy answered a question: one that runs and never does serves nobody."""
        # Where none runs, nobody is silent: the next one is not to be ended for what it was never asked.
        self._silence.note(is_answer=is_answer or self.engine.find_pid() is None)

    @property
    def is_hung(self) -> bool:
        return self._silence.is_hung

    def list_hung(self) -> list[str]:
        """Return what runs in it and takes nothing in any more."""
        asked = {
            "HAProxy": self.is_hung,
            "keepalived of the VIPs": self.vrrp.is_hung,
            self.datagrams.engine.name: self.datagrams.is_hung,
        }
        return [name for name, is_hung in asked.items() if is_hung]

    def ask(self) -> None:
        """Ask what tells nothing by itself for a sign of life; it blocks for a moment, and needs no lock."""
        if is_sharing(self.record.sandbox):
            self.vrrp.ask()
        self.datagrams.ask()

    @property
    def is_removed(self) -> bool:
        """Say whether its removal has begun: nothing of it comes back."""
        return self._is_removed

    @property
    def may_announce(self) -> bool:
        """Say whether the VIPs are here: who is being removed must not call clients back from its successor."""
        return not self._is_removed and namespace.exists(self.id)

    def observe(self) -> AmphoraObserved:
        """Say what there is. A sandbox that was taken from us by a reboot or by hand has no digest."""
        is_built = self.record.is_built and self.is_whole
        return AmphoraObserved(
            id=self.id,
            load_balancer_id=self.record.sandbox.load_balancer_id,
            deployment_id=self.record.deployment_id,
            epoch=self.record.epoch,
            generation=self.record.generation,
            sandbox_digest=self.record.tell_sandbox_digest() if is_built else "",
            configuration_digest="" if self._lacks_contents() else self.record.tell_document_digest(),
            haproxy_running=self.is_running,
            broken_s=self._measure_broken(time.monotonic()),
            has_vips=self.has_vips(),
            reason=self.reason,
        )

    def has_vips(self) -> bool | None:
        """Say whether it has the VIPs that it shares with others; None for one that shares none."""
        return namespace.has_vips(self.record.sandbox) if is_sharing(self.record.sandbox) else None

    def _lacks_contents(self) -> bool:
        document = self.record.document
        return document is not None and bool(list_missing(self.folders.run, document))

    def check_epoch(self, epoch: int) -> None:
        """Raise `LostClaim` for a request of a worker that has been succeeded."""
        if epoch < self.record.epoch:
            raise LostClaim(self.record.sandbox.load_balancer_id)

    async def ensure(self, request: SandboxRequest) -> None:
        """Build the sandbox to the spec, or change it. Remembered first: a crash leaves nothing unknown."""
        async with self.lock:
            if self._is_removed:
                # The removal came first: building again would leave a sandbox that nobody knows.
                raise Transient("sandbox-missing", f"Amphora {self.id} has just been removed from this host.")
            self.check_epoch(request.epoch)
            if self._takes_over(request.sandbox):
                await self._wait_connected()
            self.record = msgspec.structs.replace(
                self.record,
                sandbox=request.sandbox,
                sandbox_digest=request.digest,
                epoch=request.epoch,
                deployment_id=request.deployment_id or self.record.deployment_id,
                is_built=False,
            )
            self.key = Secret(request.heartbeat_key)
            await self.build()

    async def take_up(self) -> None:
        """Look after what an earlier life of the agent has left running."""
        if self.record.user_id and not await asyncio.to_thread(self._claim_again):
            # Somebody has taken the register away, and another sandbox the number: what runs must not share it.
            log.warning("user id lost", **self.about, user_id=self.record.user_id)
            await process.end_all(self.id)
        if self.folders.run.is_dir():
            await asyncio.to_thread(self.folders.own, self.engine.launch.user)
        document = self.record.document
        if document is not None and document.datagrams is not None:
            self.datagrams.take_lifeline(not document.parts)
            self.datagrams.adopt(document.datagrams)
        if namespace.exists(self.id):
            await asyncio.to_thread(handover.clear_loopback, self.record.sandbox)

    def _takes_over(self, wanted: SandboxSpec) -> bool:
        has_vips = any(interface.vips for interface in self.record.sandbox.interfaces)
        return self.record.is_built and not has_vips and any(interface.vips for interface in wanted.interfaces)

    async def _wait_connected(self) -> None:
        # Whoever has the VIPs serves on meanwhile; neighbours would not hear that they have come here.
        deadline = time.monotonic() + CONNECTED_WITHIN_S
        while not namespace.is_connected(self.record.sandbox) and time.monotonic() < deadline:
            await asyncio.sleep(LOOK_AGAIN_S)

    async def adopt(self, deployment_id: str) -> None:
        """Note whose sandbox this is, if it has never been told."""
        if self.record.deployment_id or not deployment_id:
            return
        async with self.lock:
            # One that is yet to be built learns it from whoever has it built.
            if self.folders.keep.is_dir() and not self._is_removed and not self.record.deployment_id:
                self.record = msgspec.structs.replace(self.record, deployment_id=deployment_id)
                self.folders.save(self.record)

    async def build(self) -> None:
        """Bring folders, namespace and limits to the record. The caller holds the lock."""
        has_run = self.record.document is not None or self.folders.pid.exists()
        if has_run and not namespace.exists(self.id):
            # Whoever took the namespace away has left HAProxy in it: it serves nobody, and nobody would end it.
            await asyncio.to_thread(process.end_strays, self.id)
        try:
            await asyncio.to_thread(self._build)
        except (OSError, NetlinkError, LookupError) as error:
            why = "an interface was taken away meanwhile" if isinstance(error, LookupError) else error
            sentence = f"The sandbox of amphora {self.id} cannot be built: {why}."
            raise read_disk_fault(error) or Transient("sandbox-not-built", sentence) from error

    def _build(self) -> None:
        self.folders.keep.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._is_of_shared_user:
            self._take_user()
        self.folders.make(self.engine.launch.user)
        self._remember(is_built=False)
        self.folders.save_key(self.key)
        givers = self.record.sandbox.handed_over_by
        if (givers or self._takes_over_from) and namespace.exists(self.id):
            # Before the VIPs are here: from then on it is asked for connections that it does not know.
            handover.take_over(self.record.sandbox)
            self._takes_over_from = givers
        namespace.ensure_namespace(self.record.sandbox)
        self._is_intact = True
        self._limit()
        ensure_vrrp(self.vrrp, self.record.sandbox, self.engine.launch)
        self._remember(is_built=True)
        self._has_stood = True

    # Whom its processes run as

    @property
    def _is_of_shared_user(self) -> bool:
        """Say whether something runs in it that an older version has started as the user of all sandboxes."""
        return not self.record.user_id and bool(process.list_inside(self.id))

    def _claim_again(self) -> bool:
        known = self.record.user_id
        with contextlib.suppress(Lasting):
            return claim_user(self._agent, self.folders.keep, known) == known
        return False

    def _take_user(self) -> None:
        number = claim_user(self._agent, self.folders.keep, self.record.user_id)
        self.record = msgspec.structs.replace(self.record, user_id=number)
        self.engine.launch = msgspec.structs.replace(self.engine.launch, user=User(number, number))
        self.datagrams.launch = self.engine.launch

    def _leave_shared_user(self) -> bool:
        """Give it a user of its own while it serves, if it has none; False when it has, or cannot."""
        # A pair's VIP goes with HAProxy's lifeline, which cannot be handed on: it waits until HAProxy begins anew.
        if self.record.user_id or self.record.sandbox.vrrp is not None:
            return False
        self._take_user()
        self.folders.save(self.record)
        self.folders.own(self.engine.launch.user)
        return True

    async def _begin_as_own_user(self) -> None:
        """Before HAProxy is started: what else runs as another user than its own begins anew with it."""
        if holds_user(self.folders.keep, self.record.user_id) or self.engine.find_pid() is not None:
            return
        await process.end_all(self.id)
        await self.build()

    def _remember(self, *, is_built: bool) -> None:
        self.record = msgspec.structs.replace(self.record, is_built=is_built)
        self.folders.save(self.record)

    def _limit(self) -> None:
        # Before every start, too: after the agent's own restart, or when somebody took the groups away.
        groups = cgroups.ensure_groups(self.id, self.record.sandbox.limits)
        self.engine.launch = msgspec.structs.replace(
            self.engine.launch,
            limits=self.record.sandbox.limits,
            groups=tuple(groups),
            has_lifeline=self.record.sandbox.vrrp is not None and self.record.sandbox.has_lifeline,
        )
        self.datagrams.launch = self.engine.launch

    async def apply(self, configuration: Configuration) -> AppliedConfiguration:
        """Bring a configuration live. Raises `Lasting` while the old one goes on serving, and `LostClaim`."""
        async with self.lock:
            self.check_epoch(configuration.epoch)
            if not namespace.exists(self.id):
                raise Transient("sandbox-missing", f"Amphora {self.id} has no sandbox on this host.")
            await self._begin_as_own_user()
            before = self.record
            if not self.is_running:
                await asyncio.to_thread(self._limit)
            self.folders.changing.touch()
            try:
                applied = await self._apply(before.document, configuration)
            except StateraError as error:
                # The engines are back at what they had.
                self.folders.changing.unlink(missing_ok=True)
                self.reason = error.reason
                raise
            except OSError:
                # Cut off somewhere: what is live is not known, and the next configuration is loaded anew.
                self.record = msgspec.structs.replace(self.record, document=None)
                raise
            finally:
                self._note_farewell(before)
            self.record = msgspec.structs.replace(
                self.record,
                document=configuration.haproxy,
                document_digest=configuration.digest,
                generation=configuration.generation,
                epoch=configuration.epoch,
            )
            self.folders.save(self.record)
            self.folders.changing.unlink(missing_ok=True)
            self.reason = None
        self.news.set()
        return applied

    async def _apply(self, live: Document | None, configuration: Configuration) -> AppliedConfiguration:
        """Bring all engines to a configuration, or none."""
        wanted = configuration.haproxy
        self.datagrams.take_lifeline(wanted is not None and not wanted.parts)
        first = await self.datagrams.apply(wanted.datagrams if wanted is not None else None)
        try:
            before, after = (document.for_haproxy() if document is not None else None for document in (live, wanted))
            second = await self.engine.apply(before, after, configuration.contents)
            if second.means != "unchanged":
                # It has answered, or is another one: what was asked in vain before is no reason to end it.
                self.note_answer(is_answer=True)
            await self.datagrams.settle()
        except StateraError:
            if first.means != "unchanged":
                with contextlib.suppress(StateraError):
                    await self.datagrams.apply(live.datagrams if live is not None else None)
            raise
        return first if first.means == "reload" and second.means != "reload" else second

    def _note_farewell(self, record: Record) -> None:
        if self.engine.parting:
            farewell = Farewell(statistics=self.engine.parting, generation=record.generation, epoch=record.epoch)
            self._farewells = [*self._farewells, farewell][-MOST_FAREWELLS:]
            self.engine.parting = ""

    def take_farewells(self) -> list["Farewell"]:
        """Return what processes counted that have been replaced since the last call, oldest first."""
        taken, self._farewells = self._farewells, []
        return taken

    async def keep_running(self, now: float) -> bool:
        """Mend what broke and start HAProxy again, later when it often breaks; True when it was tried."""
        if self.is_hung and (self.lock.locked() or self.record.document is None) and not self._is_removed:
            # Whoever changes it waits for answers that do not come, and so do all who wait for the lock. Where it is
            # not known what was live, the next configuration starts another one.
            self._silence.end()
            await process.end_all(self.id, but=process.OTHER_ENGINES)
        if not self._measure_broken(now) or self._restarts.wait_s(now) or self.lock.locked():
            return False
        async with self.lock:
            if not self._is_broken():
                return False
            self._restarts.note(now)
            await self._mend()
        self.news.set()
        return True

    def mended_in_s(self, now: float) -> float | None:
        """Return how long to wait before what broke is to be mended, None when nothing is broken."""
        return self._restarts.wait_s(now) if self._is_broken() else None

    def _measure_broken(self, now: float) -> float:
        """Return the seconds since it was first seen broken, 0.0 when it is not."""
        if not self._is_broken():
            self._broken_at = None
            return 0.0
        if self._broken_at is None:
            self._broken_at = now
        return max(now - self._broken_at, 0.001)

    def _is_broken(self) -> bool:
        # One that has never stood is being built by whoever asked for it.
        return not self._is_removed and (self._lacks_haproxy() or (self._has_stood and self._lacks_sandbox()))

    def _lacks_sandbox(self) -> bool:
        return not self.is_whole or self.vrrp.is_missed(self.record.sandbox)

    def _lacks_haproxy(self) -> bool:
        return self.record.document is not None and (self.is_hung or self.datagrams.is_hung or not self.is_running)

    async def _mend(self) -> None:
        MENDS.inc()
        hung = ", ".join(self.list_hung())
        log.warning("sandbox broken, mending it", **self.about, running=self.is_running, hung=hung)
        try:
            if self._lacks_sandbox():
                await self.build()
            if self._lacks_contents():
                sentence = "The keys of its certificates went with the memory they were in; they are being asked for."
                raise Transient("certificates-awaited", sentence)
            if self._lacks_haproxy() and self.record.document is not None:
                await self._begin_as_own_user()
                await asyncio.to_thread(self._limit)
                await self._start(self.record.document)
                self._silence.end()
        except StateraError as error:
            self.reason = error.reason
            log.warning("sandbox not mended", **self.about, sentence=error.sentence)
        else:
            self.reason = None

    async def _start(self, document: Document) -> None:
        streams = document.for_haproxy()
        if streams is not None and (self.engine.find_pid() is None or self.is_hung):
            self.folders.write_document(streams)
            self._silence.end()
            await self.engine.start(streams)
        if document.datagrams is not None:
            self.datagrams.take_lifeline(not document.parts)
            await self.datagrams.resume(document.datagrams)

    async def remove(self, *, hands_over_s: float = 0.0) -> None:
        """Remove processes, interfaces, namespace, limits and files, in an order that leaves nothing unknown.

        With some seconds for it, the VIPs are handed over before, and connections end by themselves.
        """
        async with self.lock:
            self._is_removed = True
            if hands_over_s and namespace.has_vips(self.record.sandbox):
                deadline = time.monotonic() + hands_over_s
                with contextlib.suppress(OSError, NetlinkError):
                    await hand_over(self.record.sandbox, self.vrrp, self._handing, deadline)
                # Whoever could not give them up would refuse what comes for them, as long as its connections last.
                if not namespace.has_vips(self.record.sandbox):
                    await self.engine.finish(deadline)
            self.close()
            await remove_traces(self.id, self.folders, self.record.sandbox)

    def close(self) -> None:
        """Look after nothing any more; what runs, runs on."""
        self.datagrams.close()
        self.engine.let_go()


def open_pid(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends, None when it has."""
    with contextlib.suppress(OSError):
        return os.pidfd_open(pid)
    return None
