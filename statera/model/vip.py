"""Where a load balancer's VIPs go: decided from the request and the networks, before anything is allocated.

Entry: `decide_vip`. One of port, network and subnet decides, in this order of rank; the others refine it
(rules.md section 10).
"""

from collections.abc import Sequence

import msgspec

from statera.base.errors import Refusal, Refused
from statera.model.network import Network, Port, Subnet, VipRequest
from statera.model.tree import Vip


class AdditionalVip(msgspec.Struct, frozen=True, kw_only=True):
    subnet_id: str
    address: str | None = None


class VipWish(msgspec.Struct, frozen=True, kw_only=True):
    """The VIP attributes of a create request, as far as they were given."""

    port_id: str | None = None
    network_id: str | None = None
    subnet_id: str | None = None
    address: str | None = None
    additional: tuple[AdditionalVip, ...] = ()


def decide_vip(
    wish: VipWish, networks: Sequence[Network], port: Port | None, load_balancer_id: str
) -> tuple[VipRequest, ...]:
    """Return what to ask of the network driver; with several, the next one when a subnet has no address left.

    `port` is the one that `wish.port_id` names, None when there is none. Raises `Refused` (INVALID).
    """
    if wish.port_id is None and wish.network_id is None and wish.subnet_id is None:
        raise _invalid("VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id.")
    if wish.port_id is not None:
        network, subnets, address = _by_port(wish, networks, port)
    elif wish.network_id is not None:
        network, subnets, address = _by_network(wish, networks)
    else:
        network, subnets, address = _by_subnet(wish, networks)
    _check_additional(wish, network)
    more = tuple((vip.subnet_id, vip.address) for vip in wish.additional)
    used = {vip.subnet_id for vip in wish.additional}
    subnets = [subnet for subnet in subnets if subnet.id not in used]
    if not subnets:
        raise _invalid("Duplicate VIP subnet(s) specified. Only one IP can be bound per subnet.")
    return tuple(
        VipRequest(
            load_balancer_id=load_balancer_id,
            network_id=network.id,
            addresses=((subnet.id, address), *more),
            port_id=wish.port_id,
        )
        for subnet in subnets
    )


def build_vips(request: VipRequest, port: Port) -> tuple[Vip, ...]:
    """Return the VIPs that the driver allocated, the primary first."""
    by_subnet = {place.subnet_id: place.address for place in port.addresses}
    return tuple(
        Vip(address=by_subnet[subnet_id], subnet_id=subnet_id, network_id=port.network_id, port_id=port.id)
        for subnet_id, _wanted in request.addresses
    )


_Route = tuple[Network, list[Subnet], str | None]


def _by_port(wish: VipWish, networks: Sequence[Network], port: Port | None) -> _Route:
    if port is None:
        raise Refused(Refusal.INVALID, f"Port {wish.port_id} not found.")
    if port.device_id:
        raise _invalid(f"Port {port.id} is already used by device {port.device_id} ")
    network = _find_network(networks, port.network_id)
    places = list(port.addresses)
    if wish.subnet_id is not None:
        places = [place for place in places if place.subnet_id == wish.subnet_id]
        if not places:
            raise _invalid("No VIP address found on the specified VIP port within the specified subnet.")
    elif wish.address is not None:
        places = [place for place in places if place.address == wish.address]
        if not places:
            raise _invalid("Specified VIP address not found on the specified VIP port.")
    elif len(places) != 1:
        raise _invalid("VIP port's subnet could not be determined. Please specify either a VIP subnet or address.")
    subnet = network.find_subnet(places[0].subnet_id)
    if subnet is None:
        raise Refused(Refusal.INVALID, f"Subnet {places[0].subnet_id} not found.")
    return network, [subnet], places[0].address


def _by_network(wish: VipWish, networks: Sequence[Network]) -> _Route:
    network = _find_network(networks, wish.network_id or "")
    if wish.address is not None and wish.subnet_id is None:
        fitting = [subnet for subnet in network.subnets if subnet.contains(wish.address)]
        if not fitting:
            raise _invalid("Supplied network does not contain a subnet for VIP address specified.")
        return network, fitting[:1], wish.address
    if wish.subnet_id is not None:
        subnet = network.find_subnet(wish.subnet_id)
        if subnet is None:
            raise _invalid("Supplied network does not contain a subnet.")
        return network, [subnet], _check_inside(subnet, wish.address)
    if not network.subnets:
        raise _invalid("Supplied network does not contain a subnet.")
    # IPv4 first; the order is otherwise the network's own.
    return network, sorted(network.subnets, key=lambda subnet: subnet.ip_version), None


def _by_subnet(wish: VipWish, networks: Sequence[Network]) -> _Route:
    for network in networks:
        subnet = network.find_subnet(wish.subnet_id or "")
        if subnet is not None:
            return network, [subnet], _check_inside(subnet, wish.address)
    raise Refused(Refusal.INVALID, f"Subnet {wish.subnet_id} not found.")


def _check_inside(subnet: Subnet, address: str | None) -> str | None:
    if address is not None and not subnet.contains(address):
        raise _invalid("Supplied network does not contain a subnet for VIP address specified.")
    return address


def _check_additional(wish: VipWish, network: Network) -> None:
    seen = {wish.subnet_id} if wish.subnet_id is not None else set()
    for vip in wish.additional:
        if vip.subnet_id in seen:
            raise _invalid("Duplicate VIP subnet(s) specified. Only one IP can be bound per subnet.")
        seen.add(vip.subnet_id)
        subnet = network.find_subnet(vip.subnet_id)
        if subnet is None:
            raise _invalid("All VIP subnets must belong to the same network.")
        _check_inside(subnet, vip.address)


def _find_network(networks: Sequence[Network], network_id: str) -> Network:
    found = next((network for network in networks if network.id == network_id), None)
    if found is None:
        raise Refused(Refusal.INVALID, f"Network {network_id} not found.")
    return found


def _invalid(detail: str) -> Refused:
    return Refused(Refusal.INVALID, f"Validation failure: {detail}")
