"""Networks, subnets and ports, as a network driver shows them."""

import functools
import hashlib
import ipaddress

import msgspec

REMEMBERED = 20_000
"""Addresses of which it is remembered whether a subnet holds them: each pass asks again of each member."""


class Subnet(msgspec.Struct, frozen=True, kw_only=True):
    """`cidr` in canonical text; `allocation_pools` are inclusive (first, last) address pairs."""

    id: str
    name: str
    network_id: str
    cidr: str
    gateway_ip: str | None = None
    allocation_pools: tuple[tuple[str, str], ...] = ()

    @property
    def ip_version(self) -> int:
        return ipaddress.ip_network(self.cidr).version

    def contains(self, address: str) -> bool:
        return _is_in(address, self.cidr)


@functools.lru_cache(maxsize=REMEMBERED)
def _is_in(address: str, cidr: str) -> bool:
    ip, net = ipaddress.ip_address(address), ipaddress.ip_network(cidr)
    return ip.version == net.version and ip in net


class Attachment(msgspec.Struct, frozen=True, kw_only=True):
    """How a host reaches a network: a bridge, or a macvlan on a parent interface, both named on the host."""

    kind: str
    """`bridge` or `macvlan`."""
    device: str
    create: bool = False
    """Bridge only: make it when it is missing, and remove it when the last sandbox and the agent are purged."""
    host_addresses: tuple[str, ...] = ()
    """Addresses with prefix length that the host itself takes on a bridge it creates, such as the gateway's."""


class Network(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    mtu: int = 1500
    attachment: Attachment
    subnets: tuple[Subnet, ...] = ()

    def find_subnet(self, subnet_id: str) -> Subnet | None:
        return next((subnet for subnet in self.subnets if subnet.id == subnet_id), None)


class PortAddress(msgspec.Struct, frozen=True, kw_only=True):
    subnet_id: str
    address: str


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A place on a network. `device_id` is the id of the thing that uses it: a load balancer or an amphora, or "" ."""

    id: str
    network_id: str
    name: str
    device_id: str
    mac_address: str
    addresses: tuple[PortAddress, ...]


class VipRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a load balancer asks of the network: one address in each named subnet; None lets the driver choose it."""

    load_balancer_id: str
    network_id: str
    addresses: tuple[tuple[str, str | None], ...]
    """(subnet id, address or None), the primary VIP first."""
    port_id: str | None = None
    """An existing port that the tenant brings."""


def bracket(address: str) -> str:
    """Return an address as a port may follow it: IPv6 in brackets, as in URLs, or its last group would be the port."""
    return f"[{address}]" if ":" in address else address


def endpoint(address: str, port: int) -> str:
    """Return an address and a port in one word."""
    return f"{bracket(address)}:{port}"


def derive_mac_address(device_id: str, network_id: str) -> str:
    """Return a locally administered unicast MAC that is always the same for a device on a network (IEEE 802)."""
    digest = hashlib.sha256(f"{device_id}/{network_id}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))
