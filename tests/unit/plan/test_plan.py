"""Plans for worlds worth naming; that plans reach their goal from any world is shown in `tests/property`."""

import datetime as dt
from typing import Any

import msgspec
import pytest

from statera.base.reason import Reason
from statera.model.amphora import Amphora, AmphoraObserved, Host
from statera.model.enums import Algorithm, AmphoraRole, AmphoraStatus, Topology
from statera.model.tree import Tree
from statera.plan.plan import decide_plan, needs_hosts
from statera.plan.spec import decide_sandbox_spec
from statera.plan.steps import AddAmphora, CondemnAmphora, Configure, EnsureSandbox, Plan, RemoveSandbox, Settle, Wait
from statera.plan.world import Sighting, Unseen, World
from tests.unit.plan.test_spec import LIMITS, NETWORKS, make_port, small_tree

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
HOSTS = (Host(name="one", reachable=True), Host(name="two", reachable=True))
SILENT = Unseen(Reason(slug="agent-unreachable", sentence="Host one does not answer."))
PORT = make_port("network", ("subnet", "192.0.2.20"))
FAR_PORT = make_port("far", ("far-four", "10.9.0.5"))
BUILT = ["EnsurePorts", "EnsureSandbox", "Configure", "ConfirmAmphora"]
REMOVED = ["RemoveSandbox", "RemovePorts", "DropAmphora"]


def make_tree(**balancer: Any) -> Tree:
    tree = small_tree()
    changed = msgspec.structs.replace(tree.load_balancer, generation=3, **balancer)
    return msgspec.structs.replace(tree, load_balancer=changed)


def make_row(amphora_id: str = "amphora", **values: Any) -> Amphora:
    plain = {"load_balancer_id": "balancer", "host": "one", "ports": (PORT,), "created_at": NOW}
    return Amphora(id=amphora_id, **{"status": AmphoraStatus.ALLOCATED, **plain, **values})


def see(row: Amphora, **values: Any) -> AmphoraObserved:
    """Return a sighting of an amphora as it should be, with changes."""
    plain = {
        "load_balancer_id": "balancer",
        "epoch": 1,
        "generation": 3,
        "sandbox_digest": decide_sandbox_spec(make_tree(), row, NETWORKS, LIMITS).digest(),
        "configuration_digest": "wanted",
        "haproxy_running": True,
    }
    return AmphoraObserved(id=row.id, **{**plain, **values})


def make_world(*rows: Amphora, tree: Tree | None = None, **values: Any) -> World:
    plain = {
        "hosts": HOSTS,
        "networks": NETWORKS,
        "limits": LIMITS,
        "configurations": {row.id: "wanted" for row in rows},
        "sightings": {row.id: see(row) for row in rows},
        "fresh_ids": ("fresh-1", "fresh-2"),
        "now": NOW,
    }
    return World(tree=tree or make_tree(), amphorae=rows, **{**plain, **values})


def names(plan: Plan) -> list[str]:
    return [type(step).__name__ for step in plan.steps]


def test_a_first_build_comes_in_order():
    plan = decide_plan(make_world())
    assert names(plan) == ["AddAmphora", *BUILT, "Settle"]
    assert plan.sentence() == (
        "Add amphora fresh-1 on host one. Allocate the ports of amphora fresh-1. "
        "Build the sandbox of amphora fresh-1 on host one. Configure amphora fresh-1 to generation 3. "
        "Amphora fresh-1 serves. Settle generation 3."
    )


def test_a_pair_stands_on_two_hosts():
    plan = decide_plan(make_world(tree=make_tree(topology=Topology.ACTIVE_STANDBY)))
    added = [step.amphora for step in plan.steps if isinstance(step, AddAmphora)]
    assert [(one.role, one.host) for one in added] == [(AmphoraRole.MASTER, "one"), (AmphoraRole.BACKUP, "two")]


def test_all_well_only_settles():
    plan = decide_plan(make_world(make_row()))
    assert plan == Plan((Settle(sentence="Settle generation 3.", generation=3),))
    assert not plan.actions


@pytest.mark.parametrize(
    ("seen", "steps"),
    [
        ({"generation": 2}, ["Configure"]),
        ({"configuration_digest": "other"}, ["Configure"]),
        ({"haproxy_running": False}, ["Configure"]),
        ({"sandbox_digest": "other"}, ["EnsureSandbox"]),
        ({"sandbox_digest": "other", "generation": 2}, ["EnsureSandbox", "Configure"]),
    ],
)
def test_what_differs_is_mended(seen: dict[str, Any], steps: list[str]):
    row = make_row()
    assert names(decide_plan(make_world(row, sightings={row.id: see(row, **seen)}))) == [*steps, "Settle"]


def test_a_sandbox_that_is_gone_is_built_again_where_it_was():
    row = make_row()
    plan = decide_plan(make_world(row, sightings={row.id: None}))
    assert names(plan) == ["EnsureSandbox", "Configure", "Settle"]
    assert "Build the sandbox of amphora amphora on host one." in plan.sentence()


def test_no_engine_is_wanted_without_listeners():
    row = make_row()
    world = make_world(row, configurations={row.id: ""})
    assert names(decide_plan(world)) == ["Configure", "Settle"]
    stopped = see(row, configuration_digest="", haproxy_running=False)
    assert names(decide_plan(make_world(row, configurations={row.id: ""}, sightings={row.id: stopped}))) == ["Settle"]


@pytest.mark.parametrize("lacking", [(), (make_port("network"),)])
def test_ports_come_before_the_sandbox(lacking: tuple[Any, ...]):
    row = make_row(ports=lacking, status=AmphoraStatus.PENDING_CREATE)
    assert names(decide_plan(make_world(row, sightings={row.id: None}))) == [*BUILT, "Settle"]


def test_an_unused_network_goes_after_the_configuration_has_left_it():
    row = make_row(ports=(PORT, FAR_PORT))
    plan = decide_plan(make_world(row, sightings={row.id: see(row, generation=2)}))
    assert names(plan) == ["Configure", "EnsureSandbox", "ReleasePorts", "Settle"]
    (change,) = [step for step in plan.steps if isinstance(step, EnsureSandbox)]
    assert change.network_ids == ("network",)


def test_an_unused_network_whose_interface_is_gone_only_frees_its_port():
    row = make_row(ports=(PORT, FAR_PORT))
    seen = see(row, sandbox_digest=see(make_row()).sandbox_digest)
    assert names(decide_plan(make_world(row, sightings={row.id: seen}))) == ["ReleasePorts", "Settle"]


def test_a_silent_host_is_waited_for():
    row = make_row()
    plan = decide_plan(make_world(row, sightings={row.id: SILENT}))
    assert plan.last == Wait(sentence="Wait: Host one does not answer.", reason=SILENT.reason)
    assert not plan.actions


def test_what_was_never_built_moves_to_another_host():
    row = make_row(status=AmphoraStatus.PENDING_CREATE, ports=())
    hosts = (Host(name="one", reachable=False), HOSTS[1])
    world = make_world(row, sightings={row.id: SILENT}, hosts=hosts)
    assert needs_hosts(world)
    plan = decide_plan(world)
    assert names(plan) == ["CondemnAmphora", "AddAmphora", *BUILT, "Settle"]
    assert plan.sentence().startswith("Give up amphora amphora on host one, which cannot build it.")


OLD, NEW = {"haproxy": "2.4.22"}, {"haproxy": "2.6.12"}
TOLD = tuple(msgspec.structs.replace(host, engine_versions=told) for host, told in zip(HOSTS, (OLD, NEW), strict=True))


@pytest.mark.parametrize("is_built", [False, True])
def test_what_has_never_served_moves_from_a_host_whose_engine_cannot_serve_it(is_built: bool):
    tree = msgspec.structs.replace(make_tree(), pools=small_tree(pool={"lb_algorithm": Algorithm.SOURCE_IP_PORT}).pools)
    row = make_row(status=AmphoraStatus.PENDING_CREATE)
    seen = see(row, generation=0, configuration_digest="", haproxy_running=False) if is_built else None
    world = make_world(row, tree=tree, hosts=TOLD, sightings={row.id: seen}, configurations={})
    assert needs_hosts(world)
    plan = decide_plan(world)
    stood_by = ["EnsurePorts", "EnsureSandbox", "Configure", "CondemnAmphora", "EnsureSandbox", "ConfirmAmphora"]
    begun = ["EnsurePorts", "EnsureSandbox", "Configure", "ConfirmAmphora", "CondemnAmphora"]
    assert names(plan) == ["AddAmphora", *(stood_by if is_built else begun), *REMOVED, "EnsureSandbox", "Settle"]
    assert [step.amphora.host for step in plan.steps if isinstance(step, AddAmphora)] == ["two"]
    # Nowhere better, or it has served: then what is missing is told where it is.
    for there in ((TOLD[0],), (TOLD[0], msgspec.structs.replace(TOLD[1], reachable=False))):
        assert "AddAmphora" not in names(decide_plan(msgspec.structs.replace(world, hosts=there)))
    full = (TOLD[0], msgspec.structs.replace(TOLD[1], amphora_count=1, amphora_limit=1))
    plan = decide_plan(msgspec.structs.replace(world, hosts=full))
    assert "AddAmphora" not in names(plan)
    assert ("Configure" in names(plan)) == is_built
    live = msgspec.structs.replace(world, sightings={row.id: see(row)})
    assert "AddAmphora" not in names(decide_plan(live))


def test_what_has_served_stays_where_it_is():
    row = make_row()
    world = make_world(row, sightings={row.id: SILENT}, hosts=(Host(name="one", reachable=False), HOSTS[1]))
    assert needs_hosts(world), "to tell whether the host is lost"
    assert names(decide_plan(world)) == ["Wait"]


def test_no_host_has_room():
    full = tuple(Host(name=host.name, reachable=True, amphora_count=1, amphora_limit=1) for host in HOSTS)
    plan = decide_plan(make_world(hosts=full))
    assert isinstance(plan.last, Wait)
    assert plan.last.reason.slug == "host-full"


def test_a_row_too_many_goes_after_the_one_that_serves():
    old = make_row("old", status=AmphoraStatus.PENDING_DELETE)
    new = make_row("new", status=AmphoraStatus.PENDING_CREATE)
    sightings: dict[str, Sighting] = {"old": see(old), "new": None}
    plan = decide_plan(make_world(old, new, sightings=sightings))
    moved = ["EnsureSandbox", "ConfirmAmphora"]
    assert names(plan) == ["EnsureSandbox", "Configure", *moved, *REMOVED, "EnsureSandbox", "Settle"]
    # What may be rejected does not get the VIP beside one that serves.
    assert [step.with_vips for step in plan.steps if isinstance(step, EnsureSandbox)] == [False, True, True]


def test_a_row_too_many_on_a_silent_host_holds_nobody_up():
    old = make_row("old", status=AmphoraStatus.PENDING_DELETE)
    new = make_row("new")
    taken_over = decide_sandbox_spec(make_tree(), new, NETWORKS, LIMITS, rows=(old, new)).digest()
    seen = see(new, sandbox_digest=taken_over)
    assert names(decide_plan(make_world(old, new, sightings={"old": SILENT, "new": seen}))) == ["Settle"]


def test_nothing_is_removed_while_the_one_that_should_serve_cannot():
    old = make_row("old", status=AmphoraStatus.PENDING_DELETE)
    new = make_row("new")
    assert names(decide_plan(make_world(old, new, sightings={"old": see(old), "new": SILENT}))) == ["Wait"]


def test_a_delete_takes_everything_and_the_row_last():
    world = make_world(make_row("a"), make_row("b"), tree=make_tree(deleting=True))
    assert not needs_hosts(world)
    assert names(decide_plan(world)) == [*REMOVED, *REMOVED, "ReleaseVip", "DropLoadBalancer"]


def test_a_tenants_own_port_outlives_the_load_balancer():
    plan = decide_plan(make_world(tree=make_tree(deleting=True, owns_vip_port=False)))
    assert names(plan) == ["DropLoadBalancer"]


def test_a_delete_does_what_it_can_while_a_host_is_silent():
    world = make_world(make_row("a"), make_row("b"), tree=make_tree(deleting=True), sightings={"a": SILENT, "b": None})
    assert names(decide_plan(world)) == [*REMOVED, "Wait"]


def test_an_unknown_vip_network_is_waited_for():
    plan = decide_plan(make_world(make_row(), networks=NETWORKS[:1]))
    assert names(plan) == ["Wait"]
    assert plan.sentence() == "Wait: Network network is not known to the network driver."


def test_an_unknown_configuration_is_put_again():
    row = make_row()
    plan = decide_plan(make_world(row, configurations={}))
    assert [type(step) for step in plan.steps] == [Configure, Settle]


WORN = make_tree(amphorae_to_replace=("old",))
FORGOTTEN = [*REMOVED, "EnsureSandbox", "Settle"]
TAKES_OVER = ["CondemnAmphora", "EnsureSandbox", "ConfirmAmphora", *FORGOTTEN]


def test_a_successor_is_made_ready_on_another_host_before_it_takes_the_vip():
    old = make_row("old")
    world = make_world(old, tree=WORN)
    assert needs_hosts(world)
    plan = decide_plan(world)
    assert names(plan) == ["AddAmphora", "EnsurePorts", "EnsureSandbox", "Configure", *TAKES_OVER]
    [added] = [step.amphora for step in plan.steps if isinstance(step, AddAmphora)]
    assert added.host == "two"
    assert [step.with_vips for step in plan.steps if isinstance(step, EnsureSandbox)] == [False, True, True]
    assert "Amphora fresh-1 takes over from amphora old. Move the VIP to amphora fresh-1." in plan.sentence()


def test_a_failover_that_was_cut_off_goes_on():
    old, new = make_row("old"), make_row("new", status=AmphoraStatus.PENDING_CREATE)
    standing_by = decide_sandbox_spec(WORN, new, NETWORKS, LIMITS, with_vips=False).digest()
    ready: dict[str, Sighting] = {"old": see(old), "new": see(new, sandbox_digest=standing_by)}
    assert names(decide_plan(make_world(old, new, tree=WORN, sightings=ready))) == TAKES_OVER
    condemned = make_row("old", status=AmphoraStatus.PENDING_DELETE)
    plan = decide_plan(make_world(condemned, new, tree=WORN, sightings=ready))
    assert names(plan) == ["EnsureSandbox", "ConfirmAmphora", *FORGOTTEN]
    rows = (condemned, make_row("new"))
    taken_over = decide_sandbox_spec(WORN, rows[1], NETWORKS, LIMITS, rows=rows).digest()
    seen = see(rows[1], sandbox_digest=taken_over)
    done = make_world(*rows, tree=WORN, sightings={"old": see(condemned), "new": seen})
    assert names(decide_plan(done)) == FORGOTTEN


def test_a_lost_amphora_is_replaced_without_waiting_for_it():
    old = make_row("old")
    plan = decide_plan(make_world(old, tree=WORN, sightings={"old": None}))
    assert names(plan) == ["AddAmphora", *BUILT, "CondemnAmphora", *FORGOTTEN]


def test_what_is_to_be_replaced_serves_on_while_there_is_no_room():
    old = make_row("old")
    full = (Host(name="one", reachable=True, amphora_count=9, amphora_limit=9),)
    plan = decide_plan(make_world(old, tree=WORN, hosts=full, sightings={"old": see(old, generation=2)}))
    assert names(plan) == ["Configure", "Wait"]
    assert isinstance(plan.last, Wait)
    assert plan.last.reason.slug == "host-full"


def test_a_silent_hosts_amphora_gives_up_the_vip_only_when_its_heartbeats_stay_away_too():
    heard = make_row("old", last_heartbeat_at=NOW - dt.timedelta(seconds=10))
    world = make_world(heard, tree=WORN, sightings={"old": SILENT}, silent_after_s=18.0)
    plan = decide_plan(world)
    assert names(plan) == ["AddAmphora", "EnsurePorts", "EnsureSandbox", "Configure", "Wait"]
    assert [step.with_vips for step in plan.steps if isinstance(step, EnsureSandbox)] == [False]
    plan = decide_plan(msgspec.structs.replace(world, now=NOW + dt.timedelta(seconds=9)))
    assert names(plan) == ["AddAmphora", *BUILT, "CondemnAmphora", "Settle"]
    assert isinstance(plan.last, Settle)
    assert plan.last.leaves_traces


def test_a_failover_of_a_failover_replaces_both():
    old, new = make_row("old"), make_row("new", status=AmphoraStatus.PENDING_CREATE)
    both = make_tree(amphorae_to_replace=("old", "new"))
    plan = decide_plan(make_world(old, new, tree=both))
    built = ["AddAmphora", "EnsureSandbox", "EnsurePorts", "EnsureSandbox", "Configure"]
    [taken, *_] = [step for step in plan.steps if isinstance(step, EnsureSandbox)]
    assert (taken.amphora_id, taken.with_vips) == ("new", False), "only the one that serves keeps the VIP"
    moved = ["CondemnAmphora", "CondemnAmphora", "EnsureSandbox", "ConfirmAmphora"]
    assert names(plan) == [*built, *moved, *REMOVED, *FORGOTTEN]
    condemned = [step.amphora_id for step in plan.steps if isinstance(step, CondemnAmphora)]
    assert condemned == ["new", "old"], "a pass that is cut off there leaves the VIP with one that is not to go yet"


def test_whoever_is_condemned_goes_after_the_vip_has_moved():
    """A pass was cut off between two condemnations, of which neither was ever accepted."""
    first = make_row("first", status=AmphoraStatus.PENDING_DELETE)
    second = make_row("second", status=AmphoraStatus.PENDING_CREATE)
    new = make_row("new", status=AmphoraStatus.PENDING_CREATE)
    standing_by = {row.id: decide_sandbox_spec(WORN, row, NETWORKS, LIMITS, with_vips=False) for row in (second, new)}
    sightings: dict[str, Sighting] = {
        "first": see(first, generation=0, configuration_digest="", haproxy_running=False),
        "second": see(second, generation=0, configuration_digest="", sandbox_digest=standing_by["second"].digest()),
        "new": see(new, sandbox_digest=standing_by["new"].digest()),
    }
    both = make_tree(amphorae_to_replace=("first", "second"))
    plan = decide_plan(make_world(first, second, new, tree=both, sightings=sightings))
    [moved, *_] = [place for place, step in enumerate(plan.steps) if isinstance(step, EnsureSandbox) and step.with_vips]
    [removed, *_] = [place for place, step in enumerate(plan.steps) if isinstance(step, RemoveSandbox)]
    assert moved < removed


def test_one_that_is_to_go_finishes_its_take_over_while_there_is_no_room():
    """The one before it is condemned and has the VIP yet; it is to be replaced, too, and no host can take a third."""
    former = make_row("former", status=AmphoraStatus.PENDING_DELETE)
    worn = make_row("old", status=AmphoraStatus.PENDING_CREATE)
    full = (Host(name="one", reachable=True, amphora_count=9, amphora_limit=9),)
    standing_by = decide_sandbox_spec(WORN, worn, NETWORKS, LIMITS, with_vips=False).digest()
    sightings: dict[str, Sighting] = {"former": see(former), "old": see(worn, generation=2, sandbox_digest=standing_by)}
    plan = decide_plan(make_world(former, worn, tree=WORN, hosts=full, sightings=sightings))
    assert names(plan) == ["EnsureSandbox", *REMOVED, "Configure", "ConfirmAmphora", "Wait"]


def test_of_two_that_are_condemned_the_newer_serves_on_alone():
    """A pass was cut off while the VIP moved, and the host of the one that it moved to was away for a while."""
    older, newer = (make_row(name, status=AmphoraStatus.PENDING_DELETE) for name in ("older", "newer"))
    new = make_row("new", status=AmphoraStatus.PENDING_CREATE)
    standing_by = decide_sandbox_spec(make_tree(), new, NETWORKS, LIMITS, with_vips=False).digest()
    unready = see(new, generation=0, configuration_digest="", sandbox_digest=standing_by)
    sightings: dict[str, Sighting] = {
        "older": see(older, generation=2),
        "newer": see(newer, generation=3, sandbox_digest="since then others have gone"),
        "new": unready,
    }
    plan = decide_plan(make_world(older, newer, new, sightings=sightings))
    before = plan.steps[: names(plan).index("Configure")]
    assert [(type(step), step.amphora_id) for step in before if isinstance(step, EnsureSandbox | RemoveSandbox)] == [
        (EnsureSandbox, "newer"),
        (RemoveSandbox, "older"),
    ]
    # Not while a third one may serve.
    away = make_row("away", last_heartbeat_at=NOW)
    tree = make_tree(amphorae_to_replace=("away",))
    silent = Unseen(Reason(slug="agent-unreachable", sentence="Host one does not answer."))
    plan = decide_plan(make_world(older, newer, away, new, tree=tree, sightings={**sightings, "away": silent}))
    assert "RemoveSandbox" not in names(plan)


def test_one_that_took_over_and_serves_nothing_gives_the_vip_back():
    """Its host lied about its configuration; whoever is condemned serves on until the next one is ready."""
    former = make_row("former", status=AmphoraStatus.PENDING_DELETE)
    empty = make_row("old")
    sightings: dict[str, Sighting] = {
        "former": see(former, generation=2),
        "old": see(empty, generation=0, configuration_digest="", haproxy_running=False),
    }
    plan = decide_plan(make_world(former, empty, tree=WORN, sightings=sightings))
    built = [(step.amphora_id, step.with_vips) for step in plan.steps if isinstance(step, EnsureSandbox)]
    assert built[:3] == [("old", False), ("fresh-1", False), ("fresh-1", True)]
    assert names(plan).index("RemoveSandbox") > names(plan).index("Configure")
    full = (Host(name="one", reachable=True, amphora_count=9, amphora_limit=9),)
    plan = decide_plan(make_world(former, empty, tree=WORN, sightings=sightings, hosts=full))
    built = [(step.amphora_id, step.with_vips) for step in plan.steps if isinstance(step, EnsureSandbox)]
    assert built == [("old", False)]
