"""What is collected was unknown all the time, and nothing that the database knows is ever collected."""

import datetime as dt

from hypothesis import given, settings
from hypothesis import strategies as st

from statera.model.amphora import AmphoraObserved
from statera.model.network import Port
from statera.plan.orphans import OrphanPorts, OrphanSandbox, Sweep, decide_orphans
from tests.property.trees import NOW

GRACE_S = 120.0
names = st.sampled_from(["a", "b", "c", "d", "e"])
moments = st.integers(0, 600).map(lambda ago: NOW - dt.timedelta(seconds=ago))


def box(amphora_id: str, deployment_id: str = "") -> AmphoraObserved:
    return AmphoraObserved(
        id=amphora_id,
        deployment_id=deployment_id,
        load_balancer_id="balancer",
        epoch=7,
        generation=1,
        sandbox_digest="",
        configuration_digest="",
        haproxy_running=True,
    )


def port(device_id: str) -> Port:
    return Port(
        id=f"port-{device_id}",
        network_id="n",
        name="",
        device_id=device_id,
        mac_address="02:00:00:00:00:01",
        addresses=(),
    )


boxes = st.dictionaries(st.sampled_from(["one", "two"]), st.lists(names.map(box), unique_by=lambda box: box.id))
ports = st.lists((names | st.just("")).map(port))


def collected_ids(sweep: Sweep) -> set[str]:
    return {o.amphora_id if isinstance(o, OrphanSandbox) else o.device_id for o in sweep.collect}


@settings(max_examples=300, deadline=None)
@given(st.sets(names), boxes, ports, st.dictionaries(names, moments))
def test_only_what_was_unknown_for_long_is_collected(
    known: set[str],
    sandboxes: dict[str, list[AmphoraObserved]],
    seen_ports: list[Port],
    unknown_since: dict[str, dt.datetime],
):
    sweep = decide_orphans(known, sandboxes, seen_ports, unknown_since, now=NOW, grace_s=GRACE_S)
    built = {box.id for boxes in sandboxes.values() for box in boxes}
    seen = built | {port.device_id for port in seen_ports} - {""}
    assert set(sweep.unknown_since) == seen - known
    for one in collected_ids(sweep):
        assert one not in known
        assert one != ""
        assert (NOW - unknown_since[one]).total_seconds() >= GRACE_S
    assert collected_ids(sweep) >= {
        one for one in seen - known if one in unknown_since and (NOW - unknown_since[one]).total_seconds() >= GRACE_S
    }
    assert built.isdisjoint(o.device_id for o in sweep.collect if isinstance(o, OrphanPorts))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sets(names), boxes, ports), min_size=1, max_size=6))
def test_sweep_after_sweep(rounds: list[tuple[set[str], dict[str, list[AmphoraObserved]], list[Port]]]):
    """A minute lies between two sweeps: collecting takes three in a row in which nobody knew the id."""
    since: dict[str, dt.datetime] = {}
    streak: dict[str, int] = {}
    for number, (known, sandboxes, seen_ports) in enumerate(rounds):
        now = NOW + dt.timedelta(minutes=number)
        sweep = decide_orphans(known, sandboxes, seen_ports, since, now=now, grace_s=GRACE_S)
        since = sweep.unknown_since
        streak = {one: streak.get(one, 0) + 1 for one in since}
        assert collected_ids(sweep) == {one for one, times in streak.items() if times >= 3}


@settings(max_examples=200, deadline=None)
@given(st.sets(names), boxes, ports, st.dictionaries(names, moments), st.sets(names))
def test_what_others_made_is_counted_and_never_collected(
    known: set[str],
    sandboxes: dict[str, list[AmphoraObserved]],
    seen_ports: list[Port],
    unknown_since: dict[str, dt.datetime],
    theirs: set[str],
):
    told = {
        host: [box(one.id, "theirs" if one.id in theirs else "ours") for one in boxes]
        for host, boxes in sandboxes.items()
    }
    sweep = decide_orphans(known, told, seen_ports, unknown_since, now=NOW, grace_s=GRACE_S, deployment_id="ours")
    built = {one.id for boxes in told.values() for one in boxes}
    assert collected_ids(sweep).isdisjoint(built & theirs)
    assert sweep.foreign == sum(one.id in theirs for boxes in told.values() for one in boxes)
