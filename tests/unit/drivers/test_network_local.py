"""Networks from the configuration, and what the driver refuses before it asks for an address."""

from collections.abc import Sequence
from typing import Any

import pytest

from statera.base.errors import Refusal, Refused
from statera.base.ids import derive_id
from statera.base.settings import BadSettings, NetworkSettings, SubnetSettings
from statera.drivers.network_local import LocalNetwork, networks_from_settings
from statera.model.addressing import AddressWanted, PortRecord
from statera.model.network import Network, Port, VipRequest, derive_mac_address

NETWORK_ID = "00000000-0000-4000-8000-000000000001"
SUBNET_ID = "00000000-0000-4000-8000-000000000002"


def build(*subnets: dict[str, Any], **network: Any) -> Network:
    plain: dict[str, Any] = {"name": "public", "device": "br-public"}
    made = tuple(SubnetSettings(**{"name": f"subnet-{number}", **subnet}) for number, subnet in enumerate(subnets))
    return networks_from_settings([NetworkSettings(subnets=made, **{**plain, **network})])[0]


@pytest.mark.parametrize(
    ("subnet", "host_addresses", "ranges"),
    [
        ({"cidr": "10.0.0.0/29"}, (), (("10.0.0.1", "10.0.0.6"),)),
        ({"cidr": "10.0.0.0/29", "gateway": "10.0.0.1"}, (), (("10.0.0.2", "10.0.0.6"),)),
        ({"cidr": "10.0.0.0/29", "gateway": "10.0.0.6"}, (), (("10.0.0.1", "10.0.0.5"),)),
        (
            {"cidr": "10.0.0.0/29", "gateway": "10.0.0.3"},
            ("10.0.0.4/29",),
            (("10.0.0.1", "10.0.0.2"), ("10.0.0.5", "10.0.0.6")),
        ),
        ({"cidr": "10.0.0.0/29"}, ("10.0.1.1/24", "fd00::1/64"), (("10.0.0.1", "10.0.0.6"),)),
        ({"cidr": "10.0.0.0/31"}, (), (("10.0.0.0", "10.0.0.1"),)),
        ({"cidr": "10.0.0.7/32"}, (), (("10.0.0.7", "10.0.0.7"),)),
        ({"cidr": "10.0.0.7/32", "gateway": "10.0.0.7"}, (), ()),
        ({"cidr": "fd00::/64", "gateway": "fd00::1"}, (), (("fd00::2", "fd00::ffff:ffff:ffff:fffe"),)),
        (
            {"cidr": "10.0.0.0/24", "allocation": ("10.0.0.5-10.0.0.9", "10.0.0.20 - 10.0.0.20")},
            (),
            (("10.0.0.5", "10.0.0.9"), ("10.0.0.20", "10.0.0.20")),
        ),
    ],
)
def test_ranges(subnet: dict[str, Any], host_addresses: tuple[str, ...], ranges: tuple[tuple[str, str], ...]):
    network = build(subnet, host_addresses=host_addresses)
    assert network.subnets[0].allocation_pools == ranges
    assert network.attachment.host_addresses == host_addresses


def test_ids_are_derived_from_names_unless_given():
    network = build({"cidr": "10.0.0.0/24", "name": "v4"})
    assert network.id == derive_id("network", "public")
    assert network.subnets[0].id == derive_id("subnet", network.id, "v4")
    assert network.subnets[0].network_id == network.id
    given = build({"cidr": "10.0.0.0/24", "id": SUBNET_ID}, id=NETWORK_ID)
    assert (given.id, given.subnets[0].id) == (NETWORK_ID, SUBNET_ID)


@pytest.mark.parametrize(
    ("subnet", "network", "words"),
    [
        ({"cidr": "10.0.0.1/24"}, {}, "networks[0].subnets[0].cidr is wrong: 10.0.0.1/24 has host bits set"),
        ({"cidr": "nonsense"}, {}, "networks[0].subnets[0].cidr is wrong"),
        ({"cidr": "10.0.0.0/24", "gateway": "x"}, {}, "networks[0].subnets[0].gateway is not an address: x"),
        ({"cidr": "10.0.0.0/24", "gateway": "10.0.1.1"}, {}, "gateway 10.0.1.1 is not in 10.0.0.0/24"),
        ({"cidr": "10.0.0.0/24", "gateway": "fd00::1"}, {}, "gateway fd00::1 is not in 10.0.0.0/24"),
        ({"cidr": "10.0.0.0/24", "allocation": ("10.0.0.5",)}, {}, "allocation is not `first-last`: 10.0.0.5"),
        ({"cidr": "10.0.0.0/24", "allocation": ("10.0.0.9-10.0.0.5",)}, {}, "allocation ends before it begins"),
        ({"cidr": "10.0.0.0/24", "allocation": ("10.0.0.9-10.0.1.5",)}, {}, "allocation 10.0.1.5 is not in"),
        ({"cidr": "10.0.0.0/24", "id": "x"}, {}, "networks[0].subnets[0].id is not a UUID: x"),
        ({"cidr": "10.0.0.0/24"}, {"id": "x"}, "networks[0].id is not a UUID: x"),
        ({"cidr": "10.0.0.0/24"}, {"host_addresses": ("x",)}, "networks[0].host_addresses is not an address"),
    ],
)
def test_a_wrong_option_is_named(subnet: dict[str, Any], network: dict[str, Any], words: str):
    with pytest.raises(BadSettings) as raised:
        build(subnet, **network)
    assert words in raised.value.sentence


@pytest.mark.parametrize(
    ("twice", "words"),
    [
        ({"name": "a", "id": NETWORK_ID}, "networks[].id has"),
        ({"name": "a"}, "twice"),
        ({"name": "a"}, "networks[].name has a"),
    ],
)
def test_nothing_stands_there_twice(twice: dict[str, Any], words: str):
    networks = [NetworkSettings(device="br0", **twice), NetworkSettings(device="br1", **twice)]
    with pytest.raises(BadSettings) as raised:
        networks_from_settings(networks)
    assert words in raised.value.sentence


def test_subnets_of_one_name_stand_apart_by_their_network():
    subnet = SubnetSettings(name="v4", cidr="10.0.0.0/24")
    one, other = networks_from_settings(
        [NetworkSettings(name=name, device="br0", subnets=(subnet,)) for name in ("a", "b")]
    )
    assert one.subnets[0].id != other.subnets[0].id


def test_two_subnets_of_one_name_in_one_network():
    with pytest.raises(BadSettings, match="twice"):
        build({"cidr": "10.0.0.0/24", "name": "v4"}, {"cidr": "10.0.1.0/24", "name": "v4"})


def test_mac_addresses():
    made = derive_mac_address("device", "network")
    assert made == derive_mac_address("device", "network")
    assert made != derive_mac_address("device", "other")
    first = int(made.split(":")[0], 16)
    assert (first & 0b01, first & 0b10) == (0, 0b10), "unicast, locally administered"
    assert len(made.split(":")) == 6


# The driver


class Ledger:
    """An address book that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, str, list[AddressWanted]]] = []

    async def ensure_port(
        self, device_id: str, network_id: str, name: str, mac_address: str, wanted: Sequence[AddressWanted]
    ) -> Port:
        self.asked.append((device_id, network_id, name, mac_address, list(wanted)))
        return Port(
            id="port", network_id=network_id, name=name, device_id=device_id, mac_address=mac_address, addresses=()
        )

    async def remove_ports(self, device_id: str, keep_networks: Sequence[str] = ()) -> None:
        raise NotImplementedError

    async def list_ports(self, *, older_than_s: float | None = None) -> tuple[PortRecord, ...]:
        return ()

    async def load_port(self, port_id: str) -> Port | None:
        return None


PUBLIC = build({"cidr": "10.0.0.0/24", "gateway": "10.0.0.1", "id": SUBNET_ID}, id=NETWORK_ID)
SHARED = build(
    {"cidr": "10.0.0.0/24", "gateway": "10.0.0.1", "id": SUBNET_ID}, id=NETWORK_ID, host_addresses=("10.0.0.3/24",)
)


def request(subnet_id: str = SUBNET_ID, address: str | None = None, port_id: str | None = None) -> VipRequest:
    return VipRequest(
        load_balancer_id="balancer", network_id=NETWORK_ID, addresses=((subnet_id, address),), port_id=port_id
    )


async def test_a_vip_is_asked_for_with_the_subnets_ranges():
    ledger = Ledger()
    await LocalNetwork([PUBLIC], ledger).ensure_vip(request())
    ((device_id, network_id, name, mac_address, wanted),) = ledger.asked
    assert (device_id, network_id, name) == ("balancer", NETWORK_ID, "octavia-lb-balancer")
    assert mac_address == derive_mac_address("balancer", NETWORK_ID)
    assert wanted == [AddressWanted(subnet_id=SUBNET_ID, ranges=(("10.0.0.2", "10.0.0.254"),), excluded=("10.0.0.1",))]


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        (request(subnet_id="x"), Refusal.INVALID, "Subnet x not found."),
        (request(address="10.0.1.5"), Refusal.INVALID, "Address 10.0.1.5 is not in subnet"),
        (request(address="10.0.0.0"), Refusal.INVALID, "10.0.0.0 is not a valid IP .* stands for all of 10.0.0.0/24"),
        (request(address="10.0.0.255"), Refusal.INVALID, "10.0.0.255 is not a valid IP"),
        (request(address="10.0.0.1"), Refusal.CONFLICT, "already in use: 10.0.0.1 .* is the gateway's or a host's"),
        (request(address="10.0.0.3"), Refusal.CONFLICT, "already in use: 10.0.0.3 .* is the gateway's or a host's"),
        (request(address="fd00::5"), Refusal.INVALID, "Address fd00::5 is not in subnet"),
        (request(port_id="port"), Refusal.UNSUPPORTED, "makes the VIP's port itself"),
    ],
)
async def test_what_it_refuses(asked: VipRequest, kind: Refusal, words: str):
    ledger = Ledger()
    with pytest.raises(Refused, match=words) as raised:
        await LocalNetwork([SHARED], ledger).ensure_vip(asked)
    assert raised.value.kind is kind
    assert ledger.asked == []


@pytest.mark.parametrize(("cidr", "address"), [("10.0.0.0/31", "10.0.0.0"), ("fd00::/64", "fd00::ffff:ffff:ffff:ffff")])
async def test_the_ends_of_some_subnets_are_addresses_like_others(cidr: str, address: str):
    ledger = Ledger()
    network = build({"cidr": cidr, "id": SUBNET_ID}, id=NETWORK_ID)
    await LocalNetwork([network], ledger).ensure_vip(request(address=address))
    assert ledger.asked[0][4][0].address == address


async def test_it_shows_what_is_configured():
    driver = LocalNetwork([PUBLIC], Ledger())
    assert await driver.observe_networks() == (PUBLIC,)
    assert await driver.observe_subnet(SUBNET_ID) == PUBLIC.subnets[0]
    assert await driver.observe_subnet("x") is None
    assert PUBLIC.find_subnet(SUBNET_ID) == PUBLIC.subnets[0]
