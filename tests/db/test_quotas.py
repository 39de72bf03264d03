"""Quotas hold however many creates come at once, from one process or several (rules.md section 21)."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence

import pytest

from statera.base.errors import Refusal, Refused
from statera.base.ids import new_id
from statera.model.quota import Limits, count_growth, limit_name
from statera.model.tree import HealthMonitor, Listener, LoadBalancer, Member, Pool, Tree
from statera.store.engine import Store
from statera.store.quotas import load_quota, remove_quota, save_quota
from statera.store.tables import TABLE_OF
from statera.store.trees import TreeEditor, insert_tree, load_tree
from tests.db.trees import edit_add, edit_delete, make_load_balancer, make_member, make_pool, make_tree

NONE = Limits()


async def plant(store: Store, project_id: str, **values: object) -> Tree:
    tree = make_tree(0, project_id=project_id, **values)
    await insert_tree(store, tree, actor="me", what="created")
    return tree


async def gather(calls: Sequence[Awaitable[object]]) -> Counter[str]:
    """Run all at once; count the outcomes by the sentence of their refusal."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for one in outcomes:
        assert not isinstance(one, BaseException) or (isinstance(one, Refused) and one.kind is Refusal.OVER_QUOTA), one
    return Counter(one.sentence if isinstance(one, Refused) else "" for one in outcomes)


async def test_parallel_load_balancers(store: Store) -> None:
    project = new_id()
    await save_quota(store, project, {"loadbalancer": 7})
    trees = [make_tree(2, project_id=project) for _ in range(30)]
    calls = [insert_tree(store, tree, actor="me", what="created", limits=NONE) for tree in trees]
    assert await gather(calls) == {"": 7, "Quota has been met for resources: Load Balancer": 23}
    stored = [tree for tree in trees if await load_tree(store, tree.load_balancer.id)]
    assert len(stored) == 7


async def test_parallel_edits_of_several_load_balancers_by_several_processes(store: Store) -> None:
    project, limits = new_id(), Limits(member=25)
    editors = [TreeEditor(store, limits) for _ in range(3)]
    trees = [await plant(store, project) for _ in range(4)]
    calls = [
        editor.edit(tree.load_balancer.id, edit_add(make_member(tree.pools[0], number)), actor="me", what="added")
        for editor_number, editor in enumerate(editors)
        for tree in trees
        for number in range(editor_number * 5, editor_number * 5 + 5)
    ]
    assert await gather(calls) == {"": 25, "Quota has been met for resources: Member": 35}
    grown = [await load_tree(store, tree.load_balancer.id) for tree in trees]
    assert sum(len(tree.members) for tree in grown if tree) == 25


async def test_a_refused_edit_leaves_the_others_of_its_group(store: Store) -> None:
    project = new_id()
    tree = await plant(store, project)
    balancer, pool = tree.load_balancer, tree.pools[0]
    editor = TreeEditor(store, Limits(member=2, pool=2))
    added = [make_member(pool, number) for number in range(4)]
    edits = [edit_add(added[0]), edit_add(added[1]), edit_add(added[2]), edit_add(make_pool(balancer))]
    outcomes = await gather([editor.edit(balancer.id, edit, actor="me", what="added") for edit in edits])
    assert outcomes == {"": 3, "Quota has been met for resources: Member": 1}
    grown = await load_tree(store, balancer.id)
    assert grown is not None
    assert ([one.id for one in grown.members], len(grown.pools)) == ([one.id for one in added[:2]], 2)
    assert grown.load_balancer.generation == balancer.generation + 3


async def test_what_is_being_deleted_counts_until_it_is_gone(store: Store) -> None:
    project = new_id()
    tree = await plant(store, project)
    pool, editor = tree.pools[0], TreeEditor(store, Limits(member=1))
    member = make_member(pool)
    for edit in (edit_add(member), edit_delete(member)):
        await editor.edit(tree.load_balancer.id, edit, actor="me", what="edited")
    with pytest.raises(Refused, match="Quota has been met for resources: Member"):
        await editor.edit(tree.load_balancer.id, edit_add(make_member(pool, 2)), actor="me", what="added")


async def test_all_children_of_a_new_load_balancer_count(store: Store) -> None:
    bounds = {"listener": (0, "Listener"), "pool": (0, "Pool"), "member": (1, "Member")}
    for name, (most, word) in (bounds | {"healthmonitor": (0, "Health Monitor")}).items():
        tree = make_tree(2, project_id=new_id())
        with pytest.raises(Refused, match=f"Quota has been met for resources: {word}$") as told:
            await insert_tree(store, tree, actor="me", what="created", limits=Limits(**{name: most}))
        assert told.value.kind is Refusal.OVER_QUOTA
        assert await load_tree(store, tree.load_balancer.id) is None
        # What was counted for the refused one is not kept.
        await insert_tree(store, tree, actor="me", what="created", limits=Limits(**{name: most + 2}))


async def test_lowering_a_limit_waits_for_those_who_count(store: Store) -> None:
    """However the two interleave: who comes after the new limit keeps it."""
    project = new_id()
    trees = [make_tree(0, project_id=project) for _ in range(12)]
    limited = asyncio.Event()

    async def limit() -> None:
        await save_quota(store, project, {"loadbalancer": 1})
        limited.set()

    async def late(tree: Tree) -> None:
        await limited.wait()
        await insert_tree(store, tree, actor="me", what="created", limits=NONE)

    early = [insert_tree(store, tree, actor="me", what="created", limits=NONE) for tree in trees[:4]]
    outcomes = await asyncio.gather(*early, limit(), *map(late, trees[4:]), return_exceptions=True)
    before = sum(not isinstance(one, Exception) for one in outcomes[:4])
    after = sum(not isinstance(one, Exception) for one in outcomes[5:])
    assert after == (1 if before == 0 else 0)


async def test_records(store: Store) -> None:
    project = "p" * 32
    assert await load_quota(store, project) is None
    # The first check of a quota makes the record.
    await insert_tree(store, make_tree(project_id=project), actor="me", what="created", limits=NONE)
    found = await load_quota(store, project)
    assert found is not None
    assert found.effective(Limits(pool=3)) == Limits(pool=3)
    changed = await save_quota(store, project, {"pool": 0, "member": -1})
    assert changed == await load_quota(store, project)
    assert changed.effective(Limits(pool=3, member=4, listener=5)) == Limits(pool=0, member=-1, listener=5)
    assert (await save_quota(store, project, {"pool": None})).effective(Limits(pool=3)) == Limits(pool=3)
    assert await remove_quota(store, project)
    assert not await remove_quota(store, project)


async def test_other_projects_do_not_count(store: Store) -> None:
    limits = Limits(loadbalancer=1)
    for _ in range(2):
        await insert_tree(store, make_tree(project_id=new_id()), actor="me", what="created", limits=limits)


def test_every_kind_has_a_limit() -> None:
    assert {limit_name(kind) for kind in TABLE_OF} <= set(Limits.__struct_fields__)


def test_growth() -> None:
    tree = make_tree(3)
    everything = {LoadBalancer: 1, Listener: 1, Pool: 1, Member: 3, HealthMonitor: 1}
    assert count_growth(None, tree) == everything
    assert count_growth(tree, tree) == {}
    assert count_growth(None, Tree(load_balancer=make_load_balancer())) == {LoadBalancer: 1}
    pool = tree.pools[0]
    more = edit_add(make_member(pool, 7))(edit_add(make_member(pool, 6))(tree))
    assert count_growth(tree, more) == {Member: 2}
    replaced = edit_delete(tree.members[0])(more)
    assert count_growth(tree, replaced) == {Member: 1}
    assert count_growth(more, replaced) == {}
