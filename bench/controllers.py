"""Workers and APIs over one PostgreSQL, without an outside: throughput, a pass, doing nothing, a start of health."""

import asyncio
import time
from collections.abc import Awaitable, Sequence

import psycopg

from bench.crowd import edit_everything, multiply, plant, plant_many
from bench.figures import Figure, median
from bench.ground import Ground
from bench.plans import Plan, explaining
from bench.roles import AGENT, make_database, own_cluster, read_used, running, sum_used
from bench.starting import measure_starts
from bench.throughput import SETTLE_S, measure_throughput
from statera.base.clock import SystemClock
from statera.base.settings import Settings
from statera.control.reconcile import Reconciler
from statera.control.surroundings import Surroundings
from statera.drivers.compute_noop import NoopCompute
from statera.drivers.network_noop import NoopNetwork
from statera.drivers.postgres_embedded import EmbeddedPostgres
from statera.model.enums import ProvisioningStatus
from statera.store.addresses import StoredAddressBook
from statera.store.claims import claim_load_balancer
from statera.store.engine import Store
from statera.store.trees import TreeEditor, insert_tree, load_tree
from tests.db.trees import make_tree

CONTROLLERS = (1, 2, 4)
SIZES = (100, 1_000, 10_000)
IDLE_SIZES = (1_000, 10_000)
IDLE_S = 20.0


def run(ground: Ground, runs: int) -> list[Figure]:
    """Measure on a cluster of its own. The clients, PostgreSQL and all controllers share this machine's cores."""
    del ground
    with own_cluster() as cluster:
        ways = [(count, pooled) for count in CONTROLLERS for pooled in (False, True)]
        figures = [one for count, pooled in ways for one in measure_throughput(cluster, count, pooled=pooled)]
        figures += [one for size in SIZES for one in asyncio.run(_measure_pass(cluster, size, runs))]
        figures += [one for size in IDLE_SIZES for one in _measure_idle(cluster, size)]
        return figures + measure_starts(cluster, IDLE_SIZES[-1])


async def _measure_pass(cluster: EmbeddedPostgres, size: int, runs: int) -> list[Figure]:
    """Measure edits and passes of one load balancer among so many, and passes that place an amphora."""
    with make_database(cluster) as url:
        store = Store(url)
        try:
            tree, _ = await plant(store)
            multiply(url, size - 1)
            with psycopg.connect(url, autocommit=True) as link:
                link.execute("UPDATE amphorae SET host = %s", [AGENT])
                link.execute("VACUUM ANALYZE amphorae")
            settings = Settings()
            network = NoopNetwork((), StoredAddressBook(store))
            compute, clock = NoopCompute([AGENT]), SystemClock()
            around = Surroundings(store=store, network=network, compute=compute, settings=settings, clock=clock)
            reconciler = Reconciler(around)
            editor = TreeEditor(store)
            edits_ms: list[float] = []
            passes_ms: list[float] = []
            for number in range(runs + 1):
                edit = edit_everything(f"n{number}")
                edits_ms.append(await _time(editor.edit(tree.load_balancer.id, edit, actor="bench", what="edited")))
                passes_ms.append(await _time(_run_pass(store, reconciler)))
            await editor.edit(tree.load_balancer.id, edit_everything("last"), actor="bench", what="edited")
            with explaining(store) as plans:
                await _run_pass(store, reconciler)
            creates_ms, placing = await _measure_creates(store, reconciler, runs)
        finally:
            await store.close()
    among = f"one of {size:,}"
    inside, detail = _sum_up(plans)
    placed_inside, placed_detail = _sum_up(placing)
    # The first pass builds what the database only says there is.
    return [
        Figure(what=f"{among}: an edit", value=median(edits_ms[1:]), unit="ms"),
        Figure(what=f"{among}: a pass, claim to settle", value=median(passes_ms[1:]), unit="ms"),
        Figure(what=f"{among}: its statements inside PostgreSQL", value=inside, unit="ms", detail=detail),
        Figure(what=f"{among}: a pass that places an amphora", value=median(creates_ms[1:]), unit="ms"),
        Figure(
            what=f"{among}: its statements inside PostgreSQL, placing",
            value=placed_inside,
            unit="ms",
            detail=placed_detail,
        ),
    ]


async def _measure_creates(store: Store, reconciler: Reconciler, runs: int) -> tuple[list[float], list[Plan]]:
    """Return the milliseconds of the first passes of new load balancers, and the plans of the statements of one."""
    took_ms: list[float] = []
    for _ in range(runs + 1):
        await insert_tree(store, make_tree(), actor="bench", what="created")
        took_ms.append(await _time(_run_pass(store, reconciler)))
    tree = make_tree()
    await insert_tree(store, tree, actor="bench", what="created")
    with explaining(store) as plans:
        await _run_pass(store, reconciler)
    found = await load_tree(store, tree.load_balancer.id)
    assert found is not None
    assert found.load_balancer.provisioning_status == ProvisioningStatus.ACTIVE, found.load_balancer.reason
    return took_ms, plans


def _sum_up(plans: Sequence[Plan]) -> tuple[float, str]:
    """Return the milliseconds of all, and how many they were."""
    return sum(plan.took_ms for plan in plans), f"{len(plans)} statements, {sum(plan.buffers for plan in plans)} pages"


async def _run_pass(store: Store, reconciler: Reconciler) -> None:
    claim = await claim_load_balancer(store, owner="bench", lease_s=60)
    assert claim is not None
    await reconciler.run_pass(claim)


async def _time(work: Awaitable[object]) -> float:
    begun = time.monotonic()
    await work
    return (time.monotonic() - begun) * 1000


def _measure_idle(cluster: EmbeddedPostgres, size: int) -> list[Figure]:
    """Measure what one worker, one health process and PostgreSQL use while nobody asks for anything."""
    with make_database(cluster) as url:
        plant_many(url, size)
        with running(["worker", "health"], {"url": url}) as roles:
            time.sleep(SETTLE_S)
            before = read_used(cluster, roles.pids)
            time.sleep(IDLE_S)
            used_s = sum_used(before, read_used(cluster, roles.pids))
    what = f"idle with {size:,}, without rechecks"
    return [
        Figure(what=f"{what}: {role}", value=one / IDLE_S * 100, unit="%", detail="of one core")
        for role, one in used_s.items()
    ]
