"""The address book: every address once, the lowest free one first, nothing kept of what was refused."""

import asyncio

import pytest

from statera.base.errors import Refusal, Refused
from statera.base.ids import new_id
from statera.model.addressing import AddressBook, AddressWanted
from statera.model.network import Port
from statera.store.addresses import StoredAddressBook
from statera.store.engine import Store

V4, V6, NETWORK = new_id(), new_id(), new_id()


@pytest.fixture
def book(store: Store) -> AddressBook:
    return StoredAddressBook(store)


def wanted(*ranges: tuple[str, str], subnet_id: str = V4, **values: object) -> AddressWanted:
    given = {"ranges": ranges or (("10.0.0.2", "10.0.0.4"), ("10.0.0.8", "10.0.0.8")), **values}
    return AddressWanted(subnet_id=subnet_id, **given)  # type: ignore[arg-type]


async def take(book: AddressBook, *each: AddressWanted, device: str = "", network: str = NETWORK) -> Port:
    return await book.ensure_port(device or new_id(), network, "port", "02:00:00:00:00:01", each or (wanted(),))


async def test_ranges_fill_from_below_and_skip_what_is_excluded(book: AddressBook) -> None:
    given = [await take(book, wanted(excluded=("10.0.0.3",))) for _ in range(3)]
    assert [port.addresses[0].address for port in given] == ["10.0.0.2", "10.0.0.4", "10.0.0.8"]
    with pytest.raises(Refused) as caught:
        await take(book, wanted(excluded=("10.0.0.3",)))
    assert (caught.value.kind, caught.value.reason.slug) == (Refusal.CONFLICT, "address-range-full")
    assert len(await book.list_ports()) == 3, "nothing of the refused one"
    await book.remove_ports(given[1].device_id)
    assert (await take(book, wanted(excluded=("10.0.0.3",)))).addresses[0].address == "10.0.0.4"


async def test_asked_again_it_is_the_same_port(book: AddressBook) -> None:
    device = new_id()
    first = await take(book, device=device)
    assert await take(book, device=device) == first
    assert await book.load_port(first.id) == first
    more = await take(book, wanted(("fd00::1", "fd00::ffff"), subnet_id=V6), device=device)
    assert (more.id, more.mac_address) == (first.id, first.mac_address)
    assert [place.address for place in more.addresses] == ["fd00::1", "10.0.0.2"]
    assert len(await book.list_ports()) == 1


async def test_a_named_address_is_canonical_and_had_once(book: AddressBook) -> None:
    asked = wanted(subnet_id=V6, address="FD00:0:0::00A")
    port = await take(book, asked)
    assert port.addresses[0].address == "fd00::a"
    assert await take(book, asked, device=port.device_id) == port
    with pytest.raises(Refused) as caught:
        await take(book, asked)
    assert (caught.value.kind, caught.value.reason.slug) == (Refusal.CONFLICT, "vip-address-in-use")
    # The same text in another subnet is another address.
    await take(book, wanted(subnet_id=new_id(), address="fd00::a"))


async def test_a_large_range_costs_what_is_taken_in_it(book: AddressBook) -> None:
    whole = ("fd00::2", "fd00::ffff:ffff:ffff:fffe")
    given = [await take(book, wanted(whole, subnet_id=V6)) for _ in range(3)]
    assert [port.addresses[0].address for port in given] == ["fd00::2", "fd00::3", "fd00::4"]


async def test_many_at_once_never_get_the_same(book: AddressBook) -> None:
    both = (wanted(("10.0.0.1", "10.0.0.30")), wanted(("fd00::1", "fd00::ff"), subnet_id=V6))
    ports = await asyncio.gather(*[take(book, *(both if n % 2 else both[::-1])) for n in range(30)])
    places = [place.address for port in ports for place in port.addresses]
    assert len(places) == len(set(places)) == 60
    same = new_id()
    again = await asyncio.gather(*[take(book, both[1], device=same) for _ in range(10)])
    assert len({port.id for port in again}) == 1


async def test_ports_are_freed_by_device_and_network(book: AddressBook) -> None:
    device, other = new_id(), new_id()
    home = await take(book, device=device)
    away = await take(book, device=device, network=other)
    await take(book)
    await book.remove_ports(device, [home.network_id])
    assert await book.load_port(home.id) == home
    assert await book.load_port(away.id) is None
    await book.remove_ports(device)
    await book.remove_ports(device)
    assert len(await book.list_ports()) == 1
    assert await book.load_port("no id") is None


async def test_ports_are_listed_by_age(book: AddressBook) -> None:
    ports = [await take(book) for _ in range(3)]
    assert [record.port for record in await book.list_ports()] == ports
    assert await book.list_ports(older_than_s=3600) == ()
    assert len(await book.list_ports(older_than_s=0)) == 3
