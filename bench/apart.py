"""An API process on a database of its own, filled with load balancers: nothing else takes its time or its rows."""

import asyncio
import contextlib
import datetime as dt
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
import psycopg

from bench.client import connect_api
from bench.engines import read_cpu_s
from bench.ground import ONE, Ground
from statera.app import open_embedded_postgres
from statera.base.errors import Lasting
from statera.base.ids import new_id
from statera.cli.playground import choose_port
from statera.drivers.postgres_embedded import EmbeddedPostgres
from statera.model.enums import Algorithm, ListenerProtocol, PoolProtocol, ProvisioningStatus
from statera.model.tree import Listener, LoadBalancer, Member, Pool, Tree, Vip
from statera.store.engine import Store
from statera.store.migrate import upgrade
from statera.store.trees import insert_tree

HOST = "127.0.0.1"
COUNT = 1000
MEMBERS = 2
WITHIN_S = 120.0
INSERTS_AT_ONCE = 8
PROJECT_ID = "00000000000000000000000000000000"
"""That of a caller without identity, so that the list is one of a tenant's own."""


class Apart(msgspec.Struct, frozen=True, kw_only=True):
    """An API process, and the load balancers that its database is full of."""

    port: int
    pid: int
    ids: list[str]

    def cpu_s(self) -> float:
        """Return the seconds of a core that the process has used up to now."""
        return read_cpu_s([self.pid])


@contextlib.contextmanager
def serve_apart(ground: Ground) -> Iterator[Apart]:
    """Give an API process with a full database; both are gone in the end."""
    with make_database(open_embedded_postgres(ground.playground.settings)) as url, _serving(ground, url) as (port, pid):
        ids = asyncio.run(_fill(url))
        with psycopg.connect(url, autocommit=True) as link:
            link.execute("VACUUM ANALYZE")
        yield Apart(port=port, pid=pid, ids=ids)


@contextlib.contextmanager
def make_database(cluster: EmbeddedPostgres) -> Iterator[str]:
    """Give the URL of an empty database with our schema; it is dropped at the end of the block."""
    name = f"bench_{new_id().replace('-', '')}"
    with psycopg.connect(cluster.url, autocommit=True) as link:
        link.execute(f'CREATE DATABASE "{name}"')
    try:
        upgrade(cluster.url_of(name))
        yield cluster.url_of(name)
    finally:
        with psycopg.connect(cluster.url, autocommit=True) as link:
            link.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def _serving(ground: Ground, url: str) -> Iterator[tuple[int, int]]:
    port = choose_port(0, socket.SOCK_STREAM)
    # Without an outside, the API takes any subnet, and addresses never run out.
    noop = {"STATERA_COMPUTE__DRIVER": "noop", "STATERA_NETWORK__DRIVER": "noop"}
    environment = os.environ | noop | {"STATERA_DATABASE__URL": url, "STATERA_API__PORT": str(port)}
    words = [sys.executable, "-m", "statera", "api", "--config", str(ground.playground.config_path)]
    with ground.playground.log_path.open("ab") as log:
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for_api(process, port)
        yield port, process.pid
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10.0)
        process.kill()
        process.wait()


def wait_for_api(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the API answers. Raises `Lasting` when it ends, or does not within two minutes."""
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), connect_api(HOST, port) as api:
            api.request("GET", ONE)
            return
        time.sleep(0.05)
    raise Lasting("bench-failed", f"An API process of its own does not answer on port {port}.")


async def _fill(url: str) -> list[str]:
    store = Store(url, pool_size=INSERTS_AT_ONCE)
    trees = [_make_tree(number) for number in range(COUNT)]
    gate = asyncio.Semaphore(INSERTS_AT_ONCE)

    async def insert(tree: Tree) -> None:
        async with gate:
            await insert_tree(store, tree, actor="bench", what="Created.")

    try:
        await asyncio.gather(*map(insert, trees))
    finally:
        await store.close()
    return [tree.load_balancer.id for tree in trees]


def _make_tree(number: int) -> Tree:
    now = dt.datetime.now(dt.UTC)
    place = f"{number // 250}.{number % 250 + 1}"
    vip = Vip(address=f"10.7.{place}", subnet_id=new_id(), network_id=new_id(), port_id=new_id())
    balancer = LoadBalancer(
        id=new_id(), project_id=PROJECT_ID, name=f"one-{number}", vip=vip, created_at=now,
        provisioning_status=ProvisioningStatus.ACTIVE, generation=1, observed_generation=1, changed_at_generation=1,
    )  # fmt: skip
    pool = Pool(
        id=new_id(), project_id=PROJECT_ID, name=f"pool-{number}", load_balancer_id=balancer.id, created_at=now,
        protocol=PoolProtocol.HTTP, lb_algorithm=Algorithm.ROUND_ROBIN,
    )  # fmt: skip
    listener = Listener(
        id=new_id(), project_id=PROJECT_ID, name=f"http-{number}", load_balancer_id=balancer.id, created_at=now,
        protocol=ListenerProtocol.HTTP, protocol_port=80, default_pool_id=pool.id,
    )  # fmt: skip
    members = tuple(
        Member(
            id=new_id(), project_id=PROJECT_ID, load_balancer_id=balancer.id, pool_id=pool.id, created_at=now,
            address=f"10.{8 + which}.{place}", protocol_port=8080,
        )
        for which in range(MEMBERS)
    )  # fmt: skip
    return Tree(load_balancer=balancer, listeners=(listener,), pools=(pool,), members=members)
