"""One suite for network drivers, over the address book in the database."""

import pytest

from statera.base.errors import Refused
from statera.base.ids import new_id
from statera.drivers.network_local import LocalNetwork, networks_from_settings
from statera.drivers.network_noop import NoopNetwork
from statera.model.network import VipRequest
from statera.model.ports import NetworkDriver
from statera.model.tree import Vip
from statera.model.vip import AdditionalVip, VipWish, build_vips, decide_vip
from statera.store.addresses import StoredAddressBook
from statera.store.engine import Store
from tests.contract.conftest import make_settings

NETWORKS = networks_from_settings(make_settings().networks)
FRONT = NETWORKS[0]
FRONT4, FRONT6 = FRONT.subnets


@pytest.fixture(params=[LocalNetwork, NoopNetwork])
def network(request: pytest.FixtureRequest, store: Store) -> NetworkDriver:
    driver: NetworkDriver = request.param(NETWORKS, StoredAddressBook(store))
    return driver


@pytest.fixture
def noop(store: Store) -> NoopNetwork:
    return NoopNetwork(NETWORKS, StoredAddressBook(store))


def ask_for(*addresses: tuple[str, str | None], load_balancer_id: str = "") -> VipRequest:
    return VipRequest(load_balancer_id=load_balancer_id or new_id(), network_id=FRONT.id, addresses=addresses)


async def test_configured_networks_are_seen(network: NetworkDriver) -> None:
    assert await network.observe_networks() == NETWORKS
    assert FRONT in await network.observe_networks([FRONT.id])
    assert FRONT in await network.observe_networks((), [FRONT6.id])
    assert await network.observe_subnet(FRONT4.id) == FRONT4


async def test_a_vip_is_allocated_once(network: NetworkDriver) -> None:
    request = ask_for((FRONT4.id, None), (FRONT6.id, "fd09::77"))
    port = await network.ensure_vip(request)
    assert await network.ensure_vip(request) == port
    assert FRONT4.contains(port.addresses[0].address)
    assert port.addresses[1].address == "fd09::77"
    assert (port.network_id, port.device_id) == (FRONT.id, request.load_balancer_id)
    assert await network.observe_port(port.id) == port
    assert await network.observe_ports() == (port,)


async def test_every_vip_has_an_address_of_its_own(network: NetworkDriver) -> None:
    ports = [await network.ensure_vip(ask_for((FRONT4.id, None))) for _ in range(3)]
    assert len({port.addresses[0].address for port in ports}) == 3
    assert FRONT4.gateway_ip not in {port.addresses[0].address for port in ports}


async def test_an_amphora_has_a_port_of_its_own(network: NetworkDriver) -> None:
    amphora_id = new_id()
    port = await network.ensure_amphora_port(amphora_id, FRONT.id, [FRONT4.id])
    both = await network.ensure_amphora_port(amphora_id, FRONT.id, [FRONT4.id, FRONT6.id])
    assert (both.id, both.addresses[0]) == (port.id, port.addresses[0])
    assert len(both.addresses) == 2


async def test_removed_ports_are_free_again(network: NetworkDriver) -> None:
    request = ask_for((FRONT4.id, "10.9.0.50"))
    await network.ensure_vip(request)
    for _ in range(2):
        await network.remove_ports(request.load_balancer_id, keep=[FRONT.id])
        assert len(await network.observe_ports()) == 1
    for _ in range(2):
        await network.remove_ports(request.load_balancer_id)
        assert await network.observe_ports() == ()
    again = await network.ensure_vip(ask_for((FRONT4.id, "10.9.0.50")))
    assert again.addresses[0].address == "10.9.0.50"


async def test_an_address_outside_a_configured_subnet_is_refused(network: NetworkDriver) -> None:
    with pytest.raises(Refused):
        await network.ensure_vip(ask_for((FRONT4.id, "192.0.2.1")))
    assert await network.observe_ports() == ()


# What only the driver without an outside accepts


async def allocate(network: NetworkDriver, wish: VipWish) -> tuple[Vip, ...]:
    """Ask for VIPs as the API does."""
    port = None if wish.port_id is None else await network.observe_port(wish.port_id)
    network_ids = [one for one in (port and port.network_id, wish.network_id) if one]
    subnet_ids = [one for one in (wish.subnet_id, *(vip.subnet_id for vip in wish.additional)) if one]
    networks = await network.observe_networks(network_ids, subnet_ids)
    [request, *_] = decide_vip(wish, networks, port, new_id())
    return build_vips(request, await network.ensure_vip(request))


async def test_any_subnet_is_somewhere(noop: NoopNetwork) -> None:
    subnet_id = new_id()
    [first], [second] = [await allocate(noop, VipWish(subnet_id=subnet_id)) for _ in range(2)]
    assert first.subnet_id == second.subnet_id == subnet_id
    assert first.network_id == second.network_id
    assert first.address != second.address
    assert await noop.observe_subnet(subnet_id) is not None
    assert await noop.observe_subnet("x") is None


async def test_any_network_has_a_subnet(noop: NoopNetwork) -> None:
    network_id = new_id()
    [vip] = await allocate(noop, VipWish(network_id=network_id))
    assert vip.network_id == network_id
    assert vip.subnet_id is not None
    [again] = await allocate(noop, VipWish(network_id=network_id))
    assert again.subnet_id == vip.subnet_id


async def test_any_subnets_are_in_the_network_that_is_named_with_them(noop: NoopNetwork) -> None:
    network_id, subnet_id, other_id = new_id(), new_id(), new_id()
    wish = VipWish(
        network_id=network_id,
        subnet_id=subnet_id,
        address="2001:db8:33::33",
        additional=(AdditionalVip(subnet_id=other_id),),
    )
    vips = await allocate(noop, wish)
    assert [(vip.network_id, vip.subnet_id) for vip in vips] == [(network_id, subnet_id), (network_id, other_id)]
    assert vips[0].address == "2001:db8:33::33"


async def test_a_given_address_is_never_refused(noop: NoopNetwork) -> None:
    subnet_id = new_id()
    for _ in range(3):
        [vip] = await allocate(noop, VipWish(subnet_id=subnet_id, address="198.18.33.33"))
        assert vip.address == "198.18.33.33"
    [free] = await allocate(noop, VipWish(subnet_id=subnet_id))
    assert free.address != "198.18.33.33"


async def test_any_port_is_free_and_has_an_address(noop: NoopNetwork) -> None:
    port_id = new_id()
    [vip], [again] = [await allocate(noop, VipWish(port_id=port_id)) for _ in range(2)]
    assert vip == again
    assert vip.port_id == port_id
    assert await noop.observe_ports() == ()
