"""Networks named in the configuration: bridges or macvlan parents on the hosts, addresses kept in an address book.

The driver never touches an interface; agents do that from the sandbox spec. It answers who has which address.
"""

import ipaddress
from collections.abc import Collection, Sequence

from statera.base.errors import Refusal, Refused
from statera.base.ids import derive_id, is_uuid
from statera.base.settings import BadSettings, NetworkSettings, SubnetSettings
from statera.model.addressing import AddressBook, AddressWanted
from statera.model.network import Attachment, Network, Port, Subnet, VipRequest, derive_mac_address

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class LocalNetwork:
    """`NetworkDriver` over fixed networks and an address book."""

    def __init__(self, networks: Sequence[Network], addresses: AddressBook) -> None:
        self._networks = tuple(networks)
        self._addresses = addresses
        self._subnets = {subnet.id: subnet for network in networks for subnet in network.subnets}
        self._host_addresses = {
            network.id: {ipaddress.ip_interface(text).ip for text in network.attachment.host_addresses}
            for network in networks
        }

    async def observe_networks(
        self, network_ids: Collection[str] = (), subnet_ids: Collection[str] = ()
    ) -> tuple[Network, ...]:
        return self._networks

    async def observe_subnet(self, subnet_id: str) -> Subnet | None:
        return self._subnets.get(subnet_id)

    async def observe_port(self, port_id: str) -> Port | None:
        return await self._addresses.load_port(port_id)

    async def observe_ports(self) -> tuple[Port, ...]:
        return tuple(record.port for record in await self._addresses.list_ports())

    async def observe_old_ports(self, older_than_s: float) -> tuple[Port, ...]:
        return tuple(record.port for record in await self._addresses.list_ports(older_than_s=older_than_s))

    async def ensure_vip(self, request: VipRequest) -> Port:
        if request.port_id is not None:
            raise Refused(Refusal.UNSUPPORTED, "The local network driver makes the VIP's port itself.")
        wanted = [self._wanted(subnet_id, address) for subnet_id, address in request.addresses]
        return await self._ensure(request.load_balancer_id, request.network_id, "octavia-lb-", wanted)

    async def ensure_amphora_port(self, amphora_id: str, network_id: str, subnet_ids: Sequence[str]) -> Port:
        wanted = [self._wanted(subnet_id, None) for subnet_id in subnet_ids]
        return await self._ensure(amphora_id, network_id, "octavia-amphora-", wanted)

    async def remove_ports(self, device_id: str, *, keep: Sequence[str] = ()) -> None:
        await self._addresses.remove_ports(device_id, keep)

    async def _ensure(self, device_id: str, network_id: str, prefix: str, wanted: Sequence[AddressWanted]) -> Port:
        mac = derive_mac_address(device_id, network_id)
        return await self._addresses.ensure_port(device_id, network_id, f"{prefix}{device_id}", mac, wanted)

    def _find_subnet(self, subnet_id: str) -> Subnet | None:
        return self._subnets.get(subnet_id)

    def _wanted(self, subnet_id: str, address: str | None) -> AddressWanted:
        subnet = self._find_subnet(subnet_id)
        if subnet is None:
            raise Refused(Refusal.INVALID, f"Subnet {subnet_id} not found.")
        if address is not None and not subnet.contains(address):
            raise Refused(Refusal.INVALID, f"Address {address} is not in subnet {subnet_id} ({subnet.cidr}).")
        if address is not None:
            self._check_for_nobody_else(subnet, address)
        excluded = (subnet.gateway_ip,) if subnet.gateway_ip else ()
        return AddressWanted(subnet_id=subnet_id, address=address, ranges=subnet.allocation_pools, excluded=excluded)

    def _check_for_nobody_else(self, subnet: Subnet, text: str) -> None:
        """Refuse what a load balancer would take from the network itself: a VIP there cuts off everybody else."""
        net, address = ipaddress.ip_network(subnet.cidr), ipaddress.ip_address(text)
        if net.num_addresses > 2 and (address == net[0] or (net.version == 4 and address == net[-1])):
            sentence = f"IP address {text} is not a valid IP for the specified subnet: it stands for all of {net}."
            raise Refused(Refusal.INVALID, sentence)
        if str(address) == subnet.gateway_ip or address in self._host_addresses.get(subnet.network_id, ()):
            sentence = (
                f"The VIP IP address is already in use: {text} in subnet {subnet.id} is the gateway's or a host's."
            )
            raise Refused(Refusal.CONFLICT, sentence, slug="vip-address-in-use")


def networks_from_settings(settings: Sequence[NetworkSettings]) -> tuple[Network, ...]:
    """Turn configured networks into `Network`s. Raises `BadSettings` naming the option."""
    networks = tuple(_network(network, f"networks[{number}]") for number, network in enumerate(settings))
    # Ids that are derived from names are the same when these are: then the name is what is wrong.
    _check_unique([network.id for network in settings if network.id], "networks[].id")
    _check_unique([network.name for network in networks], "networks[].name")
    _check_unique([network.id for network in networks], "networks[].id")
    _check_unique([subnet.id for network in networks for subnet in network.subnets], "networks[].subnets[].id")
    return networks


def _check_unique(values: Sequence[str], option: str) -> None:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise BadSettings(f"Option {option} has {twice[0]} twice.")


def _network(settings: NetworkSettings, option: str) -> Network:
    network_id = _id(settings.id, option, "network", settings.name)
    taken = [_interface(text, f"{option}.host_addresses").ip for text in settings.host_addresses]
    subnets = tuple(
        _subnet(subnet, network_id, taken, f"{option}.subnets[{number}]")
        for number, subnet in enumerate(settings.subnets)
    )
    attachment = Attachment(
        kind=settings.kind,
        device=settings.device,
        create=settings.create,
        host_addresses=settings.host_addresses,
    )
    return Network(id=network_id, name=settings.name, mtu=settings.mtu, attachment=attachment, subnets=subnets)


def _id(given: str, option: str, *parts: str) -> str:
    if not given:
        return derive_id(*parts)
    if not is_uuid(given):
        raise BadSettings(f"Option {option}.id is not a UUID: {given}.")
    return given


def _interface(text: str, option: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        return ipaddress.ip_interface(text)
    except ValueError as error:
        raise BadSettings(f"Option {option} is not an address with prefix length: {text}.") from error


def _subnet(settings: SubnetSettings, network_id: str, taken: Sequence[IPAddress], option: str) -> Subnet:
    try:
        net = ipaddress.ip_network(settings.cidr)
    except ValueError as error:
        raise BadSettings(f"Option {option}.cidr is wrong: {error}.") from error
    gateway = _address_in(settings.gateway, net, f"{option}.gateway") if settings.gateway else None
    if settings.allocation:
        ranges = [_range(text, net, f"{option}.allocation") for text in settings.allocation]
    else:
        ranges = _whole_range(net, {address for address in (gateway, *taken) if address is not None})
    return Subnet(
        id=_id(settings.id, option, "subnet", network_id, settings.name),
        name=settings.name,
        network_id=network_id,
        cidr=str(net),
        gateway_ip=str(gateway) if gateway else None,
        allocation_pools=tuple((str(first), str(last)) for first, last in ranges),
    )


def _address_in(text: str, net: ipaddress.IPv4Network | ipaddress.IPv6Network, option: str) -> IPAddress:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise BadSettings(f"Option {option} is not an address: {text}.") from error
    if address not in net:
        raise BadSettings(f"Option {option} {address} is not in {net}.")
    return address


def _range(text: str, net: ipaddress.IPv4Network | ipaddress.IPv6Network, option: str) -> tuple[IPAddress, IPAddress]:
    first, dash, last = text.partition("-")
    if not dash:
        raise BadSettings(f"Option {option} is not `first-last`: {text}.")
    low, high = _address_in(first.strip(), net, option), _address_in(last.strip(), net, option)
    if int(low) > int(high):
        raise BadSettings(f"Option {option} ends before it begins: {text}.")
    return low, high


def _whole_range(
    net: ipaddress.IPv4Network | ipaddress.IPv6Network, taken: set[IPAddress]
) -> list[tuple[IPAddress, IPAddress]]:
    """Return the subnet without its ends (network and broadcast) and the taken addresses, as ranges."""
    first, last = (net[1], net[-2]) if net.num_addresses > 2 else (net[0], net[-1])
    ranges: list[tuple[IPAddress, IPAddress]] = []
    for address in sorted(address for address in taken if int(first) <= int(address) <= int(last)):
        if int(first) < int(address):
            ranges.append((first, address - 1))
        first = address + 1
    if int(first) <= int(last):
        ranges.append((first, last))
    return ranges
