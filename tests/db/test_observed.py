"""What is observed: amphora rows and keys, histories, operating statuses. Written beside edits, never instead."""

import asyncio
import datetime as dt

import msgspec
import sqlalchemy as sa

from statera.base.ids import new_id
from statera.base.reason import Reason
from statera.base.secret import Secret
from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus, OperatingStatus, ProvisioningStatus
from statera.model.status import StatusChange
from statera.model.tree import Listener, LoadBalancer, Member, Tree
from statera.model.vrrp import PRIORITIES
from statera.model.work import Claim, Event
from statera.store.amphorae import (
    KEY_BYTES,
    count_placed,
    list_amphorae,
    list_huddled,
    list_voices,
    load_heartbeat_key,
    load_heartbeat_keys,
    remove_amphora,
    save_amphora,
    save_holders,
    touch_amphorae,
)
from statera.store.claims import claim_load_balancer, mark_due, save_failure, save_settled
from statera.store.engine import Store
from statera.store.events import add_event, list_events, trim_events
from statera.store.glances import list_glances
from statera.store.observations import MOST_TOLD, save_statuses
from statera.store.trees import TreeEditor, insert_tree, load_tree
from tests.db.trees import NOW, edit_rename, make_amphora, make_load_balancer, make_member, make_pool, make_tree

QUIET = Reason(slug="member-down", sentence="It answers 503.", since=NOW)


async def plant(store: Store) -> tuple[Tree, Claim]:
    tree = make_tree()
    await insert_tree(store, tree, actor="me", what="created")
    claim = await claim_load_balancer(store, owner="one", lease_s=60)
    assert claim is not None
    return tree, claim


async def show(store: Store, tree: Tree) -> Tree:
    found = await load_tree(store, tree.load_balancer.id)
    assert found is not None
    return found


async def test_an_amphora_comes_back_as_it_was_saved(store: Store) -> None:
    tree, claim = await plant(store)
    amphora = make_amphora(tree.load_balancer.id, reason=QUIET)
    await save_amphora(store, claim, amphora)
    assert await list_amphorae(store) == (amphora,)
    changes = {"status": AmphoraStatus.ALLOCATED, "ports": (), "reason": None, "updated_at": NOW}
    changed = msgspec.structs.replace(amphora, **changes)
    await save_amphora(store, claim, changed)
    assert await list_amphorae(store) == (changed,)
    await remove_amphora(store, claim, amphora.id)
    await remove_amphora(store, claim, amphora.id)
    assert await list_amphorae(store) == ()


async def test_a_heartbeat_key_stays_unless_another_is_given(store: Store) -> None:
    tree, claim = await plant(store)
    amphora = make_amphora(tree.load_balancer.id)
    await save_amphora(store, claim, amphora)
    key = await load_heartbeat_key(store, amphora.id)
    assert key is not None
    assert len(key.reveal()) == KEY_BYTES
    await save_amphora(store, claim, amphora)
    assert await load_heartbeat_key(store, amphora.id) == key
    await save_amphora(store, claim, amphora, heartbeat_key=Secret(b"given"))
    assert await load_heartbeat_key(store, amphora.id) == Secret(b"given")
    assert await load_heartbeat_key(store, new_id()) is None
    assert await load_heartbeat_key(store, "no id") is None
    told = await load_heartbeat_keys(store, ["no id", amphora.id, new_id()])
    assert told == {amphora.id: Secret(b"given")}


async def test_rows_count_per_host(store: Store) -> None:
    for hosts in (["one", "two"], ["one"]):
        tree, claim = await plant(store)
        for host in hosts:
            await save_amphora(store, claim, make_amphora(tree.load_balancer.id, host=host))
    assert await count_placed(store) == {"one": 2, "two": 1}


async def test_voices_say_who_they_are_and_when_they_were_heard(store: Store) -> None:
    assert await list_voices(store) == ()
    tree, claim = await plant(store)
    saved = [make_amphora(tree.load_balancer.id, host=host) for host in ("one", "two")]
    for amphora in saved:
        await save_amphora(store, claim, amphora)
    await touch_amphorae(store, {saved[1].id: NOW})
    saved[1] = msgspec.structs.replace(saved[1], last_heartbeat_at=NOW)
    brief = {msgspec.structs.replace(one, ports=(), reason=None, updated_at=None) for one in saved}
    assert set(await list_voices(store)) == brief


async def test_when_it_was_heard_only_goes_forward_and_survives_a_save(store: Store) -> None:
    tree, claim = await plant(store)
    amphora = make_amphora(tree.load_balancer.id)
    await save_amphora(store, claim, amphora)
    later = NOW + dt.timedelta(seconds=3)
    for seen in (NOW, later, NOW):
        await touch_amphorae(store, {amphora.id: seen, new_id(): seen})
    await touch_amphorae(store, {})
    await save_amphora(store, claim, amphora)
    [found] = await list_amphorae(store)
    assert found.last_heartbeat_at == later


async def test_who_has_the_vips_is_told_by_heartbeats_only_and_survives_a_save(store: Store) -> None:
    tree, claim = await plant(store)
    pair = [make_amphora(tree.load_balancer.id) for _ in range(2)]
    for one in pair:
        await save_amphora(store, claim, one)

    async def look() -> list[bool | None]:
        found = {one.id: one.has_vips for one in await list_amphorae(store)}
        return [found[one.id] for one in pair]

    told: tuple[tuple[bool | None, bool | None], ...] = ((True, False), (False, True), (None, True))
    for held in told:
        await save_holders(store, {**dict(zip((one.id for one in pair), held, strict=True)), new_id(): True})
        await save_amphora(store, claim, msgspec.structs.replace(pair[0], has_vips=True))
        assert await look() == list(held)
    await save_holders(store, {})
    [glance] = await list_glances(store)
    assert glance.vip_on == (pair[1].host,)
    assert await list_huddled(store) == {}
    for amphora, role in zip(pair, PRIORITIES, strict=True):
        there = msgspec.structs.replace(amphora, host="one", role=role, status=AmphoraStatus.ALLOCATED)
        await save_amphora(store, claim, there)
    assert await list_huddled(store) == {"one": 1}


async def test_an_event_keeps_words_that_cannot_be_stored(store: Store) -> None:
    reason = Reason(slug="x", sentence="before\x00after")
    event = Event(load_balancer_id=new_id(), generation=3, what="a 'quoted' {word} \\u0000", at=NOW, reason=reason)
    await add_event(store, event)
    [found] = await list_events(store, event.load_balancer_id)
    assert found.reason is not None
    assert found.reason.sentence == "before?after"
    assert (found.generation, found.at, found.actor) == (3, NOW, "")
    assert await list_events(store, "no id") == ()


async def test_histories_are_trimmed_each_and_those_of_the_gone_forgotten(store: Store) -> None:
    tree, _claim = await plant(store)
    gone, lately = new_id(), new_id()
    now = dt.datetime.now(dt.UTC)
    for number in range(8):
        for one, at in ((tree.load_balancer.id, NOW), (gone, NOW), (lately, now)):
            await add_event(store, Event(load_balancer_id=one, generation=1, what=str(number), at=at))
    assert await trim_events(store, 5) == 4 + 8 + 3
    assert [event.what for event in await list_events(store, tree.load_balancer.id)] == ["7", "6", "5", "4", "3"]
    assert await list_events(store, gone) == ()
    assert len(await list_events(store, lately)) == 5
    assert await trim_events(store, 5) == 0


async def test_a_status_is_written_with_its_reason_and_an_event(store: Store) -> None:
    tree, claim = await plant(store)
    await save_settled(store, claim, 1, recheck_s=60)
    member = tree.members[0]
    down = StatusChange(kind=Member, id=member.id, operating_status=OperatingStatus.ERROR, reason=QUIET)
    for _ in range(2):
        await save_statuses(store, [down, msgspec.structs.replace(down, id=new_id())])
    shown = await show(store, tree)
    assert (shown.members[0].operating_status, shown.members[0].reason) == (OperatingStatus.ERROR, QUIET)
    assert shown.members[0].provisioning_status == ProvisioningStatus.ACTIVE
    assert shown.load_balancer.generation == tree.load_balancer.generation, "an observation is no edit"
    [event, *_] = await list_events(store, tree.load_balancer.id)
    assert event.what == f"Member {member.id} is ERROR, was OFFLINE"
    assert event.reason == QUIET
    assert len([e for e in await list_events(store, tree.load_balancer.id) if member.id in e.what]) == 1
    up = StatusChange(kind=Member, id=member.id, operating_status=OperatingStatus.ONLINE, reason=None)
    await save_statuses(store, [up])
    assert (await show(store, tree)).members[0].reason is None
    await save_statuses(store, [])


async def test_many_at_once_leave_room_in_the_history(store: Store) -> None:
    balancer = make_load_balancer()
    pool = make_pool(balancer)
    members = tuple(make_member(pool, number) for number in range(MOST_TOLD + 5))
    await insert_tree(store, Tree(load_balancer=balancer, pools=(pool,), members=members), actor="me", what="created")
    for status in (OperatingStatus.ERROR, OperatingStatus.ONLINE):
        changes = [StatusChange(kind=Member, id=one.id, operating_status=status, reason=None) for one in members]
        await save_statuses(store, changes)
    events = [event.what for event in await list_events(store, balancer.id)]
    assert len(events) == 1 + 2 * (MOST_TOLD + 1)
    assert sum("is ONLINE, was ERROR" in event for event in events) == MOST_TOLD
    assert events.count("5 more of kind Member changed at the same time") == 2
    shown = await load_tree(store, balancer.id)
    assert shown is not None
    assert {member.operating_status for member in shown.members} == {OperatingStatus.ONLINE}


async def test_why_a_change_waits_is_shown_before_why_traffic_fares_badly(store: Store) -> None:
    tree, claim = await plant(store)
    seen = [
        StatusChange(kind=LoadBalancer, id=tree.load_balancer.id, operating_status=OperatingStatus.ERROR, reason=QUIET),
        StatusChange(kind=Listener, id=tree.listeners[0].id, operating_status=OperatingStatus.ERROR, reason=QUIET),
    ]
    await save_statuses(store, seen)
    waits = Reason(slug="host-full", sentence="No room.")
    await save_failure(store, claim, 1, reason=waits, retry_s=60, as_error=False)
    shown = await show(store, tree)
    for row in (shown.load_balancer, shown.listeners[0]):
        assert row.reason is not None
        assert row.reason.slug == "host-full"
    await mark_due(store, [tree.load_balancer.id])
    again = await claim_load_balancer(store, owner="one", lease_s=60)
    assert again is not None
    await save_settled(store, again, 1, recheck_s=60)
    shown = await show(store, tree)
    assert shown.load_balancer.reason == shown.listeners[0].reason == QUIET
    # An edit writes whole rows, but not this reason.
    await TreeEditor(store).edit(tree.load_balancer.id, edit_rename("new"), actor="me", what="renamed")
    fine = [
        StatusChange(kind=LoadBalancer, id=tree.load_balancer.id, operating_status=OperatingStatus.ONLINE, reason=None)
    ]
    await save_statuses(store, fine)
    assert (await show(store, tree)).load_balancer.reason is None


async def test_observations_edits_and_passes_at_once_do_not_deadlock(store: Store) -> None:
    planted = [await plant(store) for _ in range(4)]
    amphorae: list[Amphora] = []
    for tree, claim in planted:
        amphorae.append(make_amphora(tree.load_balancer.id))
        await save_amphora(store, claim, amphorae[-1])
    editor = TreeEditor(store)

    async def observe(number: int) -> None:
        status = OperatingStatus.ONLINE if number % 2 else OperatingStatus.ERROR
        rows = [row for tree, _ in planted for row in (*tree.members, *tree.listeners, tree.load_balancer)]
        if number % 3:
            rows.reverse()
        await save_statuses(
            store, [StatusChange(kind=type(row), id=row.id, operating_status=status, reason=None) for row in rows]
        )
        await touch_amphorae(store, {one.id: NOW for one in (amphorae if number % 2 else amphorae[::-1])})

    async def change(number: int) -> None:
        tree, claim = planted[number % 4]
        await editor.edit(tree.load_balancer.id, edit_rename(str(number)), actor="me", what="renamed")
        await save_amphora(store, claim, amphorae[number % 4])
        await mark_due(store, [tree.load_balancer.id for tree, _ in planted])

    await asyncio.gather(*[observe(n) for n in range(20)], *[change(n) for n in range(20)])
    rows = await store.execute(sa.text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))
    assert rows[0][0] == 0
