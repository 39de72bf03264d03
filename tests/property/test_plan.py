"""Plans reach their goal from any observed state, after any interruption, and lose nothing on the way."""

import datetime as dt
from typing import Any

import msgspec
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from statera.model.amphora import Amphora
from statera.model.enums import AmphoraRole, AmphoraStatus, Topology
from statera.model.tree import Tree
from statera.plan.plan import decide_plan
from statera.plan.seats import ROLES
from statera.plan.spec import decide_sandbox_spec, list_wanted_networks
from statera.plan.steps import DropLoadBalancer, PortWanted, Settle, Wait
from tests.property.cosmos import LIMITS, NETWORKS, Box, Cosmos
from tests.property.trees import BALANCER, NOW, busy_trees, trees

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)
HOSTS = ("one", "two", "three")
MOST_PASSES = 4
"""Passes without a failure until all is well: one that acts, one that finds nothing to do; the rest is slack."""


@st.composite
def wanted_trees(draw: st.DrawFn, generation: int) -> Tree:
    tree = draw(busy_trees() | trees())
    balancer = msgspec.structs.replace(tree.load_balancer, generation=generation)
    return msgspec.structs.replace(tree, load_balancer=balancer)


@st.composite
def cosmoses(draw: st.DrawFn) -> Cosmos:
    """Any state: rows of every kind, built or half built, with hosts that are full and steps that will fail."""
    tree = draw(wanted_trees(draw(st.integers(5, 9))))
    limits = {host: draw(st.integers(0, 3)) for host in HOSTS[:2]} | {HOSTS[2]: 1000}
    cosmos = Cosmos(tree, limits, draw(st.lists(st.sampled_from(["", "", "", "before", "after"]), max_size=25)))
    for number in range(draw(st.integers(0, 4))):
        _place_amphora(draw, cosmos, f"old-{number}", NOW - dt.timedelta(hours=1) + dt.timedelta(minutes=number))
    cosmos.check_nothing_is_lost()
    return cosmos


def _place_amphora(draw: st.DrawFn, cosmos: Cosmos, amphora_id: str, created_at: dt.datetime) -> None:
    host = draw(st.sampled_from(HOSTS))
    some = [PortWanted(network_id=network, subnet_ids=subnets) for network, subnets in _any_networks(draw, cosmos.tree)]
    known = tuple(cosmos.ensure_port(amphora_id, wanted) for wanted in some)
    cosmos.rows[amphora_id] = row = Amphora(
        id=amphora_id,
        load_balancer_id=BALANCER,
        host=host,
        role=draw(st.sampled_from(AmphoraRole)),
        status=draw(st.sampled_from([AmphoraStatus.PENDING_CREATE, AmphoraStatus.ALLOCATED, *AmphoraStatus])),
        ports=known,
        created_at=created_at,
        last_heartbeat_at=draw(st.none() | st.just(NOW)),
    )
    if draw(st.booleans()):
        generation = draw(st.integers(0, cosmos.tree.load_balancer.generation))
        # Only one that has taken over is confirmed, and only such a one has the VIPs.
        has_vips = row.status == AmphoraStatus.ALLOCATED
        right = decide_sandbox_spec(cosmos.tree, row, NETWORKS, LIMITS, with_vips=has_vips).digest()
        cosmos.boxes[host, amphora_id] = Box(
            sandbox_digest=draw(st.sampled_from(["other", right])),
            has_vips=has_vips,
            networks=tuple(port.network_id for port in known),
            generation=generation,
            configuration_digest=draw(st.sampled_from(["", "other", cosmos.wanted_digest(amphora_id)])),
        )


def _any_networks(draw: st.DrawFn, tree: Tree) -> list[tuple[str, tuple[str, ...]]]:
    wanted = dict(list_wanted_networks(tree, NETWORKS))
    surplus: dict[str, tuple[str, ...]] = {"network-far": ("subnet-far",), "network-unused": ()}
    return [place for place in {**surplus, **wanted}.items() if draw(st.booleans())]


@st.composite
def troubles(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What happens before each of the first passes: hosts fall silent, edits, failovers, a delete arrive."""
    return [
        {
            "silent": draw(st.sets(st.sampled_from(HOSTS))),
            "watched": draw(st.booleans()),
            "edit": draw(st.none() | st.none() | wanted_trees(0)),
            "fail_over": draw(st.sampled_from(["", "", "all", "one"])),
            "topology": draw(st.none() | st.none() | st.sampled_from(Topology)),
            "delete": draw(st.integers(0, 9)) == 0,
        }
        for _ in range(draw(st.integers(0, 4)))
    ]


@settings(max_examples=250, deadline=None, suppress_health_check=SLOW)
@given(cosmoses(), troubles(), st.integers(0, 3))
def test_plans_reach_their_goal(cosmos: Cosmos, happenings: list[dict[str, Any]], deletes: int):
    none: dict[str, Any] = {"silent": (), "watched": False, "edit": None, "fail_over": "", "topology": None}
    last = {**none, "delete": deletes == 0}
    for happening in [*happenings, last]:
        cosmos.silent_hosts, cosmos.is_watched = happening["silent"], happening["watched"]
        if happening["fail_over"]:
            _fail_over(cosmos, [*cosmos.rows][: 1 if happening["fail_over"] == "one" else None])
        if happening["edit"] is not None:
            _edit(cosmos, happening["edit"])
        if happening["topology"] is not None:
            _change_topology(cosmos, happening["topology"])
        if happening["delete"]:
            _delete(cosmos)
        if cosmos.exists:
            cosmos.run_pass()
    _converge(cosmos)
    event("deleted" if not cosmos.exists else "settled")


def _edit(cosmos: Cosmos, tree: Tree) -> None:
    # An edit never changes VIPs; a change of topology is an edit of its own.
    old = cosmos.tree.load_balancer
    balancer = msgspec.structs.replace(
        old, admin_state_up=tree.load_balancer.admin_state_up, generation=old.generation + 1
    )
    cosmos.tree = msgspec.structs.replace(tree, load_balancer=balancer)


def _change_topology(cosmos: Cosmos, topology: Topology) -> None:
    old = cosmos.tree.load_balancer
    balancer = msgspec.structs.replace(old, topology=topology, generation=old.generation + 1)
    cosmos.tree = msgspec.structs.replace(cosmos.tree, load_balancer=balancer)


def _fail_over(cosmos: Cosmos, amphora_ids: list[str]) -> None:
    old = cosmos.tree.load_balancer
    wanted = tuple(dict.fromkeys((*old.amphorae_to_replace, *amphora_ids)))
    balancer = msgspec.structs.replace(old, amphorae_to_replace=wanted, generation=old.generation + 1)
    cosmos.tree = msgspec.structs.replace(cosmos.tree, load_balancer=balancer)


def _delete(cosmos: Cosmos) -> None:
    old = cosmos.tree.load_balancer
    balancer = msgspec.structs.replace(old, deleting=True, generation=old.generation + 1)
    cosmos.tree = msgspec.structs.replace(cosmos.tree, load_balancer=balancer)


def _converge(cosmos: Cosmos) -> None:
    """Run passes in a world that answers, until there is nothing to do."""
    cosmos.silent_hosts = ()
    passes = 0
    told: list[str] = []
    while cosmos.exists:
        failing = bool(cosmos.steps_fail)
        plan = cosmos.run_pass()
        told.append(plan.sentence())
        assert not isinstance(plan.last, Wait), told
        if not failing and not plan.actions and isinstance(plan.last, Settle):
            break
        passes = 0 if failing else passes + 1
        assert passes < MOST_PASSES, told
    cosmos.check_converged()
    if cosmos.exists:
        assert [type(step) for step in decide_plan(cosmos.observe()).steps] == [Settle]


@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
@given(cosmoses())
def test_a_plan_is_the_same_for_the_same_world_and_tells_its_steps(cosmos: Cosmos):
    world = cosmos.observe()
    plan = decide_plan(world)
    assert plan == decide_plan(world)
    assert all(step.sentence.endswith((".", ")", "answers")) for step in plan.steps)


@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
@given(cosmoses())
def test_while_no_host_answers_nothing_outside_is_touched(cosmos: Cosmos):
    cosmos.steps_fail = []
    cosmos.silent_hosts = HOSTS
    boxes, ports = dict(cosmos.boxes), dict(cosmos.ports)
    plan = cosmos.run_pass()
    assert isinstance(plan.last, Wait)
    assert plan.last.reason.sentence
    assert (cosmos.boxes, cosmos.ports) == (boxes, ports)


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(wanted_trees(5), st.sampled_from(["", "before", "after"]), st.integers(0, 12))
def test_a_failover_makes_before_it_breaks_wherever_it_is_cut_off(tree: Tree, fails: str, at: int):
    cosmos = Cosmos(tree, dict.fromkeys(HOSTS, 10), [])
    cosmos.run_pass()
    old = set(cosmos.rows)
    cosmos.steps_fail = [""] * at + [fails]
    _fail_over(cosmos, [*old])
    # Each pass checks after each step that nobody is left without service.
    _converge(cosmos)
    assert old.isdisjoint(cosmos.rows)


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(wanted_trees(5), st.sampled_from(["", "before", "after"]), st.integers(0, 20))
def test_a_change_of_topology_makes_before_it_breaks_wherever_it_is_cut_off(tree: Tree, fails: str, at: int):
    cosmos = Cosmos(tree, dict.fromkeys(HOSTS, 10), [])
    cosmos.run_pass()
    old = set(cosmos.rows)
    cosmos.steps_fail = [""] * at + [fails]
    [other] = set(Topology) - {tree.load_balancer.topology}
    _change_topology(cosmos, other)
    _converge(cosmos)
    assert old.isdisjoint(cosmos.rows)


@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
@given(wanted_trees(5), st.booleans())
def test_a_first_build_takes_one_pass_and_so_does_a_delete(tree: Tree, owns_vip_port: bool):
    balancer = msgspec.structs.replace(tree.load_balancer, owns_vip_port=owns_vip_port)
    cosmos = Cosmos(msgspec.structs.replace(tree, load_balancer=balancer), dict.fromkeys(HOSTS, 10), [])
    assert isinstance(cosmos.run_pass().last, Settle)
    cosmos.check_converged()
    if len(ROLES[balancer.topology]) > 1:
        assert len({row.host for row in cosmos.rows.values()}) == len(cosmos.rows), "each on a host of its own"
    _delete(cosmos)
    cosmos.vip_held = owns_vip_port
    assert isinstance(cosmos.run_pass().last, DropLoadBalancer)
    cosmos.check_converged()
