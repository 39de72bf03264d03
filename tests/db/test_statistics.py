"""Traffic totals: told twice, by processes that start from zero, by amphorae that go."""

import asyncio
import datetime as dt
from typing import Any

from statera.base.ids import new_id
from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus
from statera.model.heartbeat import ListenerObserved, ListenerState
from statera.model.statistics import AmphoraTraffic, Counted, Traffic
from statera.model.tree import Tree
from statera.model.work import Claim
from statera.store.amphorae import remove_amphora, save_amphora
from statera.store.claims import claim_load_balancer, save_settled
from statera.store.engine import Store
from statera.store.statistics import (
    MOST_AT_ONCE,
    list_amphora_traffic,
    load_balancer_traffic,
    load_listener_traffic,
    save_counted,
)
from statera.store.trees import TreeEditor, insert_tree
from tests.db.trees import NOW, edit_add, edit_delete, make_amphora, make_listener, make_tree


async def plant(store: Store) -> tuple[Tree, Claim, Amphora]:
    tree = make_tree()
    await insert_tree(store, tree, actor="me", what="created")
    claim = await claim_load_balancer(store, owner="one", lease_s=60)
    assert claim is not None
    return tree, claim, await add_amphora(store, tree, claim)


async def add_amphora(store: Store, tree: Tree, claim: Claim) -> Amphora:
    amphora = make_amphora(tree.load_balancer.id, status=AmphoraStatus.ALLOCATED)
    await save_amphora(store, claim, amphora)
    return amphora


def tell(amphora: Amphora, listener_id: str, at_s: float, number: int, *, process: int = 1, active: int = 0) -> Counted:
    """Return counters that all follow from one number."""
    counters = (active, number, number * 10, number * 100, number // 2)
    listener = ListenerObserved(listener_id, ListenerState.OPEN, *counters)
    at = NOW + dt.timedelta(seconds=at_s)
    return Counted(amphora_id=amphora.id, process=process, told_at=at, listeners=(listener,))


def totals(number: int, **more: Any) -> Traffic:
    counters = {"total_connections": number, "bytes_in": number * 10, "bytes_out": number * 100}
    return Traffic(**counters, request_errors=number // 2, **more)


async def test_counters_told_again_or_late_raise_nothing(store: Store) -> None:
    tree, _, amphora = await plant(store)
    listener_id = tree.listeners[0].id
    assert await load_listener_traffic(store, listener_id) == Traffic()
    for at_s, number in ((1, 10), (1, 10), (2, 30), (1, 10), (2, 30)):
        await save_counted(store, [tell(amphora, listener_id, at_s, number, active=3)])
    assert await load_listener_traffic(store, listener_id) == totals(30, active_connections=3)
    assert await load_balancer_traffic(store, tree.load_balancer.id) == totals(30, active_connections=3)


async def test_a_process_that_starts_from_zero_goes_on_where_the_last_one_ended(store: Store) -> None:
    tree, _, amphora = await plant(store)
    listener_id = tree.listeners[0].id
    # The last word of the old process and the first of the new one come together.
    told = [
        tell(amphora, listener_id, 3, 4, process=2),
        tell(amphora, listener_id, 2, 20, process=1),
        tell(amphora, listener_id, 1, 10, process=1),
    ]
    await save_counted(store, told)
    await save_counted(store, [tell(amphora, listener_id, 4, 40, process=2)])
    assert await load_listener_traffic(store, listener_id) == totals(60)


async def test_two_health_processes_that_hear_the_same_count_it_once(store: Store) -> None:
    tree, _, amphora = await plant(store)
    listener_id = tree.listeners[0].id
    told = [tell(amphora, listener_id, turn, turn * 2) for turn in range(1, 11)]
    await asyncio.gather(*[save_counted(store, [one]) for one in (*told, *told)])
    assert await load_listener_traffic(store, listener_id) == totals(20)


async def test_totals_outlive_amphorae_and_only_living_ones_have_connections(store: Store) -> None:
    tree, claim, first = await plant(store)
    listener_id = tree.listeners[0].id
    second = await add_amphora(store, tree, claim)
    for number, amphora in enumerate((first, second), 1):
        await save_counted(store, [tell(amphora, listener_id, 1, number * 10, active=number)])
    assert await load_listener_traffic(store, listener_id) == totals(30, active_connections=3)
    [shown] = await list_amphora_traffic(store, second.id)
    assert isinstance(shown, AmphoraTraffic)
    assert (shown.id, shown.listener_id, shown.loadbalancer_id) == (second.id, listener_id, tree.load_balancer.id)
    assert (shown.active_connections, shown.bytes_in) == (2, 200)
    for amphora in (first, second, second):
        await remove_amphora(store, claim, amphora.id)
        await save_counted(store, [tell(amphora, listener_id, 9, 500)])
    assert await load_listener_traffic(store, listener_id) == totals(30)
    assert await list_amphora_traffic(store, second.id) == ()


async def test_foreign_and_unknown_listeners_count_nothing_and_deleted_ones_go(store: Store) -> None:
    tree, claim, amphora = await plant(store)
    other, _, _ = await plant(store)
    for listener_id in (other.listeners[0].id, new_id(), "x" * 36):
        await save_counted(store, [tell(amphora, listener_id, 1, 10)])
    assert await load_balancer_traffic(store, other.load_balancer.id) == Traffic()
    more = make_listener(tree.load_balancer, protocol_port=81)
    await TreeEditor(store).edit(tree.load_balancer.id, edit_add(more), actor="me", what="added")
    await save_counted(store, [tell(amphora, tree.listeners[0].id, 1, 10), tell(amphora, more.id, 2, 2)])
    assert await load_balancer_traffic(store, tree.load_balancer.id) == totals(12)
    await TreeEditor(store).edit(tree.load_balancer.id, edit_delete(more), actor="me", what="deleted")
    await save_settled(store, claim, 3, recheck_s=60)
    assert await load_balancer_traffic(store, tree.load_balancer.id) == totals(10)


async def test_many_are_written_in_few_transactions_and_too_large_numbers_are_cut(store: Store) -> None:
    tree, _, amphora = await plant(store)
    listener_id = tree.listeners[0].id
    strangers = [tell(make_amphora(tree.load_balancer.id), listener_id, 1, 1) for _ in range(MOST_AT_ONCE)]
    await save_counted(store, [*strangers, tell(amphora, listener_id, 2, 2**70)])
    found = await load_listener_traffic(store, listener_id)
    assert found.total_connections == 2**62


async def test_whoever_lies_of_his_counters_does_not_stop_those_of_others(store: Store) -> None:
    tree, claim, liar = await plant(store)
    honest_tree, _, honest = await plant(store)
    listener_id, honest_id = tree.listeners[0].id, honest_tree.listeners[0].id
    for turn in range(1, 5):
        lie = tell(liar, listener_id, turn, 2**63, process=2**64 - 1 - turn % 2, active=2**64)
        await save_counted(store, [lie, tell(honest, honest_id, turn, turn)])
    second = await add_amphora(store, tree, claim)
    await save_counted(store, [tell(second, listener_id, 5, 2**63, active=2**63)])
    for amphora in (liar, second):
        found = await load_listener_traffic(store, listener_id)
        assert 2**62 <= found.total_connections < 2**63
        await remove_amphora(store, claim, amphora.id)
    assert (await load_listener_traffic(store, listener_id)).total_connections >= 2**62
    assert await load_listener_traffic(store, honest_id) == totals(4)
