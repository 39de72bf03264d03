"""An API on a database of its own, with networks whose addresses are kept there."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest_asyncio

from statera.api.application import create_application
from statera.base.clock import SystemClock
from statera.base.settings import Settings, convert_settings
from statera.drivers.network_local import LocalNetwork, networks_from_settings
from statera.store.addresses import StoredAddressBook
from statera.store.engine import Store
from tests.contract.client import Api
from tests.contract.keeper import make_keeper

NETWORKS = [
    {
        "name": "front",
        "device": "br-front",
        "subnets": [
            {"name": "front4", "cidr": "10.9.0.0/22", "gateway": "10.9.0.1"},
            {"name": "front6", "cidr": "fd09::/64", "gateway": "fd09::1"},
        ],
    },
    {
        "name": "small",
        "device": "br-small",
        "subnets": [{"name": "small4", "cidr": "10.8.0.0/24", "allocation": ["10.8.0.5-10.8.0.6"]}],
    },
    {"name": "back", "device": "br-back", "subnets": [{"name": "back4", "cidr": "10.7.0.0/16"}]},
]


def make_settings(**sections: Any) -> Settings:
    """Return settings with the networks above."""
    return convert_settings({"networks": NETWORKS, **sections}, source="the test")


def make_api(store: Store, settings: Settings) -> Api:
    """Return a client of a new API on this store."""
    network = LocalNetwork(networks_from_settings(settings.networks), StoredAddressBook(store))
    application = create_application(
        store=store, network=network, settings=settings, clock=SystemClock(), keeper=make_keeper(store)
    )
    # An error that nobody meant must show as a 500, as it would to a client.
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)  # type: ignore[arg-type]
    return Api(httpx.AsyncClient(transport=transport, base_url="http://api.test"), store, settings)


@pytest_asyncio.fixture
async def api(module_database_url: str) -> AsyncIterator[Api]:
    """An API without identity; tests of one module share its database."""
    store = Store(module_database_url)
    opened = make_api(store, make_settings())
    yield opened
    await opened.close()
    await store.close()


@pytest_asyncio.fixture
async def open_api(module_database_url: str) -> AsyncIterator[Callable[..., Api]]:
    """Make APIs with settings of their own on the module's database."""
    store = Store(module_database_url)
    opened: list[Api] = []

    def open_with(**sections: Any) -> Api:
        opened.append(make_api(store, make_settings(**sections)))
        return opened[-1]

    yield open_with
    for one in opened:
        await one.close()
    await store.close()
