"""How many spares each host should have."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from statera.model.amphora import Host, Spare
from statera.model.network import Attachment, Network, derive_mac_address
from statera.model.spec import LimitsSpec
from statera.plan.spares import SpareMoves, choose_home, decide_spare_sandbox, decide_spares


def spare(name: str, host: str = "one", **values: Any) -> Spare:
    return Spare(id=name, host=host, **{"is_ready": True, **values})


def decide(*spares: Spare, per_host: int = 2, **host: Any) -> SpareMoves:
    one = Host(**{"name": "one", "reachable": True, **host})
    return decide_spares([one], spares, {"one": len(spares)}, per_host=per_host)


def test_what_is_missing_is_added() -> None:
    assert decide() == SpareMoves(add=("one", "one"))
    assert decide(spare("a")) == SpareMoves(add=("one",))
    assert decide(spare("a"), spare("b")) == SpareMoves()


def test_what_is_too_many_goes_the_ready_ones_stay() -> None:
    unready, ready = spare("a", is_ready=False), spare("b")
    assert decide(unready, ready, per_host=1) == SpareMoves(remove=(unready,))
    assert decide(ready, per_host=0) == SpareMoves(remove=(ready,))


def test_what_was_cut_off_is_taken_up() -> None:
    unready, condemned = spare("a", is_ready=False), spare("b", is_condemned=True)
    assert decide(unready, condemned) == SpareMoves(build=(unready,), add=("one",), remove=(condemned,))


def test_hosts_that_are_drained_or_gone_keep_none() -> None:
    there, elsewhere = spare("a"), spare("b", host="gone")
    assert decide(there, draining=True) == SpareMoves(remove=(there,))
    assert decide(there, elsewhere, per_host=1) == SpareMoves(remove=(elsewhere,))


def test_a_silent_host_is_left_alone() -> None:
    assert decide(spare("a"), reachable=False) == SpareMoves()


def test_the_last_room_of_a_host_is_nobodys_spare() -> None:
    assert decide(amphora_count=8, amphora_limit=10) == SpareMoves(add=("one",))
    assert decide(amphora_count=9, amphora_limit=10) == SpareMoves()


names = st.sampled_from(["one", "two", "gone"])
spares = st.lists(
    st.builds(Spare, id=st.uuids().map(str), host=names, is_ready=st.booleans(), is_condemned=st.booleans()),
    max_size=8,
    unique_by=lambda one: one.id,
)
hosts = st.lists(
    st.builds(
        Host,
        name=st.sampled_from(["one", "two"]),
        reachable=st.booleans(),
        draining=st.booleans(),
        amphora_limit=st.integers(0, 9),
    ),
    unique_by=lambda one: one.name,
)


@given(hosts, spares, st.integers(0, 4))
def test_the_pool_comes_to_rest(hosts: list[Host], pool: list[Spare], per_host: int) -> None:
    """What goes makes room for what comes: the second time nothing goes any more, the third time nothing is done."""
    for turn in range(3):
        placed = {host.name: sum(one.host == host.name for one in pool) for host in hosts}
        moves = decide_spares(hosts, pool, placed, per_host=per_host)
        assert turn < 1 or not moves.remove
        assert turn < 2 or moves == SpareMoves()
        kept = [one for one in pool if one not in moves.remove]
        built = [Spare(id=one.id, host=one.host, is_ready=one.is_ready or one in moves.build) for one in kept]
        pool = [
            *built,
            *(Spare(id=f"{turn}-{number}", host=host, is_ready=True) for number, host in enumerate(moves.add)),
        ]


ATTACHMENT = Attachment(kind="bridge", device="br")
FIRST, SECOND = (Network(id=name, name=f"net-{name}", attachment=ATTACHMENT) for name in ("one", "two"))
LIMITS = LimitsSpec(memory_mib=64, file_descriptors=256, cpu_percent=0, max_connections=10)


def test_a_spare_has_its_link_under_the_mac_that_its_port_will_have() -> None:
    spec = decide_spare_sandbox("spare", choose_home((FIRST, SECOND), ""), LIMITS)
    [link] = spec.interfaces
    assert (link.name, link.network_id, link.addresses, link.vips) == ("eth0", "one", (), ())
    assert link.mac_address == derive_mac_address("spare", "one")
    assert (spec.load_balancer_id, spec.limits) == ("", LIMITS)


def test_the_network_of_spares_is_the_one_that_is_named() -> None:
    assert choose_home((FIRST, SECOND), "net-two") == SECOND
    assert choose_home((FIRST, SECOND), "net-three") is None
    assert decide_spare_sandbox("spare", None, LIMITS).interfaces == ()
