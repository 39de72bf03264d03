"""Plans of amphorae that share the VIPs: everybody knows everybody before anybody takes part."""

from typing import Any

import msgspec

from statera.base.reason import Reason
from statera.model.amphora import Amphora, AmphoraObserved, Host
from statera.model.enums import AmphoraRole, AmphoraStatus, Topology
from statera.model.failover import Budget, Limits, Lookout
from statera.model.network import Port, PortAddress
from statera.model.tree import Tree
from statera.plan.plan import decide_plan
from statera.plan.spec import decide_sandbox_spec
from statera.plan.steps import EnsurePorts, EnsureSandbox, RemoveSandbox, Settle
from statera.plan.world import Sighting, Unseen, World
from tests.unit.plan.test_plan import BUILT, NOW, make_row, make_tree, make_world, names, see
from tests.unit.plan.test_spec import LIMITS, NETWORKS

SILENT = Unseen(Reason(slug="agent-unreachable", sentence="Host two does not answer."))
STOOD_BY = ["EnsureSandbox", "Configure"]
JOINED = ["EnsureSandbox", "ConfirmAmphora"]


def make_pair(**values: Any) -> Tree:
    return make_tree(topology=Topology.ACTIVE_STANDBY, **values)


def make_one(amphora_id: str, role: AmphoraRole, number: int, host: str, **values: Any) -> Amphora:
    port = Port(
        id=f"port-{amphora_id}",
        network_id="network",
        name="",
        device_id=amphora_id,
        mac_address="02:00:00:00:00:01",
        addresses=(PortAddress(subnet_id="subnet", address=f"192.0.2.{number}"),),
    )
    return make_row(amphora_id, role=role, host=host, ports=(port,), **values)


def look(tree: Tree, *rows: Amphora, **values: Any) -> World:
    """Return a world in which all is as it should be, but for `values`."""
    sightings = {}
    for row in rows:
        digest = decide_sandbox_spec(tree, row, NETWORKS, LIMITS, rows=rows).digest()
        sightings[row.id] = see(row, sandbox_digest=digest)
    return make_world(*rows, tree=tree, **{"sightings": sightings, **values})


MASTER = make_one("m", AmphoraRole.MASTER, 21, "one")
BACKUP = make_one("b", AmphoraRole.BACKUP, 22, "two")


def test_rows_and_ports_come_first_and_nobody_takes_part_before_all_are_built():
    plan = decide_plan(make_world(tree=make_pair()))
    begun = ["AddAmphora", "AddAmphora", "EnsurePorts", "EnsurePorts"]
    assert names(plan) == [*begun, *STOOD_BY, *STOOD_BY, *JOINED, *JOINED, "Settle"]
    assert [step.with_vips for step in plan.steps if isinstance(step, EnsureSandbox)] == [False, False, True, True]
    assert BUILT[0] == "EnsurePorts"


def test_a_pair_as_it_should_be_only_settles():
    assert names(decide_plan(look(make_pair(), MASTER, BACKUP))) == ["Settle"]


def test_they_know_each_other_and_who_begins():
    specs = [decide_sandbox_spec(make_pair(), row, NETWORKS, LIMITS, rows=(MASTER, BACKUP)) for row in (MASTER, BACKUP)]
    shares = [spec.vrrp for spec in specs if spec.vrrp is not None]
    assert [(one.priority, one.preempts, one.peers) for one in shares] == [
        (100, False, ("192.0.2.22",)),
        (90, False, ("192.0.2.21",)),
    ]


def test_a_failover_readies_both_successors_then_moves_the_vips_once_then_removes():
    tree = make_pair(amphorae_to_replace=("m", "b"))
    plan = decide_plan(look(tree, MASTER, BACKUP))
    told = ["EnsureSandbox", "EnsureSandbox", "Configure", "Configure"]
    condemned = ["CondemnAmphora", "CondemnAmphora"]
    removed = ["RemoveSandbox", "RemovePorts", "DropAmphora"] * 2
    assert names(plan) == [
        *["AddAmphora", "AddAmphora", "EnsurePorts", "EnsurePorts"],
        *[*told, *STOOD_BY, *STOOD_BY, *JOINED, *JOINED, *condemned, *removed],
        *["EnsureSandbox", "Configure", "EnsureSandbox", "Configure", "Settle"],
    ]
    assert all(step.hands_over for step in plan.steps if isinstance(step, RemoveSandbox))
    later = [
        make_one(f"new-{n}", role, 30 + n, "one", created_at=MASTER.created_at.replace(year=2027))
        for n, role in enumerate((AmphoraRole.MASTER, AmphoraRole.BACKUP))
    ]
    rows = (MASTER, BACKUP, *later)
    specs = [decide_sandbox_spec(tree, row, NETWORKS, LIMITS, rows=rows) for row in rows]
    assert [spec.vrrp.preempts for spec in specs if spec.vrrp is not None] == [False, False, True, False]
    assert specs[2].handed_over_by == ("192.0.2.21", "192.0.2.22")
    assert specs[0].handed_over_by == ()


def test_one_that_is_out_of_reach_does_not_keep_the_other_from_being_edited():
    world = look(make_pair(), MASTER, BACKUP)
    sightings = {"m": see(MASTER, sandbox_digest=world.sightings["m"].sandbox_digest, generation=2), "b": SILENT}  # type: ignore[union-attr]
    plan = decide_plan(msgspec.structs.replace(world, sightings=sightings))
    assert names(plan) == ["Configure", "Settle"]
    assert isinstance(plan.last, Settle)
    assert plan.last.leaves_traces


def test_both_out_of_reach_are_waited_for():
    world = look(make_pair(), MASTER, BACKUP, sightings={"m": SILENT, "b": SILENT})
    assert names(decide_plan(world)) == ["Wait"]


def test_a_single_one_becomes_two_before_it_goes_and_two_become_one():
    single = make_one("s", AmphoraRole.STANDALONE, 20, "one")
    plan = decide_plan(look(make_pair(), single))
    assert names(plan)[-9:] == [
        *["CondemnAmphora", "RemoveSandbox", "RemovePorts", "DropAmphora"],
        *["EnsureSandbox", "Configure", "EnsureSandbox", "Configure", "Settle"],
    ]
    plan = decide_plan(look(make_tree(), MASTER, BACKUP))
    assert names(plan)[:2] == ["AddAmphora", "EnsurePorts"]
    assert names(plan).index("ConfirmAmphora") < names(plan).index("RemoveSandbox")


def test_a_single_one_and_a_pair_share_the_vips_until_they_have_moved():
    """Two that have them, each for itself, would reset connections that the other one knows."""
    single = make_one("s", AmphoraRole.STANDALONE, 20, "one")
    rows = (single, MASTER, BACKUP)
    for tree, going, coming in ((make_pair(), (single,), BACKUP), (make_tree(), (MASTER, BACKUP), single)):
        specs = {row.id: decide_sandbox_spec(tree, row, NETWORKS, LIMITS, rows=rows) for row in rows}
        shares = {row_id: spec.vrrp for row_id, spec in specs.items() if spec.vrrp is not None}
        assert shares.keys() == specs.keys()
        assert all(len(one.peers) == len(rows) - 1 for one in shares.values())
        assert [row_id for row_id, one in shares.items() if one.preempts] == [coming.id]
        assert all(shares[row.id].priority > shares[coming.id].priority for row in going)
        given_up = tuple(place.address for row in going for place in row.ports[0].addresses)
        assert specs[coming.id].handed_over_by == given_up
        # HAProxy of a single one was started without a lifeline, or is to go on without.
        assert [row_id for row_id, spec in specs.items() if not spec.has_lifeline] == ["s"]
    alone = decide_sandbox_spec(make_tree(), single, NETWORKS, LIMITS, rows=(single,))
    assert (alone.vrrp, alone.has_lifeline) == (None, True)


def test_whoever_has_the_vips_goes_last():
    """Else the next one that is to go would have them for a while."""
    tree = make_pair(amphorae_to_replace=("m", "b"))
    world = look(tree, MASTER, BACKUP)
    for holder in ("m", "b"):
        seen: dict[str, Sighting] = {
            key: msgspec.structs.replace(sighting, has_vips=key == holder)
            for key, sighting in world.sightings.items()
            if isinstance(sighting, AmphoraObserved)
        }
        plan = decide_plan(msgspec.structs.replace(world, sightings=seen))
        assert [step.amphora_id for step in plan.steps if isinstance(step, RemoveSandbox)][-1] == holder


def test_one_that_comes_back_condemned_goes_before_anything_is_configured():
    """What is wanted now may be rejected for long, and the VIP would be on two as long."""
    gone = make_one("s", AmphoraRole.STANDALONE, 20, "three", status=AmphoraStatus.PENDING_DELETE)
    world = look(make_pair(), gone, MASTER, BACKUP)
    removed = ["RemoveSandbox", "RemovePorts", "DropAmphora"]
    assert names(decide_plan(world))[:4] == [*removed, "EnsureSandbox"]
    # Also when those that took over from it are to be replaced in turn.
    worn = look(make_pair(amphorae_to_replace=("m", "b")), gone, MASTER, BACKUP)
    plan = decide_plan(worn)
    assert next(step.amphora_id for step in plan.steps if isinstance(step, RemoveSandbox)) == "s"
    assert names(plan).index("RemoveSandbox") < names(plan).index("Configure")
    # As long as nobody else has anything live it serves on.
    bare = {row.id: see(row, generation=0) for row in (MASTER, BACKUP)}
    plan = decide_plan(msgspec.structs.replace(world, sightings={**world.sightings, **bare}))
    assert names(plan).index("Configure") < names(plan).index("RemoveSandbox")


def test_a_pair_that_a_single_one_has_replaced_goes_before_anything_is_configured():
    """Two were asked for again before they had gone."""
    gone = [msgspec.structs.replace(row, status=AmphoraStatus.PENDING_DELETE) for row in (MASTER, BACKUP)]
    single = make_one("s", AmphoraRole.STANDALONE, 20, "three")
    plan = names(decide_plan(look(make_pair(amphorae_to_replace=("m", "b", "s")), *gone, single)))
    assert plan.count("RemoveSandbox") == 3
    assert plan[: plan.index("Configure")].count("RemoveSandbox") == 2


def test_one_that_was_never_confirmed_gives_the_vips_up_beside_those_that_serve():
    single = make_one("s", AmphoraRole.STANDALONE, 20, "three", status=AmphoraStatus.PENDING_CREATE)
    world = look(make_pair(), single, MASTER, msgspec.structs.replace(BACKUP, status=AmphoraStatus.PENDING_CREATE))
    first = decide_plan(world).steps[0]
    assert isinstance(first, EnsureSandbox)
    assert (first.amphora_id, first.with_vips) == ("s", False)


def test_while_nobody_is_confirmed_one_that_is_live_has_the_vips_alone():
    """A pass was cut off after handing over; then all were to be replaced, by what may be rejected for long."""
    rows = [
        msgspec.structs.replace(row, status=AmphoraStatus.PENDING_CREATE)
        for row in (make_one("s", AmphoraRole.STANDALONE, 20, "three"), MASTER, BACKUP)
    ]
    tree = make_pair(amphorae_to_replace=("s", "m", "b"))
    world = look(tree, *rows)
    for single, holder, losers in (
        (see(rows[0], generation=0), "m", {"s"}),
        (see(rows[0]), "m", {"s"}),
        (see(rows[0]), None, {"m", "b"}),
    ):
        seen = {row.id: see(row, has_vips=row.id == holder) for row in rows[1:]}
        plan = decide_plan(msgspec.structs.replace(world, sightings={"s": single, **seen}))
        before = plan.steps[: names(plan).index("Configure")]
        ensured = [step for step in before if isinstance(step, EnsureSandbox)]
        assert {
            step.amphora_id for step in ensured if not step.with_vips and step.amphora_id in seen | {"s": 0}
        } == losers
        # Whoever shares with the holder learns of those that come, too.
        assert [step.amphora_id for step in ensured if step.with_vips] == (["s"] if holder is None else ["m", "b"])


def test_those_that_share_know_each_other_when_a_restored_database_has_forgotten_an_address():
    """It was backed up before the one had its port. Both are live, and both are to be replaced."""
    rows = [msgspec.structs.replace(row, status=AmphoraStatus.PENDING_CREATE) for row in (MASTER, BACKUP)]
    tree = make_pair(amphorae_to_replace=("m", "b"))
    bare = msgspec.structs.replace(rows[1], ports=())
    seen = {"m": see(rows[0], sandbox_digest="forgotten", has_vips=True), "b": see(bare, sandbox_digest="forgotten")}
    first = decide_plan(make_world(rows[0], bare, tree=tree, sightings=seen))
    begun = first.steps[: names(first).index("Configure")]
    assert [step.amphora_id for step in begun if isinstance(step, EnsurePorts)][:1] == ["b"]
    # Known again, also where the pass was cut off after that.
    for plan in (first, decide_plan(make_world(*rows, tree=tree, sightings=seen))):
        begun = plan.steps[: names(plan).index("Configure")]
        given = [step.amphora_id for step in begun if isinstance(step, EnsureSandbox) and step.with_vips]
        assert given == ["m", "b"]


def test_one_without_its_port_gives_the_vips_up_beside_those_that_serve():
    single = make_one("s", AmphoraRole.STANDALONE, 20, "three", status=AmphoraStatus.PENDING_CREATE)
    world = look(make_pair(), single, MASTER, BACKUP)
    bare = msgspec.structs.replace(single, ports=())
    plan = decide_plan(msgspec.structs.replace(world, amphorae=(bare, MASTER, BACKUP)))
    first = next(step for step in plan.steps if isinstance(step, EnsureSandbox))
    assert (first.amphora_id, first.with_vips) == ("s", False)


def test_while_only_a_condemned_one_is_live_it_has_the_vips_alone():
    """A request that came late has given them to one that was never configured."""
    gone = make_one("s", AmphoraRole.STANDALONE, 20, "three", status=AmphoraStatus.PENDING_DELETE)
    late = make_one("late", AmphoraRole.STANDALONE, 23, "one", status=AmphoraStatus.PENDING_CREATE)
    world = look(make_pair(amphorae_to_replace=("s",)), gone, late)
    plan = decide_plan(msgspec.structs.replace(world, sightings={"s": see(gone), "late": see(late, generation=0)}))
    first = next(step for step in plan.steps if isinstance(step, EnsureSandbox))
    assert (first.amphora_id, first.with_vips) == ("late", False)
    assert names(plan).index("EnsureSandbox") < names(plan).index("Configure")


def test_one_that_was_away_learns_with_whom_it_shares_before_anything_is_configured():
    """Each would have the VIPs for itself as long as what is wanted now is rejected."""
    world = look(make_pair(), MASTER, BACKUP)
    away = see(BACKUP, sandbox_digest="with another one", generation=1)
    edited = see(MASTER, sandbox_digest=world.sightings["m"].sandbox_digest, generation=1)  # type: ignore[union-attr]
    plan = decide_plan(msgspec.structs.replace(world, sightings={"m": edited, "b": away}))
    assert names(plan) == ["EnsureSandbox", "Configure", "Configure", "Settle"]
    assert isinstance(plan.steps[0], EnsureSandbox)
    assert plan.steps[0].amphora_id == "b"


def test_nobody_takes_part_beside_one_that_cannot_be_told():
    """It speaks to those that it knew, and would keep the VIPs, or take them, beside the one that comes."""
    tree = make_pair(amphorae_to_replace=("m",))
    fresh = make_one("new", AmphoraRole.MASTER, 23, "three", status=AmphoraStatus.PENDING_CREATE, last_heartbeat_at=NOW)
    rows = (MASTER, BACKUP, fresh)
    world = look(tree, *rows)
    seen: dict[str, Sighting] = {**world.sightings, "b": SILENT, "new": see(fresh, sandbox_digest="stands by")}
    plan = decide_plan(msgspec.structs.replace(world, sightings=seen))
    joined = [step for step in plan.steps if isinstance(step, EnsureSandbox) and step.with_vips]
    assert [step.amphora_id for step in joined] == []
    assert plan.sentence().endswith("Wait: Host two does not answer.")
    # One that is lost for sure takes nothing, even while too many have been replaced already.
    spent = Budget(limits=Limits(per_minute=1, fleet_percent=50.0), fleet=10, in_minute=1, in_window=0)
    lookout = Lookout(silent_since={"b": NOW}, answers={"b": False}, budget=spent)
    hosts = (
        *(Host(name=name, reachable=True) for name in ("one", "three")),
        Host(name="two", reachable=False, is_alive=False),
    )
    plan = decide_plan(msgspec.structs.replace(world, sightings=seen, hosts=hosts, lookout=lookout))
    joined = [step for step in plan.steps if isinstance(step, EnsureSandbox) and step.with_vips]
    assert [step.amphora_id for step in joined][:1] == ["new"]


def test_a_successor_that_stands_by_has_no_vips_while_the_one_before_may_have_them():
    """Its host does not answer and it is still heard; then two are asked for."""
    single = make_one("s", AmphoraRole.STANDALONE, 20, "one", last_heartbeat_at=NOW)
    fresh = make_one("new", AmphoraRole.STANDALONE, 23, "three", status=AmphoraStatus.PENDING_CREATE)
    gone = make_one("late", AmphoraRole.STANDALONE, 24, "two", status=AmphoraStatus.PENDING_DELETE)
    for rows in ((single, fresh), (single, fresh, gone)):
        world = look(make_pair(amphorae_to_replace=("s",)), *rows)
        seen: dict[str, Sighting] = {**world.sightings, "s": SILENT, "new": see(fresh, sandbox_digest="stands by")}
        plan = decide_plan(msgspec.structs.replace(world, sightings=seen))
        given = [step for step in plan.steps if isinstance(step, EnsureSandbox) and step.with_vips]
        assert [step.amphora_id for step in given] == []
        assert names(plan)[-1] == "Wait"


def test_where_nobody_else_can_serve_one_that_has_what_was_live_last_has_the_vips():
    """All that served were lost while what is wanted now is rejected, maybe for long."""
    lost = make_one("s", AmphoraRole.STANDALONE, 20, "four", status=AmphoraStatus.ERROR)
    rows = [
        lost,
        *(msgspec.structs.replace(row, status=AmphoraStatus.PENDING_CREATE) for row in (MASTER, BACKUP)),
    ]
    world = look(make_pair(), *rows)
    stands_by = see(MASTER, sandbox_digest="stands by", generation=2)
    seen: dict[str, Sighting] = {"s": None, "m": stands_by, "b": None}
    plan = decide_plan(msgspec.structs.replace(world, sightings=seen))
    given = [step for step in plan.steps[: names(plan).index("Configure")] if isinstance(step, EnsureSandbox)]
    assert [(step.amphora_id, step.with_vips) for step in given] == [("m", True)]
    # Not where somebody else may serve: one that does not answer and is still heard.
    away = msgspec.structs.replace(lost, status=AmphoraStatus.ALLOCATED, last_heartbeat_at=NOW)
    world = look(make_pair(), away, *rows[1:])
    plan = decide_plan(msgspec.structs.replace(world, sightings={**seen, "s": SILENT}))
    assert [step.amphora_id for step in plan.steps if isinstance(step, EnsureSandbox) and step.with_vips] == []


def test_where_one_that_is_not_confirmed_serves_none_that_has_never_served_keeps_the_vips():
    """A single one was built and never configured: then sharing was asked for, and all are replaced while it is new."""
    single = make_one("s", AmphoraRole.STANDALONE, 20, "three", status=AmphoraStatus.PENDING_CREATE)
    rows = [single, *(msgspec.structs.replace(row, status=AmphoraStatus.PENDING_CREATE) for row in (MASTER, BACKUP))]
    stands_by = see(MASTER, sandbox_digest="stands by", generation=2)
    seen: dict[str, Sighting] = {"s": see(single, generation=0), "m": stands_by, "b": None}
    for status in (AmphoraStatus.PENDING_CREATE, AmphoraStatus.PENDING_DELETE):
        there = [msgspec.structs.replace(single, status=status), *rows[1:]]
        world = look(make_pair(amphorae_to_replace=("s",)), *there)
        plan = decide_plan(msgspec.structs.replace(world, sightings=seen))
        begun = plan.steps[: names(plan).index("Configure")]
        given = [(step.amphora_id, step.with_vips) for step in begun if isinstance(step, EnsureSandbox)]
        removed = [step.amphora_id for step in begun if isinstance(step, RemoveSandbox)]
        is_condemned = status == AmphoraStatus.PENDING_DELETE
        assert (given, removed) == (([("m", True)], ["s"]) if is_condemned else ([("s", False), ("m", True)], []))


def test_one_that_is_condemned_and_comes_back_goes_where_one_that_is_not_confirmed_serves():
    """The successor was given the VIPs while that one was out of reach; what is wanted now is rejected."""
    former = make_one("f", AmphoraRole.MASTER, 20, "three", status=AmphoraStatus.PENDING_DELETE)
    rows = [former, *(msgspec.structs.replace(row, status=AmphoraStatus.PENDING_CREATE) for row in (MASTER, BACKUP))]
    world = look(make_pair(), *rows)
    serves = see(MASTER, sandbox_digest=world.sightings["m"].sandbox_digest, generation=2)  # type: ignore[union-attr]
    seen: dict[str, Sighting] = {"f": see(former, generation=2), "m": serves, "b": None}
    plan = decide_plan(msgspec.structs.replace(world, sightings=seen))
    begun = plan.steps[: names(plan).index("Configure")]
    assert [step.amphora_id for step in begun if isinstance(step, RemoveSandbox)] == ["f"]
    assert [step.amphora_id for step in begun if isinstance(step, EnsureSandbox) and not step.with_vips] == []


def test_one_that_has_lost_what_it_served_has_no_vips_while_another_one_is_live():
    """It was rebuilt with nothing, and what is wanted now is rejected. Whoever is condemned serves on."""
    former = make_one("f", AmphoraRole.STANDALONE, 20, "three", status=AmphoraStatus.PENDING_DELETE)
    empty = make_one("s", AmphoraRole.STANDALONE, 23, "two")
    worn = make_one("b", AmphoraRole.BACKUP, 22, "one", status=AmphoraStatus.PENDING_CREATE)
    world = look(make_tree(), former, empty, worn)
    lost = see(empty, sandbox_digest=world.sightings["s"].sandbox_digest, generation=0, configuration_digest="")  # type: ignore[union-attr]
    seen: dict[str, Sighting] = {"f": see(former), "s": lost, "b": None}
    plan = decide_plan(msgspec.structs.replace(world, sightings=seen))
    begun = plan.steps[: names(plan).index("Configure")]
    changed = [(step.amphora_id, step.with_vips) for step in begun if isinstance(step, EnsureSandbox)]
    assert (changed, [step for step in begun if isinstance(step, RemoveSandbox)]) == ([("s", False)], [])
    after = names(plan)[names(plan).index("Configure") :]
    assert after[:3] == ["Configure", "EnsureSandbox", "ConfirmAmphora"]


def test_one_that_is_to_follow_and_has_the_vips_gives_them_up_before_anything_is_configured():
    """It took them before the database was restored, and what is wanted now is rejected."""
    single = make_one("s", AmphoraRole.STANDALONE, 20, "three")
    rows = [single, *(msgspec.structs.replace(row, status=AmphoraStatus.PENDING_CREATE) for row in (MASTER, BACKUP))]
    world = look(make_pair(), *rows)
    alone = see(MASTER, sandbox_digest="has them alone", generation=2, has_vips=True)
    serves = see(single, sandbox_digest=world.sightings["s"].sandbox_digest, generation=1)  # type: ignore[union-attr]
    seen: dict[str, Sighting] = {"s": serves, "m": alone, "b": None}
    plan = decide_plan(msgspec.structs.replace(world, sightings=seen))
    begun = plan.steps[: names(plan).index("Configure")]
    assert [(one.amphora_id, one.with_vips) for one in begun if isinstance(one, EnsureSandbox)] == [("m", False)]
    joins = [one.amphora_id for one in plan.steps if isinstance(one, EnsureSandbox) and one.with_vips]
    assert joins[:2] == ["m", "b"]
    # Not where who serves has lost what it served: then nobody else may.
    empty = see(single, generation=0, configuration_digest="")
    plan = decide_plan(msgspec.structs.replace(world, sightings={**seen, "s": empty}))
    begun = plan.steps[: names(plan).index("Configure")]
    assert ("m", False) not in [(one.amphora_id, one.with_vips) for one in begun if isinstance(one, EnsureSandbox)]
