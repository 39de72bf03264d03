"""Reading one load balancer, and a list of a thousand: only rows, so an API process on a database of its own does."""

import asyncio
import contextlib
import datetime as dt
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg

from bench.client import ApiConnection, connect_api
from bench.figures import Figure, median, spread
from bench.ground import ONE, Ground
from statera.app import open_embedded_postgres
from statera.base.errors import Lasting
from statera.base.ids import new_id
from statera.cli.playground import choose_port
from statera.model.enums import Algorithm, ListenerProtocol, MonitorType, PoolProtocol, ProvisioningStatus
from statera.model.tree import HealthMonitor, Listener, LoadBalancer, Member, Pool, Tree, Vip
from statera.store.engine import Store
from statera.store.trees import insert_tree

COUNT = 1000
MEMBERS = 3
DATABASE = "bench"
INSERTS_AT_ONCE = 8
WARM_UP = 5
HOST = "127.0.0.1"


def run(ground: Ground, runs: int) -> list[Figure]:
    """Fill a database, start an API on it, read."""
    cluster = open_embedded_postgres(ground.playground.settings)
    url = cluster.url_of(DATABASE)
    with psycopg.connect(cluster.url, autocommit=True) as link:
        link.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        link.execute(f"CREATE DATABASE {DATABASE}")
    try:
        with _serving(ground, url) as port, connect_api(HOST, port) as api:
            ids = asyncio.run(_fill(url))
            with psycopg.connect(url, autocommit=True) as link:
                link.execute("ANALYZE")
            one, _ = _time(api, [f"{ONE}/{ids[number % COUNT]}" for number in range(runs * 10)])
            listed, size = _time(api, [f"{ONE}?limit={COUNT}"] * runs)
    finally:
        with psycopg.connect(cluster.url, autocommit=True) as link:
            link.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
    detail = f"{spread(listed, 'ms')}, {size / 1024:.0f} KiB each, every one with its listener and pool"
    return [
        Figure(
            what="GET one, p50", value=median(one), unit="ms", budget=3, detail=f"{spread(one, 'ms')}, of {COUNT:,}"
        ),
        Figure(what=f"list of {COUNT:,} with children, p50", value=median(listed), unit="ms", budget=60, detail=detail),
    ]


def _time(api: ApiConnection, paths: list[str]) -> tuple[list[float], int]:
    """Return the ms of each request to the last byte, and the size of the last answer."""
    size = 0
    took_ms = []
    for path in [*paths[:WARM_UP], *paths]:
        begun = time.monotonic()
        size = len(api.request("GET", path))
        took_ms.append((time.monotonic() - begun) * 1000)
    return took_ms[len(paths[:WARM_UP]) :], size


@contextlib.contextmanager
def _serving(ground: Ground, url: str) -> Iterator[int]:
    """Run one API process on a database; give its port."""
    port = choose_port(0, socket.SOCK_STREAM)
    environment = os.environ | {"STATERA_DATABASE__URL": url, "STATERA_API__PORT": str(port)}
    words = [sys.executable, "-m", "statera"]
    config = ["--config", str(ground.playground.config_path)]
    subprocess.run([*words, "db", "upgrade", *config], check=True, env=environment, stdout=subprocess.DEVNULL)
    with ground.playground.log_path.open("ab") as log:
        process = subprocess.Popen(
            [*words, "api", *config], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for_port(process, port)
        yield port
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10.0)
        process.kill()
        process.wait()


def _wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 60.0
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
    # In the project that a caller without identity has, so that the list is one of a tenant's own.
    project_id = "00000000000000000000000000000000"
    now = dt.datetime.now(dt.UTC)
    place = f"{number // 250}.{number % 250 + 1}"
    vip = Vip(address=f"10.7.{place}", subnet_id=new_id(), network_id=new_id(), port_id=new_id())
    balancer = LoadBalancer(
        id=new_id(), project_id=project_id, name=f"one-{number}", vip=vip, created_at=now,
        provisioning_status=ProvisioningStatus.ACTIVE, generation=1, observed_generation=1, changed_at_generation=1,
    )  # fmt: skip
    pool = Pool(
        id=new_id(), project_id=project_id, name=f"pool-{number}", load_balancer_id=balancer.id, created_at=now,
        protocol=PoolProtocol.HTTP, lb_algorithm=Algorithm.ROUND_ROBIN,
    )  # fmt: skip
    listener = Listener(
        id=new_id(), project_id=project_id, name=f"http-{number}", load_balancer_id=balancer.id, created_at=now,
        protocol=ListenerProtocol.HTTP, protocol_port=80, default_pool_id=pool.id,
    )  # fmt: skip
    members = tuple(
        Member(
            id=new_id(), project_id=project_id, load_balancer_id=balancer.id, pool_id=pool.id, created_at=now,
            address=f"10.{8 + which}.{place}", protocol_port=8080,
        )
        for which in range(MEMBERS)
    )  # fmt: skip
    monitor = HealthMonitor(
        id=new_id(), project_id=project_id, load_balancer_id=balancer.id, pool_id=pool.id, created_at=now,
        type=MonitorType.HTTP, delay=5, timeout=4, max_retries=3,
    )  # fmt: skip
    return Tree(
        load_balancer=balancer, listeners=(listener,), pools=(pool,), members=members, health_monitors=(monitor,)
    )
