"""The database in memory, on which the simulation runs, gives the answers of PostgreSQL: the same statements on both.

Times are either past or far in the future, so that no answer depends on how fast this runs.
"""

import datetime as dt
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from statera.base.errors import LostClaim, Refused, Transient
from statera.base.ids import new_id
from statera.base.reason import Reason
from statera.base.secret import Secret
from statera.model.amphora import Amphora
from statera.model.drafts import ROWS_OF, Terms
from statera.model.edits import fail_over_load_balancer
from statera.model.enums import AmphoraStatus, OperatingStatus
from statera.model.failover import Limits
from statera.model.observed import Silence
from statera.model.status import StatusChange
from statera.model.tree import Member, Tree
from statera.model.work import ChoreClaim, Claim, Snapshot
from statera.store import (
    amphorae,
    chores,
    claims,
    deployment,
    drains,
    failover,
    generations,
    observations,
    spares,
    trees,
)
from statera.store.engine import Store
from statera.store.tables import load_balancers
from statera.store.trees import TreeEditor, insert_tree
from tests.db.trees import edit_add, edit_delete, edit_rename, make_amphora, make_member, make_tree
from tests.simulation.database import Database, list_rows

STEPS = 100
MOST_STEPS = 3_000
"""Within which chance has asked for everything: it needs some hundred."""
PAST_S, FUTURE_S = -1.0, 10_000.0
DATES = ("since", "created_at", "updated_at", "held_since")
NAMES = ("sweep", "trim")
HOSTS = ("one", "two")
ROOMS = (claims, failover, amphorae, chores, spares, drains, deployment, generations, observations, trees)
OWN = {"after", "check_claim", "come_back", "leave", "list_balancers", "ring_bell", "wake"}
"""What the database in memory is not asked by a process."""
UNORDERED = ("list_voices",)
LIMITS = Limits(per_minute=3, fleet_percent=50.0)


class Both:
    """Asks the two of them everything, and compares."""

    def __init__(self, store: Store, rng: random.Random) -> None:
        self.rng = rng
        self.store = store
        self.editor = TreeEditor(store)
        self.twin = Database(lambda: dt.datetime.now(dt.UTC))
        self.held: list[tuple[Claim, Claim]] = []
        self.chores: list[tuple[ChoreClaim, ChoreClaim]] = []
        self.asked: set[str] = set()

    async def ask(self, name: str, *args: Any, real: Claim | ChoreClaim | None = None, **values: Any) -> Any:
        """Run one statement on both; return both answers when they agree."""
        room = next(room for room in ROOMS if hasattr(room, name))
        first = (real, *args[1:]) if real is not None else args
        return await self._compare(
            name, lambda: getattr(room, name)(self.store, *first, **values), getattr(self.twin, name), *args, **values
        )

    async def _compare(
        self, name: str, ask_real: Callable[[], Any], ask_twin: Callable[..., Any], *args: Any, **values: Any
    ) -> Any:
        self.asked.add(name)
        answers = []
        for asked in (ask_real, lambda: ask_twin(*args, **values)):
            try:
                answer = asked()
                answers.append(await answer if hasattr(answer, "__await__") else answer)
                if name in UNORDERED:
                    answers[-1] = sorted(answers[-1], key=lambda row: row.id)
            except (LostClaim, Refused, Transient) as error:
                answers.append(error.reason.slug)
        assert _undated(answers[0]) == _undated(answers[1]), name
        return answers

    async def compare_states(self) -> None:
        rows = await self.store.execute(
            sa.select(
                load_balancers.c.id,
                load_balancers.c.epoch,
                load_balancers.c.failures,
                load_balancers.c.failing_since.is_not(None).label("failing"),
                load_balancers.c.lease_owner,
                load_balancers.c.lease_until.is_not(None).label("leased"),
                (load_balancers.c.lease_until > sa.func.now()).label("held"),
                (load_balancers.c.due_at <= sa.func.now()).label("due"),
            )
        )
        now = dt.datetime.now(dt.UTC)
        real = {row.id: (*row[1:4], row.lease_owner, row.leased, row.held, row.due) for row in rows}
        twin = {
            one: (
                row.epoch,
                row.failures,
                row.failing_since is not None,
                row.lease_owner,
                row.lease_until is not None,
                None if row.lease_until is None else row.lease_until > now,
                row.due_at <= now,
            )
            for one, row in self.twin.balancers.items()
        }
        assert real == twin
        await self.ask("load_trees", list(self.twin.balancers))
        await self.ask("list_amphorae")
        await self.ask("list_spares")

    # Steps

    async def step(self) -> None:
        kind = self.rng.choice(
            (
                *("insert", "edit", "edit", "claim", "claim", "pass", "pass", "pass", "pass", "amphora", "amphora"),
                *("silence", "status", "status", "chore", "spare", "spare", "drain", "deployment", "look"),
            )
        )
        await getattr(self, f"_{kind}")()

    async def _insert(self) -> None:
        if len(self.twin.balancers) >= 3:
            return
        tree = make_tree()
        await self._compare(
            "insert_tree",
            lambda: insert_tree(self.store, tree, actor="me", what="created"),
            self.twin.insert_tree,
            tree,
        )

    async def _edit(self) -> None:
        tree = self._any_tree()
        if tree is None:
            return
        drop = [edit_delete(one) for one in tree.members]
        load_balancer_id = tree.load_balancer.id
        mine = [row.id for row in self.twin.list_amphorae(load_balancer_id)]
        choices = [
            edit_rename("new"),
            edit_add(make_member(tree.pools[0], self.rng.randint(1, 60_000))),
            fail_over_load_balancer(mine[:1], Terms(now=dt.datetime.now(dt.UTC))),
        ]
        decide = self.rng.choice([*choices, *drop[:1]])
        await self._compare(
            "edit",
            lambda: self.editor.edit(load_balancer_id, decide, actor="me", what="edited"),
            lambda: self.twin.edit(load_balancer_id, decide),
        )

    def _any_tree(self) -> Tree | None:
        rows = list(self.twin.balancers.values())
        return self.rng.choice(rows).tree if rows else None

    async def _claim(self) -> None:
        lease_s = self.rng.choice((PAST_S, FUTURE_S, FUTURE_S))
        due = [row.due_at for row in self.twin.balancers.values()]
        if len(due) != len(set(due)):
            return
        real, twin = await self.ask("claim_load_balancer", owner="worker", lease_s=lease_s)
        if twin is not None:
            self.held.append((real, twin))

    async def _pass(self) -> None:
        if not self.held:
            return
        real, twin = self.rng.choice(self.held)
        tree = self.twin.load_trees([twin.load_balancer_id]).get(twin.load_balancer_id)
        generation = tree.load_balancer.generation - self.rng.choice((0, 0, 1)) if tree is not None else 1
        retry_s = self.rng.choice((PAST_S, FUTURE_S))
        steps = ("settle", "settle", "settle", "fail", "renew", "release", "lift", "mark", "snapshot", "ends", "remove")
        match self.rng.choice(steps):
            case "settle":
                kept = {"tree": self.rng.choice((None, tree, tree)), "keep": self.rng.randint(1, 3)}
                await self.ask("save_settled", twin, generation, real=real, recheck_s=retry_s, **kept)
                await self.ask("load_newest_generation", twin.load_balancer_id)
            case "fail":
                reason = Reason(slug=self.rng.choice(("one", "two")), sentence="It does not answer.")
                as_error = self.rng.random() < 0.5
                await self.ask(
                    "save_failure", twin, generation, real=real, reason=reason, retry_s=retry_s, as_error=as_error
                )
            case "renew":
                await self.ask("renew_claim", twin, real=real, lease_s=FUTURE_S)
            case "release":
                await self.ask("release_claim", twin, real=real)
            case "lift":
                await self.ask("lift_epoch", twin, self.rng.randint(1, 9) + twin.epoch, real=real)
            case "mark":
                await self.ask("mark_due", [twin.load_balancer_id])
            case "snapshot":
                await self.ask("load_snapshot", twin, real=real)
            case "ends":
                ends = {"a certificate": dt.datetime(2027, 1, self.rng.randint(1, 28), tzinfo=dt.UTC)}
                await self.ask("save_certificate_ends", twin, ends, real=real)
            case _:
                if not self.twin.list_amphorae(twin.load_balancer_id):
                    await self.ask("remove_load_balancer", twin, real=real)

    async def _amphora(self) -> None:
        if not self.held:
            return
        real, twin = self.rng.choice(self.held)
        mine = self.twin.list_amphorae(twin.load_balancer_id)
        row: Amphora = self.rng.choice(mine) if mine else make_amphora(twin.load_balancer_id)
        match self.rng.choice(("save", "save", "touch", "remove")):
            case "save":
                status = self.rng.choice((AmphoraStatus.ALLOCATED, AmphoraStatus.PENDING_CREATE))
                wanted = msgspec.structs.replace(row, status=status, host=self.rng.choice(HOSTS))
                await self.ask("save_amphora", twin, wanted, real=real)
            case "touch":
                at = dt.datetime(2026, 1, self.rng.randint(1, 28), tzinfo=dt.UTC)
                await self.ask("touch_amphorae", {row.id: at})
            case _:
                await self.ask("remove_amphora", twin, row.id, real=real)
        await self.ask("count_placed")
        await self.ask("list_known_ids")

    async def _silence(self) -> None:
        if not self.held:
            return
        real, twin = self.rng.choice(self.held)
        rows = self.twin.list_amphorae()
        some = [row for row in rows if self.rng.random() < 0.6]
        since = dt.datetime(2026, 1, self.rng.randint(1, 28), tzinfo=dt.UTC)
        told = [
            Silence(amphora_id=row.id, load_balancer_id=row.load_balancer_id, host=row.host, since=since)
            for row in some
        ]
        await self.ask("save_silences", told, [row.id for row in rows if row not in some][:1])
        mine = self.twin.list_amphorae(twin.load_balancer_id)
        if mine:
            dead = msgspec.structs.replace(mine[0], status=AmphoraStatus.ERROR)
            await self.ask("save_given_up", twin, dead, LIMITS, real=real)
        await self.ask("load_lookout", twin.load_balancer_id, LIMITS)
        held = {row.id: self.rng.choice((None, False, True)) for row in rows}
        await self.ask("save_holders", {**held, new_id(): True})

    async def _status(self) -> None:
        tree = self._any_tree()
        if tree is None:
            return
        # A reason of the kind that the row has for its edits is not taken over.
        reasons = (None, Reason(slug="one", sentence="Seen."), Reason(slug="admin-down", sentence="Off."))
        changes = [
            StatusChange(
                kind=type(row),
                id=row.id,
                operating_status=self.rng.choice(tuple(OperatingStatus)),
                reason=self.rng.choice(reasons),
            )
            for row in (tree.load_balancer, *list_rows(tree))
            if self.rng.random() < 0.5
        ]
        gone = StatusChange(kind=Member, id=new_id(), operating_status=OperatingStatus.ERROR, reason=None)
        await self.ask("save_statuses", [*changes, gone])
        await self.ask("list_certificate_ends", [tree.load_balancer.id, new_id()])

    async def _chore(self) -> None:
        await self.ask("add_chores", [self.rng.choice(NAMES)])
        if self.rng.random() < 0.6:
            lease_s = self.rng.choice((PAST_S, FUTURE_S))
            real, twin = await self.ask("claim_chore", list(NAMES), owner=self.rng.choice("ab"), lease_s=lease_s)
            self.chores += [(real, twin)] if twin is not None else []
        elif self.chores:
            real, twin = self.rng.choice(self.chores)
            memory = {"known": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}
            next_s = self.rng.choice((PAST_S, FUTURE_S))
            await self.ask("renew_chore", twin, real=real, lease_s=FUTURE_S)
            await self.ask("save_chore", twin, real=real, next_s=next_s, memory=memory)

    async def _spare(self) -> None:
        # One of a load balancer, too: it is nobody's to take.
        some = self.rng.choice(sorted(self.twin.amphorae) or [new_id()])
        match self.rng.choice(("add", "add", "key", "confirm", "confirm", "condemn", "drop", "take", "take")):
            case "add":
                await self.ask("add_spare", new_id(), self.rng.choice(HOSTS))
            case "key":
                await self.ask("load_spare_key", some)
            case "confirm":
                await self.ask("confirm_spare", some)
            case "condemn":
                await self.ask("condemn_spare", some)
            case "drop":
                await self.ask("drop_spare", some)
            case _:
                if self.held:
                    real, twin = self.rng.choice(self.held)
                    wanted = make_amphora(twin.load_balancer_id, id=some, host=self.rng.choice(HOSTS))
                    await self.ask("take_spare", twin, wanted, real=real)

    async def _drain(self) -> None:
        host = self.rng.choice(HOSTS)
        match self.rng.choice(("add", "add", "forget", "explain", "remove")):
            case "add":
                await self.ask("add_drain", host, self.rng.choice("ab"))
            case "forget":
                await self.ask("forget_host", host, self.rng.choice("ab"))
            case "explain":
                told = Reason(slug="host-full", sentence="No room.")
                await self.ask("explain_drains", self.rng.choice(({host: told}, {})))
            case _:
                await self.ask("remove_drain", host)
        await self.ask("list_drains")
        await self.ask("list_stays")
        await self.ask("is_host_gone", host)

    async def _deployment(self) -> None:
        match self.rng.choice(("advance", "hold", "hold", "release")):
            case "advance":
                await self.ask("advance_mark")
            case "hold":
                await self.ask("hold_collection", self.twin.deployment.mark + self.rng.randint(-1, 2))
            case _:
                await self.ask("release_collection")
        await self.ask("load_deployment")

    async def _look(self) -> None:
        some = self.rng.choice(sorted(self.twin.amphorae) or [new_id()])
        await self.ask("load_heartbeat_key", some)
        await self.ask("load_heartbeat_keys", [some, *sorted(self.twin.amphorae)[:2], new_id()])
        await self.ask("list_voices")
        for one in (*self.twin.balancers, new_id()):
            await self.ask("list_amphora_ids", one)
            await self.ask("load_newest_generation", one)


def _undated(answer: Any) -> Any:
    """Return an answer without the times that the two read off their own clocks, and children in one order."""
    if isinstance(answer, Tree):
        lists = {name: tuple(sorted(getattr(answer, name), key=lambda row: row.id)) for name in ROWS_OF.values()}
        return _undated(msgspec.to_builtins(msgspec.structs.replace(answer, **lists)))
    if isinstance(answer, Secret):
        return "a key of its own"
    if isinstance(answer, Snapshot):
        return _undated(answer.tree), _undated(answer.amphorae)
    if isinstance(answer, msgspec.Struct):
        return _undated(msgspec.to_builtins(answer))
    if isinstance(answer, dict):
        dated = {"lease_until", "failing_since", *DATES}
        return {key: value is not None if key in dated else _undated(value) for key, value in answer.items()}
    return [_undated(one) for one in answer] if isinstance(answer, list | tuple) else answer


async def make_both(store: Store, seed: int) -> Both:
    both = Both(store, random.Random(seed))
    both.twin.deployment = await deployment.load_deployment(store)
    return both


@pytest.mark.parametrize("seed", range(8))
async def test_the_simulation_s_database_answers_as_postgresql_does(store: Store, seed: int):
    both = await make_both(store, seed)
    for _ in range(STEPS):
        await both.step()
        await both.compare_states()


async def test_every_statement_of_the_simulation_s_database_is_compared(store: Store):
    both = await make_both(store, 0)
    public = {name for name in dir(Database) if not name.startswith("_") and callable(getattr(Database, name))}
    assert [name for name in OWN for room in ROOMS if hasattr(room, name)] == []
    await both.compare_states()
    for _ in range(MOST_STEPS):
        if both.asked >= public - OWN:
            break
        await both.step()
        await both.ask("load_trees", [new_id()])
    assert sorted(public - OWN - both.asked) == []
