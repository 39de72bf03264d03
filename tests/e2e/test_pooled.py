"""A whole installation behind PgBouncer in transaction mode: no role depends on a session of its own."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from statera.drivers.postgres_embedded import EmbeddedPostgres
from tests.e2e.conftest import Installation, make_installation
from tests.fixtures.pgbouncer import run_pgbouncer

pytestmark = pytest.mark.e2e

ONE = "/v2/lbaas/loadbalancers"


@pytest.fixture(scope="module")
def installation(postgres: EmbeddedPostgres, module_database_url: str) -> Iterator[Installation]:
    with run_pgbouncer(postgres, module_database_url) as pooler:
        database = {"url": pooler.url, "pooled": True}
        with make_installation(f"p{os.getpid() % 10_000}", database=database) as made:
            yield made


def test_a_whole_life(installation: Installation) -> None:
    playground = installation.playground
    made = playground.create_load_balancer("pooled", installation.servers)
    balancer = playground.wait_active(made["id"])
    path = f"{ONE}/{balancer['id']}"

    def is_online() -> bool:
        return bool(playground.request("GET", path)["loadbalancer"]["operating_status"] == "ONLINE")

    playground.wait_for(is_online, "The word of the health process")
    playground.request("PUT", path, {"loadbalancer": {"name": "edited"}})
    assert playground.wait_active(balancer["id"])["name"] == "edited"
    before = _list_amphorae(installation, balancer["id"])
    playground.request("PUT", f"{path}/failover")

    def is_replaced() -> bool:
        now = _list_amphorae(installation, balancer["id"])
        return len(now) == 1 and now != before

    playground.wait_for(is_replaced, "Another amphora")
    playground.wait_active(balancer["id"])
    playground.request("DELETE", f"{path}?cascade=true")
    playground.wait_gone(balancer["id"])
    log = playground.log_path.read_text(encoding="utf-8", errors="replace")
    assert log.count("no bell behind a pooler") == 1, "one worker, which says it once"
    assert "prepared statement" not in log


def _list_amphorae(installation: Installation, load_balancer_id: str) -> set[str]:
    answer: Any = installation.playground.request("GET", f"/v2/octavia/amphorae?loadbalancer_id={load_balancer_id}")
    return {one["id"] for one in answer["amphorae"]}
