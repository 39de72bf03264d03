"""The world of one load balancer, as `plan/` wants to see it: rows, what hosts have, the documents that are wanted."""

import asyncio
import random
from collections.abc import Mapping, Sequence

import msgspec

from statera.base.errors import Lasting, Transient
from statera.base.ids import new_id
from statera.control.certificates import CertificateBook
from statera.control.draining import mark_draining
from statera.control.hosts import HostBook
from statera.control.neighbours import ask_around
from statera.control.run import Run
from statera.control.surroundings import Surroundings
from statera.model.amphora import Amphora, AmphoraObserved, Spare
from statera.model.certificates import Bundle
from statera.model.document import Document
from statera.model.engines import COMMON_ENGINES, EngineName
from statera.model.enums import AmphoraStatus
from statera.model.failover import read_limits
from statera.model.network import Network
from statera.model.spec import Configuration
from statera.model.tree import Tree
from statera.plan.brain import list_to_ask, needs_lookout
from statera.plan.plan import MOST_FRESH_IDS, needs_hosts
from statera.plan.spec import decide_amphora_spec, list_references, list_vips
from statera.plan.world import Sighting, Unseen, World
from statera.render.document import render_document
from statera.render.engine import EngineCapabilities, read_capabilities
from statera.render.paths import SANDBOX_PATHS
from statera.render.tokens import BadToken
from statera.store.amphorae import count_placed
from statera.store.drains import is_host_gone, list_drains
from statera.store.failover import load_lookout
from statera.store.spares import list_spares

PLACEMENT_AGE_S = 2.0
"""Oldest answers to choose a host by; rows, which count at once, tell what was placed since."""
LOOKOUT_AGE_S = 6.0
"""Oldest answers to tell by whether a host is lost, unless a silence is shorter: a round takes seconds then."""
ANSWERS_WITHIN_S = 0.5
"""Seconds after which it is worth to ask all hosts, too, while the one of an amphora may still answer."""
VERSIONS_AGE_S = 60.0
"""How soon the re-check notices that a host has another engine; an edit does not wait to find out."""


class Observer:
    """Looks at the world. Holds nothing between passes but what hosts said of themselves last."""

    def __init__(self, around: Surroundings) -> None:
        self._store = around.store
        self._network = around.network
        self._compute = around.compute
        self._clock = around.clock
        settings = around.settings
        # What health writes of heartbeats lags behind by half of its window.
        self._silent_after_s = settings.health.stale_after_s * 1.5
        # Nothing that a host said before its amphorae fell silent tells that it lives.
        self._lookout_age_s = min(LOOKOUT_AGE_S, settings.health.stale_after_s)
        self.max_skew_s = settings.health.max_skew_s
        self._has_spares = settings.compute.spares_per_host > 0
        self._broken_after_s = settings.failover.broken_after_s
        self.failover_limits = read_limits(settings.failover)
        self.hosts = HostBook(around.compute)
        self._certificates = CertificateBook(around.secrets)
        self.limits = around.limits

    async def observe(self, run: Run) -> World:
        """Return the world of a pass. Raises `Lasting` for text that cannot be rendered."""
        run.networks = await self._look_at_networks(run)
        sightings = await self._look_at_all(run)
        now = self._clock.now()
        world = World(
            tree=run.tree,
            amphorae=tuple(run.amphorae.values()),
            sightings=sightings,
            networks=run.networks,
            limits=self.limits,
            configurations=await self._digests(run, sightings),
            fresh_ids=tuple(new_id() for _ in range(MOST_FRESH_IDS)),
            silent_after_s=self._silent_after_s,
            failing_s=(now - run.claim.failing_since).total_seconds() if run.claim.failing_since else 0.0,
            broken_after_s=self._broken_after_s,
            now=now,
        )
        if not needs_hosts(world):
            return world
        is_dubious = needs_lookout(world)
        hosts = await self.hosts.list_hosts(most_age_s=self._lookout_age_s if is_dubious else PLACEMENT_AGE_S)
        hosts = mark_draining(hosts, {drain.host for drain in await list_drains(self._store)})
        lookout = None
        if is_dubious:
            lookout = await load_lookout(self._store, run.balancer.id, self.failover_limits)
        world = msgspec.structs.replace(world, hosts=hosts, placed=await count_placed(self._store), lookout=lookout)
        if self._has_spares:
            world = msgspec.structs.replace(world, spares=_choose_spares(await list_spares(self._store)))
        for row in list_to_ask(world):
            lookout = await ask_around(self._compute, world, row)
            world = msgspec.structs.replace(world, lookout=lookout)
        return world

    async def render(self, run: Run, amphora: Amphora, *, assumed: str = "") -> Document | None:
        """Return the document that an amphora should have, None when no listener needs an engine.

        Raises `Transient` when its host has never told which engine it has and none is `assumed`, `Lasting` for text
        that cannot be rendered.
        """
        if amphora.id not in run.documents:
            bundles = await self._load_bundles(run)
            engine = await self.find_engine(run, amphora, assumed)
            rows = tuple(run.amphorae.values())
            run.documents[amphora.id] = self.render_with(run.tree, amphora.id, bundles, engine, rows)
        return run.documents[amphora.id]

    async def _load_bundles(self, run: Run) -> dict[str, Bundle]:
        """Ask for certificates once a pass, also where that fails: a store that hangs is not waited for again."""
        if run.unread is not None:
            raise run.unread
        if run.bundles is None:
            try:
                run.bundles = await self._certificates.load(list_references(run.tree))
            except (Transient, Lasting) as error:
                run.unread = error
                raise
        return run.bundles

    async def render_last(self, run: Run, amphora: Amphora, last: Tree) -> Configuration:
        """Return the configuration of an earlier tree of the same load balancer. Raises as `render`."""
        bundles = await self._certificates.load(list_references(last))
        engine = await self.find_engine(run, amphora)
        document = self.render_with(last, amphora.id, bundles, engine, tuple(run.amphorae.values()))
        return run.configure(document, generation=last.load_balancer.generation, bundles=bundles)

    def render_with(
        self,
        tree: Tree,
        amphora_id: str,
        bundles: Mapping[str, Bundle],
        engine: EngineCapabilities,
        rows: Sequence[Amphora] = (),
    ) -> Document | None:
        """Return what a tree means for an amphora with this engine, beside all `rows`. Raises `Lasting`."""
        engine.check(tree)
        digests = {ref: bundle.digest for ref, bundle in bundles.items()}
        spec = decide_amphora_spec(tree, amphora_id, self.limits, digests, engine.engines, rows)
        return render_document(spec, engine, SANDBOX_PATHS)

    async def find_engine(self, run: Run, amphora: Amphora, assumed: str = "") -> EngineCapabilities:
        """Return what the host of an amphora can do. Raises `Transient` unless some version is `assumed`."""
        # Only the slow re-check takes the time to ask a host again.
        is_edit = run.generation != run.balancer.observed_generation
        age_s = float("inf") if is_edit else VERSIONS_AGE_S
        try:
            versions = await self.hosts.load_versions(amphora.host, most_age_s=age_s)
        except Transient:
            if not assumed:
                raise
            versions = {**dict.fromkeys(COMMON_ENGINES, ""), EngineName.HAPROXY: assumed}
        return read_capabilities(versions)

    async def _look_at_networks(self, run: Run) -> tuple[Network, ...]:
        """Return those that the tree names, the VIP's first, and those that the amphorae are on."""
        vips, members = list_vips(run.balancer), run.tree.members
        ports = [port for amphora in run.amphorae.values() for port in amphora.ports]
        network_ids = [run.balancer.vip.network_id, *(port.network_id for port in ports)]
        subnet_ids = [*(vip.subnet_id for vip in vips), *(member.subnet_id for member in members)]
        subnet_ids += [place.subnet_id for port in ports for place in port.addresses]
        return await self._network.observe_networks(
            tuple(dict.fromkeys(network_ids)), tuple(dict.fromkeys(one for one in subnet_ids if one))
        )

    async def _look_at_all(self, run: Run) -> dict[str, Sighting]:
        looking = asyncio.gather(*[self._look(run, amphora) for amphora in run.amphorae.values()])
        # A pass may be given up meanwhile: what comes of its questions then is nobody's business.
        looking.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            if not (await asyncio.wait({looking}, timeout=ANSWERS_WITHIN_S))[0]:
                # A host may be lost: all are asked beside, so that the proof does not take twice as long.
                self.hosts.recall(most_age_s=self._lookout_age_s)
            sightings = await looking
        finally:
            looking.cancel()
        return dict(zip(run.amphorae, sightings, strict=True))

    async def _look(self, run: Run, amphora: Amphora) -> Sighting:
        try:
            return await self._compute.observe_amphora(amphora.host, amphora.id)
        except (Transient, Lasting) as error:
            # What is to go and was on a host that is no more has gone with it.
            is_gone = _is_leaving(run, amphora) and await is_host_gone(self._store, amphora.host)
            return None if is_gone else Unseen(error.reason)

    async def _digests(self, run: Run, sightings: dict[str, Sighting]) -> dict[str, str]:
        """Return the wanted digest of each amphora that is there, "" for no document; others need none to compare."""
        if run.balancer.deleting:
            return {}
        digests = {}
        for amphora in run.amphorae.values():
            seen = sightings[amphora.id]
            if not isinstance(seen, AmphoraObserved):
                continue
            try:
                document = await self.render(run, amphora)
            except (Transient, Lasting) as error:
                # No plan can be made for an address that is none.
                if isinstance(error, BadToken) and seen.generation:
                    raise
                # Unknown: the plan configures it, and that step says why it cannot; or another host builds it. What
                # comes before that step is not held up, such as the end of another one that has the VIPs.
                continue
            digests[amphora.id] = document.digest() if document is not None else ""
        return digests


def _choose_spares(spares: Sequence[Spare]) -> dict[str, str]:
    """Return one ready spare of each host: any, so that workers seldom want the same."""
    ready = [spare for spare in spares if spare.is_ready and not spare.is_condemned]
    return {spare.host: spare.id for spare in random.sample(ready, len(ready))}


def _is_leaving(run: Run, amphora: Amphora) -> bool:
    is_asked = run.balancer.deleting or amphora.id in run.balancer.amphorae_to_replace
    return is_asked or amphora.status in (AmphoraStatus.PENDING_DELETE, AmphoraStatus.ERROR)
