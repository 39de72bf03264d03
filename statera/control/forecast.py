"""Says what a pass would do about an edit that nobody has made yet. It looks at everything and changes nothing."""

import asyncio

from statera.base.errors import StateraError
from statera.control.observe import Observer
from statera.control.run import Run
from statera.control.surroundings import Surroundings
from statera.model.agent_wire import Verdict
from statera.model.amphora import Amphora, AmphoraObserved
from statera.model.document import Document
from statera.model.features import Installed
from statera.model.forecast import AmphoraForecast, Forecast, Means, ObjectChange, isolate_change, list_changes, worst
from statera.model.tree import Tree
from statera.model.work import Claim, Snapshot
from statera.plan.plan import decide_plan
from statera.plan.steps import AddAmphora, CondemnAmphora, EnsureSandbox, Plan
from statera.plan.world import World
from statera.render.change import Reload, RuntimeChange, Unchanged, decide_change
from statera.render.difference import render_difference
from statera.render.engine import EngineCapabilities, haproxy_capabilities, list_installed
from statera.store.amphorae import load_amphorae

ENGINES_AGE_S = 30.0
"""An engine that was installed anew is known to the API after so long."""
ASSUMED_ENGINE = "2.6.0"
"""For a host that has never told its own: the oldest that is supported."""


class Forecaster:
    """Forecasts edits. One per process; it remembers what hosts said of themselves last."""

    def __init__(self, around: Surroundings) -> None:
        self._store = around.store
        self._compute = around.compute
        self._clock = around.clock
        self._observer = Observer(around)

    def recall_engines(self) -> tuple[Installed, ...]:
        return list_installed(self._observer.hosts.recall(most_age_s=ENGINES_AGE_S))

    async def forecast(self, before: Tree, after: Tree) -> Forecast:
        """Return what would come of an edit. Raises `Lasting` for what cannot be rendered, `Transient`."""
        amphorae = await load_amphorae(self._store, before.load_balancer.id)
        now, then = self._begin(before, amphorae), self._begin(after, amphorae)
        world = await self._observer.observe(then)
        plan = decide_plan(world)
        condemned = {step.amphora_id for step in plan.steps if isinstance(step, CondemnAmphora)}
        added = [step.amphora for step in plan.steps if isinstance(step, AddAmphora)]
        there = [*(one for one in amphorae if one.id not in condemned), *added]
        told = await asyncio.gather(*(self._look_at(one, now, then, world, plan) for one in there))
        engine = await self._observer.find_engine(then, there[0], ASSUMED_ENGINE) if there else None
        objects = await asyncio.to_thread(self._judge_all, now, then, engine or haproxy_capabilities(ASSUMED_ENGINE))
        return Forecast(
            means=worst([one.means for one in told]),
            objects=objects,
            amphorae=tuple(told),
            steps=tuple(step.sentence for step in plan.steps),
        )

    def _begin(self, tree: Tree, amphorae: tuple[Amphora, ...]) -> Run:
        # Nothing is written and nothing is built: the claim is nobody's.
        claim = Claim(
            load_balancer_id=tree.load_balancer.id,
            owner="",
            epoch=0,
            lease_until=self._clock.now(),
            failures=0,
            failing_since=None,
        )
        return Run(claim, Snapshot(tree=tree, amphorae=amphorae))

    async def _look_at(self, amphora: Amphora, now: Run, then: Run, world: World, plan: Plan) -> AmphoraForecast:
        live = await self._observer.render(now, amphora, assumed=ASSUMED_ENGINE)
        wanted = await self._observer.render(then, amphora, assumed=ASSUMED_ENGINE)
        engine = await self._observer.find_engine(then, amphora, ASSUMED_ENGINE)
        is_there = world.sightings.get(amphora.id) is not None
        means, why = decide_means(live if is_there else None, wanted, engine)
        if not is_there:
            means, why, live = Means.NEW_AMPHORA, "There is none yet.", None
        elif _changes_sandbox(amphora, world, plan):
            means = worst([means, Means.NEW_INTERFACES])
        names = (f"generation {now.generation}", f"generation {then.generation}")
        verdict, reason = None, None
        try:
            verdict = await self._ask(then, amphora, wanted)
        except StateraError as error:
            reason = error.reason
        return AmphoraForecast(
            id=amphora.id,
            host=amphora.host,
            means=means,
            why=why,
            difference=render_difference(live, wanted, names=names),
            verdict=verdict,
            reason=reason,
        )

    async def _ask(self, then: Run, amphora: Amphora, wanted: Document | None) -> Verdict:
        if wanted is None:
            return Verdict(accepted=True)
        configuration = then.configure(wanted)
        return await self._compute.check_configuration(amphora.host, amphora.id, configuration)

    def _judge_all(self, now: Run, then: Run, engine: EngineCapabilities) -> tuple[ObjectChange, ...]:
        return tuple(self._judge(change, now, then, engine) for change in list_changes(now.tree, then.tree))

    def _judge(self, change: ObjectChange, now: Run, then: Run, engine: EngineCapabilities) -> ObjectChange:
        before, after = isolate_change(now.tree, then.tree, change)
        bundles = {**(now.bundles or {}), **(then.bundles or {})}
        documents = [self._observer.render_with(tree, "amphora", bundles, engine) for tree in (before, after)]
        means, why = decide_means(documents[0], documents[1], engine)
        return ObjectChange(
            kind=change.kind,
            id=change.id,
            name=change.name,
            action=change.action,
            attributes=change.attributes,
            means=means,
            why=why,
        )


def _changes_sandbox(amphora: Amphora, world: World, plan: Plan) -> bool:
    is_seen = isinstance(world.sightings.get(amphora.id), AmphoraObserved)
    return is_seen and any(isinstance(step, EnsureSandbox) and step.amphora_id == amphora.id for step in plan.steps)


def decide_means(live: Document | None, wanted: Document | None, engine: EngineCapabilities) -> tuple[Means, str]:
    """Return how an agent goes from one document to another, and why not by less."""
    if wanted is None:
        return (Means.NOTHING, "") if live is None else (Means.RELOAD, "No listener is enabled.")
    match decide_change(live, wanted, engine):
        case Unchanged():
            return Means.NOTHING, ""
        case RuntimeChange(commands=commands, doubt=doubt):
            return (Means.RUNTIME if commands else Means.NOTHING), doubt
        case Reload(why=why):
            return Means.RELOAD, why
