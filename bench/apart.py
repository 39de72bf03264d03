"""An API process on a database of its own, filled with load balancers: nothing else takes its time or its rows."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Iterator

import msgspec
import psycopg

from bench.engines import read_cpu_s
from bench.ground import Ground
from bench.roles import make_database, running
from statera.app import open_embedded_postgres
from statera.base.ids import new_id
from statera.model.enums import Algorithm, ListenerProtocol, PoolProtocol, ProvisioningStatus
from statera.model.tree import Listener, LoadBalancer, Member, Pool, Tree, Vip
from statera.store.engine import Store
from statera.store.trees import insert_tree

COUNT = 1000
MEMBERS = 2
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
    cluster = open_embedded_postgres(ground.playground.settings)
    with make_database(cluster) as url, running(["api"], {"url": url}) as roles:
        ids = asyncio.run(_fill(url))
        with psycopg.connect(url, autocommit=True) as link:
            link.execute("VACUUM ANALYZE")
        yield Apart(port=roles.api_port, pid=roles.pids["api 0"], ids=ids)


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
