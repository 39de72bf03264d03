"""Networks without an outside: any id is taken for the network, subnet or port that a request says it is.

For conformance runs of the API and developers of clients. Configured networks are as they are configured; every other
one is made up from the ids that are asked for, the same each time and in every process. Addresses come from the address
book, so that each VIP is one of its own; an address that a request gives is never refused.
"""

from collections.abc import Collection, Sequence

import msgspec

from statera.base.errors import Refused
from statera.base.ids import derive_id, is_uuid
from statera.drivers.network_local import LocalNetwork
from statera.model.network import Attachment, Network, Port, PortAddress, Subnet, VipRequest, derive_mac_address

CIDR = "198.18.0.0/15"
"""Reserved for benchmarks (RFC 2544). The blocks for documentation hold 254 addresses each, too few for a load test."""
ALLOCATION = (("198.18.0.1", "198.19.255.254"),)
ATTACHMENT = Attachment(kind="bridge", device="noop")


class NoopSubnet(Subnet, frozen=True, kw_only=True):
    """A made-up subnet: any address is in it."""

    def contains(self, address: str) -> bool:
        return True


class NoopNetwork(LocalNetwork):
    """`NetworkDriver` over an address book, with every network that anybody asks for."""

    async def observe_networks(
        self, network_ids: Collection[str] = (), subnet_ids: Collection[str] = ()
    ) -> tuple[Network, ...]:
        """Return the configured networks, and one for the made-up ids: all those subnets are in the first network."""
        strange_subnets = [one for one in subnet_ids if is_uuid(one) and one not in self._subnets]
        known = {network.id: network for network in self._networks}
        asked = [one for one in network_ids if is_uuid(one)]
        asked = asked or [derive_id("noop network of", one) for one in strange_subnets[:1]]
        made = {one: known.get(one) or make_network(one) for one in asked}
        if asked and strange_subnets:
            made[asked[0]] = _with_subnets(made[asked[0]], strange_subnets)
        return tuple((known | made).values())

    async def observe_subnet(self, subnet_id: str) -> Subnet | None:
        return self._find_subnet(subnet_id)

    async def observe_port(self, port_id: str) -> Port | None:
        found = await super().observe_port(port_id)
        return found or (make_port(port_id) if is_uuid(port_id) else None)

    async def ensure_vip(self, request: VipRequest) -> Port:
        if request.port_id is not None:
            return make_port(request.port_id)
        try:
            return await super().ensure_vip(request)
        except Refused as error:
            if error.reason.slug != "vip-address-in-use":
                raise
        free = tuple((subnet_id, None) for subnet_id, address in request.addresses if address is None)
        port = await super().ensure_vip(
            VipRequest(load_balancer_id=request.load_balancer_id, network_id=request.network_id, addresses=free)
        )
        chosen = {place.subnet_id: place.address for place in port.addresses}
        return _with_addresses(port, [(one, address or chosen[one]) for one, address in request.addresses])

    def _find_subnet(self, subnet_id: str) -> Subnet | None:
        found = super()._find_subnet(subnet_id)
        if found is not None or not is_uuid(subnet_id):
            return found
        return make_subnet(subnet_id, derive_id("noop network of", subnet_id))


def make_network(network_id: str) -> Network:
    """Return the network of an id, with one subnet of its own."""
    subnet = make_subnet(derive_id("noop subnet of", network_id), network_id)
    return Network(id=network_id, name=f"noop-{network_id}", attachment=ATTACHMENT, subnets=(subnet,))


def make_subnet(subnet_id: str, network_id: str) -> Subnet:
    """Return the subnet of an id, in the network that it is said to be in."""
    return NoopSubnet(
        id=subnet_id, name=f"noop-{subnet_id}", network_id=network_id, cidr=CIDR, allocation_pools=ALLOCATION
    )


def make_port(port_id: str) -> Port:
    """Return the port of an id as a tenant would have made it: used by nobody, with one address."""
    network = make_network(derive_id("noop network of", port_id))
    low = int(port_id.replace("-", "")[-5:], 16) % 0x1FFFE + 1
    address = f"198.{18 + (low >> 16)}.{low >> 8 & 255}.{low & 255}"
    return Port(
        id=port_id,
        network_id=network.id,
        name=f"noop-{port_id}",
        device_id="",
        mac_address=derive_mac_address("", port_id),
        addresses=(PortAddress(subnet_id=network.subnets[0].id, address=address),),
    )


def _with_subnets(network: Network, subnet_ids: Sequence[str]) -> Network:
    known = {subnet.id: subnet for subnet in network.subnets}
    made = {one: known.get(one) or make_subnet(one, network.id) for one in subnet_ids}
    return msgspec.structs.replace(network, subnets=tuple((made | known).values()))


def _with_addresses(port: Port, places: Sequence[tuple[str, str]]) -> Port:
    addresses = tuple(PortAddress(subnet_id=subnet_id, address=address) for subnet_id, address in places)
    return msgspec.structs.replace(port, addresses=addresses)
