"""Who has the VIPs, by what stands in the sandboxes."""

from collections.abc import Iterable

from statera.drivers.compute_noop import NoopSandbox
from tests.simulation.outside import SimHost


def list_holders(hosts: Iterable[SimHost]) -> dict[str, list[NoopSandbox]]:
    """Return the sandboxes that carry VIPs, by load balancer."""
    holders: dict[str, list[NoopSandbox]] = {}
    for host in hosts:
        for box in host.sandboxes.values():
            if list_vips(box):
                holders.setdefault(box.spec.load_balancer_id, []).append(box)
    return holders


def list_vips(box: NoopSandbox) -> list[str]:
    return [vip for interface in box.spec.interfaces for vip in interface.vips]


def list_owners(boxes: Iterable[NoopSandbox]) -> list[set[str]]:
    """Return who would answer for the VIPs of a load balancer: one that has them for itself, or all who share them.

    Those share who send their adverts to each other: of them one has the VIPs. Whoever is not heard takes them too.
    """
    owners: list[set[str]] = []
    sharing: list[NoopSandbox] = []
    for box in boxes:
        if box.spec.vrrp is None:
            owners.append({box.spec.amphora_id})
        else:
            sharing.append(box)
    while sharing:
        circle = [sharing.pop()]
        for box in circle:
            heard = [other for other in sharing if _hear_each_other(box, other)]
            circle += heard
            sharing = [other for other in sharing if other not in heard]
        owners.append({box.spec.amphora_id for box in circle})
    return owners


def _hear_each_other(one: NoopSandbox, other: NoopSandbox) -> bool:
    return _names(one, other) and _names(other, one)


def _names(one: NoopSandbox, other: NoopSandbox) -> bool:
    """Say whether the adverts of one go to the other."""
    assert one.spec.vrrp is not None
    addresses = {text.partition("/")[0] for interface in other.spec.interfaces for text in interface.addresses}
    return not addresses.isdisjoint(one.spec.vrrp.peers)


def find_speakers(hosts: Iterable[SimHost]) -> set[str]:
    """Return the amphorae that have VIPs which they share: of those that hear each other the one that goes before."""
    speakers = set()
    for boxes in list_holders(host for host in hosts if not host.is_cut_off).values():
        ranks = {box.spec.amphora_id: (box.spec.vrrp.priority, box.spec.amphora_id) for box in boxes if box.spec.vrrp}
        speakers |= {max(circle, key=lambda one: ranks[one]) for circle in list_owners(boxes) if circle <= ranks.keys()}
    return speakers
