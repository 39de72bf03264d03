"""What a client sees when something behind the API fails: 503 or 500 in the contract's shape, nothing half-written."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from psycopg import sql

from statera.base.errors import Transient
from statera.drivers.network_local import LocalNetwork
from statera.drivers.postgres_embedded import EmbeddedPostgres
from statera.model.network import Port, VipRequest
from statera.store.engine import Store
from tests.contract.client import Api
from tests.contract.conftest import make_api, make_settings
from tests.fixtures.postgres import administer


class Curtain:
    """Closes one database to everybody, as an outage would, and opens it again."""

    def __init__(self, postgres: EmbeddedPostgres, url: str) -> None:
        self._postgres = postgres
        self._name = url.partition("///")[2].partition("?")[0]

    def draw(self, *, closed: bool) -> None:
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
            sql.Identifier(self._name), sql.Literal(not closed)
        )
        with administer(self._postgres) as connection:
            connection.execute(allow)
            if closed:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self._name]
                )


@pytest_asyncio.fixture
async def own(database_url: str) -> AsyncIterator[Api]:
    """An API on a database that no other test uses."""
    store = Store(database_url)
    opened = make_api(store, make_settings(api={"healthcheck_enabled": True}))
    yield opened
    await opened.close()
    await store.close()


@pytest.fixture
def curtain(postgres: EmbeddedPostgres, database_url: str) -> Curtain:
    return Curtain(postgres, database_url)


async def test_the_database_is_away(own: Api, curtain: Curtain) -> None:
    made = await own.create_balancer()
    new = {"loadbalancer_id": made["id"], "protocol": "HTTP", "protocol_port": 80}
    curtain.draw(closed=True)
    for method, path, body in (
        ("GET", "/loadbalancers", None),
        ("GET", f"/loadbalancers/{made['id']}", None),
        ("PUT", f"/loadbalancers/{made['id']}", {"loadbalancer": {"name": "lost"}}),
        ("POST", "/listeners", {"listener": new}),
        ("POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": own.subnet_id()}}),
        ("DELETE", f"/loadbalancers/{made['id']}", None),
    ):
        answer = await own.ask(method, path, body)
        assert answer.status_code == 503
        assert answer.json() == {
            "faultcode": "Server",
            "faultstring": "The database does not answer.",
            "debuginfo": None,
        }
        assert int(answer.headers["retry-after"]) >= 1
    probe = await own.ask("GET", "//healthcheck")
    assert (probe.status_code, probe.text) == (503, "The Octavia database is unavailable.")
    curtain.draw(closed=False)
    shown = (await own.get("/loadbalancers"))["loadbalancers"]
    assert [(one["id"], one["name"], one["generation"]) for one in shown] == [(made["id"], "", 1)]
    assert (await own.get("/listeners"))["listeners"] == []
    assert (await own.ask("PUT", f"/loadbalancers/{made['id']}", {"loadbalancer": {}})).status_code == 200


class OutOfOrder(LocalNetwork):
    """A network whose allocation is cut short: the one fault that no real part shows on demand."""

    error: Exception = Transient("network-unavailable", "The network service does not answer.")

    async def ensure_vip(self, request: VipRequest) -> Port:
        await super().ensure_vip(request)
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (Transient("network-unavailable", "The network does not answer."), 503, "The network does not answer."),
        (RuntimeError("password=hunter2"), 500, "Something unknown went wrong"),
    ],
)
async def test_the_network_fails(
    own: Api, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, sentence: str
) -> None:
    monkeypatch.setattr("tests.contract.conftest.LocalNetwork", OutOfOrder)
    monkeypatch.setattr(OutOfOrder, "error", error)
    broken = make_api(own.store, own.settings)
    body = {"loadbalancer": {"vip_subnet_id": own.subnet_id()}}
    assert await broken.refuse("POST", "/loadbalancers", body, status=status) == sentence
    assert (await own.get("/loadbalancers"))["loadbalancers"] == []
    await broken.close()
