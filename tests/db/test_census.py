"""What operators' gauges and `statera top` ask the database."""

import datetime as dt

import sqlalchemy as sa

from statera.base.ids import new_id
from statera.control.census import AMPHORAE, OBJECTS, publish
from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus, OperatingStatus
from statera.model.heartbeat import ListenerObserved, ListenerState
from statera.model.statistics import Counted
from statera.store.amphorae import save_amphora
from statera.store.census import take_census
from statera.store.claims import claim_load_balancer
from statera.store.engine import Store
from statera.store.glances import list_glances
from statera.store.statistics import save_counted
from statera.store.tables import load_balancers
from statera.store.trees import insert_tree
from tests.db.trees import make_tree

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


async def test_everything_is_counted(store: Store) -> None:
    trees = [make_tree() for _ in range(3)]
    for tree in trees:
        await insert_tree(store, tree, actor="client", what="created")
    late = sa.update(load_balancers).where(load_balancers.c.id == trees[1].load_balancer.id)
    await store.execute(late.values(due_at=sa.text("now() - interval '90 s'")))
    claim = await claim_load_balancer(store, owner="test", lease_s=60)
    assert claim is not None
    assert claim.load_balancer_id == trees[1].load_balancer.id
    await store.execute(
        sa.update(load_balancers)
        .where(load_balancers.c.id == trees[0].load_balancer.id)
        .values(due_at=sa.text("now() - interval '30 s'"))
    )
    row = Amphora(
        id=new_id(), load_balancer_id=claim.load_balancer_id, host="one", status=AmphoraStatus.READY, created_at=NOW
    )
    await save_amphora(store, claim, row)
    census = await take_census(store, 30.0)
    assert census.objects["load_balancers", "PENDING_CREATE", "OFFLINE"] == 3
    assert sum(count for (kind, *_), count in census.objects.items() if kind == "members") == 6
    assert census.amphorae == {("one", "READY"): 1}
    assert (census.due, census.held) == (2, 1)
    assert 30 <= census.oldest_due_s < 60
    publish(census)
    assert AMPHORAE.labels("one", "READY")._value.get() == 1
    await store.execute(sa.text("DELETE FROM amphorae"))
    publish(await take_census(store, 30.0))
    assert [sample.labels for family in AMPHORAE.collect() for sample in family.samples] == []
    assert any(sample.labels["kind"] == "pools" for family in OBJECTS.collect() for sample in family.samples)


async def test_glances_add_up(store: Store) -> None:
    tree, idle = make_tree(), make_tree()
    for one in (tree, idle):
        await insert_tree(store, one, actor="client", what="created")
    claims = [await claim_load_balancer(store, owner="test", lease_s=60) for _ in range(2)]
    claim = next(one for one in claims if one is not None and one.load_balancer_id == tree.load_balancer.id)
    amphora = Amphora(
        id=new_id(),
        load_balancer_id=tree.load_balancer.id,
        host="one",
        status=AmphoraStatus.ALLOCATED,
        created_at=NOW,
    )
    await save_amphora(store, claim, amphora)
    listener = ListenerObserved(
        id=tree.listeners[0].id,
        status=ListenerState.OPEN,
        active_connections=2,
        total_connections=7,
        bytes_in=100,
        bytes_out=900,
        request_errors=1,
    )
    await save_counted(store, [Counted(amphora_id=amphora.id, process=1, told_at=NOW, listeners=(listener,))])
    glances = {glance.id: glance for glance in await list_glances(store)}
    busy = glances[tree.load_balancer.id]
    assert (busy.told_at, busy.traffic.total_connections, busy.traffic.active_connections) == (NOW, 7, 2)
    assert (busy.members, busy.members_online) == (2, 2 * (tree.members[0].operating_status == OperatingStatus.ONLINE))
    quiet = glances[idle.load_balancer.id]
    assert (quiet.told_at, quiet.traffic.total_connections, quiet.vip_address) == (
        None,
        0,
        idle.load_balancer.vip.address,
    )
