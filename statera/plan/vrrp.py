"""Who shares the VIPs with whom: the part of each amphora of a load balancer, from its rows alone."""

from collections.abc import Sequence

from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus
from statera.model.spec import PeersSpec
from statera.model.tree import LoadBalancer
from statera.model.vrrp import ADVERT_MS, PRIORITIES, SINGLE_PRIORITY, TAKING_PRIORITY, VrrpSpec
from statera.plan.seats import ROLES

_GOING = (AmphoraStatus.PENDING_DELETE, AmphoraStatus.ERROR)


def decide_vrrp(balancer: LoadBalancer, amphora: Amphora, others: Sequence[Amphora]) -> VrrpSpec | None:
    """Return how an amphora shares the VIPs, None for one that has them for itself.

    `others` are all other rows of the load balancer. Those that are to go take part until they are gone: each must hear
    each other, or two would take the VIPs. So does a single one beside a pair, as long as both are there.
    """
    rows = (amphora, *others)
    if all(row.role not in PRIORITIES for row in rows):
        return None
    staying = [row for row in rows if not is_going(balancer, row)]
    first = min(staying, key=lambda row: (row.created_at, row.id), default=None)
    # Only one takes the VIPs from those that go, so that they move once.
    preempts = first is amphora and any(is_going(balancer, row) for row in others)
    return VrrpSpec(
        priority=TAKING_PRIORITY if preempts else PRIORITIES.get(amphora.role, SINGLE_PRIORITY),
        preempts=preempts,
        advert_ms=ADVERT_MS,
        peers=list_home_addresses(balancer, others),
    )


def decide_handover(balancer: LoadBalancer, amphora: Amphora, others: Sequence[Amphora]) -> tuple[str, ...]:
    """Return the addresses of those that give the VIPs up to an amphora, none for one that is to go itself."""
    if is_going(balancer, amphora):
        return ()
    return list_home_addresses(balancer, [row for row in others if is_going(balancer, row)])


def decide_peers(balancer: LoadBalancer, amphora_id: str, rows: Sequence[Amphora]) -> PeersSpec | None:
    """Return who shares the tables of clients and members: those that share the VIPs, and those they come from."""
    places = {row.id: found[0] for row in rows if (found := list_home_addresses(balancer, [row]))}
    own = places.pop(amphora_id, None)
    if own is None or not places or all(row.role not in PRIORITIES for row in rows):
        return None
    return PeersSpec(address=own, others=dict(sorted(places.items())))


def is_going(balancer: LoadBalancer, row: Amphora) -> bool:
    """Say whether an amphora is to go: also one whose role the topology does not have any more."""
    is_asked = row.id in balancer.amphorae_to_replace or row.role not in ROLES[balancer.topology]
    return is_asked or row.status in _GOING


def list_home_addresses(balancer: LoadBalancer, rows: Sequence[Amphora]) -> tuple[str, ...]:
    """Return the addresses of amphorae on the VIP network, sorted."""
    ports = [port for row in rows for port in row.ports if port.network_id == balancer.vip.network_id]
    return tuple(sorted(place.address for port in ports for place in port.addresses))
