"""Every statement that runs for each edit, pass, heartbeat or list, or every few seconds, called as rooms call it."""

import datetime as dt
from collections.abc import Awaitable, Callable, Mapping

from bench.plans import Plan, explaining
from statera.base.reason import Reason
from statera.model.amphora import Amphora
from statera.model.drafts import Decide
from statera.model.enums import OperatingStatus
from statera.model.failover import Limits
from statera.model.heartbeat import ListenerObserved, ListenerState
from statera.model.listing import ListQuery, SortKey, TagFilter
from statera.model.observed import Silence
from statera.model.statistics import Counted
from statera.model.status import StatusChange
from statera.model.tree import Listener, LoadBalancer, Member, Pool, Tree
from statera.model.work import Event
from statera.store.amphorae import count_placed, list_voices, load_heartbeat_keys, save_amphora, touch_amphorae
from statera.store.census import take_census
from statera.store.chores import add_chores, claim_chore, list_known_ids
from statera.store.claims import claim_load_balancer, load_snapshot, mark_due, renew_claim, save_failure, save_settled
from statera.store.drains import add_drain, list_drains, list_stays
from statera.store.engine import Store
from statera.store.events import list_events, trim_events
from statera.store.failover import load_lookout, save_silences, trim_failovers
from statera.store.glances import list_glances
from statera.store.observations import list_certificate_ends, save_statuses
from statera.store.spares import list_spares
from statera.store.statistics import load_balancer_traffic, load_listener_traffic, save_counted
from statera.store.trees import TreeEditor, find_load_balancer_id, load_tree
from statera.store.views import list_views, load_view

WHOLE = frozenset(
    {"who should speak", "census", "ids that are known", "trimming of events", "trimming of silences", "silences",
     "amphorae of drained hosts", "all at a glance", "amphorae of hosts", "lookout"}
)  # fmt: skip
"""What is about all load balancers by its meaning; `docs/design/statements.md` says what bounds it."""
LIMITS = Limits(per_minute=10, fleet_percent=10)
PAGE = 100


async def explain_all(store: Store, tree: Tree, amphora: Amphora, rename: Decide) -> Mapping[str, list[Plan]]:
    """Run every hot statement about one load balancer of many; return the plans by what they are for.

    `tree` must be settled and have a listener, a pool and a member; `rename` any edit.
    """
    calls = _Calls(store, tree, amphora, rename)
    plans: dict[str, list[Plan]] = {}
    for name, call in calls.list_calls().items():
        with explaining(store) as plans[name]:
            await call()
    return plans


class _Calls:
    def __init__(self, store: Store, tree: Tree, amphora: Amphora, rename: Decide) -> None:
        self._store, self._tree, self._amphora, self._rename = store, tree, amphora, rename
        self._id = tree.load_balancer.id
        self._now = dt.datetime.now(dt.UTC)

    def list_calls(self) -> dict[str, Callable[[], Awaitable[object]]]:
        store, tree, amphora = self._store, self._tree, self._amphora
        project_id = tree.load_balancer.project_id
        first = ListQuery(project_id=project_id, limit=PAGE)
        by_name = ListQuery(project_id=project_id, limit=PAGE, sort=(SortKey("name"),))
        return {
            "edit": self._edit,
            "make due": lambda: mark_due(store, [self._id]),
            "ends of certificates": lambda: list_certificate_ends(store, [self._id]),
            "a pass that settles": self._settle,
            "a pass that fails": self._fail,
            "show a load balancer": lambda: load_view(store, LoadBalancer, self._id),
            "show a pool": lambda: load_view(store, Pool, tree.pools[0].id),
            "show a member": lambda: load_view(store, Member, tree.members[0].id),
            "status tree": lambda: load_tree(store, self._id),
            "owner of a member": lambda: find_load_balancer_id(store, Member, tree.members[0].id),
            "a project's list": lambda: list_views(store, LoadBalancer, first),
            "its list's next page": lambda: list_views(store, LoadBalancer, self._after(first)),
            "its list by name": lambda: list_views(store, LoadBalancer, by_name),
            "its list with a filter": lambda: list_views(
                store, LoadBalancer, ListQuery(project_id=project_id, limit=PAGE, filters={"vip_address": "10.0.0.5"})
            ),
            "its list with a tag": lambda: list_views(
                store,
                LoadBalancer,
                ListQuery(project_id=project_id, limit=PAGE, tags=(TagFilter("tags", ("prod",)),)),
            ),
            "everybody's list": lambda: list_views(store, LoadBalancer, ListQuery(limit=PAGE)),
            "everybody's listeners": lambda: list_views(store, Listener, ListQuery(limit=PAGE)),
            "members of a pool": lambda: list_views(store, Member, ListQuery(parent_id=tree.pools[0].id, limit=PAGE)),
            "everybody's amphorae": lambda: list_views(store, Amphora, ListQuery(limit=PAGE)),
            "amphorae of one": lambda: list_views(
                store, Amphora, ListQuery(limit=PAGE, filters={"load_balancer_id": self._id})
            ),
            "statistics of one": lambda: load_balancer_traffic(store, self._id),
            "statistics of a listener": lambda: load_listener_traffic(store, tree.listeners[0].id),
            "events of one": lambda: list_events(store, self._id),
            "keys of heartbeats": lambda: load_heartbeat_keys(store, [amphora.id]),
            "heartbeats: last heard": lambda: touch_amphorae(store, {amphora.id: self._now}),
            "heartbeats: counters": self._count,
            "heartbeats: statuses": self._tell,
            "spares": lambda: list_spares(store),
            "drains": lambda: list_drains(store),
            "chores": self._chore,
            "silences": lambda: save_silences(store, [self._silence()], [amphora.id]),
            "lookout": lambda: load_lookout(store, self._id, LIMITS),
            "amphorae of hosts": lambda: count_placed(store),
            "amphorae of drained hosts": self._drain,
            "who should speak": lambda: list_voices(store),
            "census": lambda: take_census(store, 30),
            "ids that are known": lambda: list_known_ids(store),
            "trimming of events": lambda: trim_events(store, 100),
            "trimming of silences": lambda: trim_failovers(store),
            "all at a glance": lambda: list_glances(store),
        }

    async def _edit(self) -> None:
        await TreeEditor(self._store).edit(self._id, self._rename, actor="bench", what="edited")

    async def _settle(self) -> None:
        claim = await claim_load_balancer(self._store, owner="bench", lease_s=60)
        assert claim is not None
        snapshot = await load_snapshot(self._store, claim)
        assert snapshot is not None
        await renew_claim(self._store, claim, lease_s=60)
        await save_amphora(self._store, claim, self._amphora)
        generation = snapshot.tree.load_balancer.generation
        history = [Event(load_balancer_id=self._id, generation=generation, what="settled", at=self._now, actor="bench")]
        await save_settled(self._store, claim, generation, recheck_s=60, history=history, tree=snapshot.tree, keep=5)

    async def _fail(self) -> None:
        await mark_due(self._store, [self._id])
        claim = await claim_load_balancer(self._store, owner="bench", lease_s=60)
        assert claim is not None
        reason = Reason(slug="host-full", sentence="No host has room.")
        await save_failure(self._store, claim, 1, reason=reason, retry_s=86_400, as_error=False)

    def _after(self, query: ListQuery) -> ListQuery:
        return ListQuery(project_id=query.project_id, limit=query.limit, marker=self._id)

    async def _count(self) -> None:
        listener = ListenerObserved(id=self._tree.listeners[0].id, status=ListenerState.OPEN, bytes_in=1)
        counted = Counted(amphora_id=self._amphora.id, process=1, told_at=self._now, listeners=(listener,))
        await save_counted(self._store, [counted])

    async def _tell(self) -> None:
        change = StatusChange(
            kind=Member, id=self._tree.members[0].id, operating_status=OperatingStatus.ERROR, reason=None
        )
        await save_statuses(self._store, [change])

    async def _chore(self) -> None:
        await add_chores(self._store, ["bench"])
        await claim_chore(self._store, ["bench"], owner="bench", lease_s=60)

    def _silence(self) -> Silence:
        return Silence(amphora_id=self._amphora.id, load_balancer_id=self._id, host=self._amphora.host, since=self._now)

    async def _drain(self) -> None:
        await add_drain(self._store, "host-7", "bench")
        await list_stays(self._store)
