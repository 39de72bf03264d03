"""Workers and APIs over one PostgreSQL, without an outside: throughput, the cost of a pass, and of doing nothing."""

import asyncio
import concurrent.futures
import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import psycopg

from bench.apart import make_database, wait_for_api
from bench.client import connect_api
from bench.crowd import edit_everything, multiply, plant
from bench.engines import list_pids, read_cpu_s
from bench.figures import Figure, median
from bench.ground import ONE, Ground
from bench.plans import Plan, explaining
from statera.base.clock import SystemClock
from statera.base.ids import new_id
from statera.base.settings import Settings
from statera.cli.playground import choose_port
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
CLIENTS = 16
PHASE_S = 8.0
IDLE_S = 20.0
SETTLE_S = 10.0
WITHIN_S = 120.0
HOST = "bench"


def run(ground: Ground, runs: int) -> list[Figure]:
    """Measure on a cluster of its own. The clients, PostgreSQL and all controllers share this machine's cores."""
    del ground
    with _cluster() as cluster:
        figures = [one for count in CONTROLLERS for one in _measure_throughput(cluster, count)]
        figures += [one for size in SIZES for one in asyncio.run(_measure_pass(cluster, size, runs))]
        return figures + [one for size in IDLE_SIZES for one in _measure_idle(cluster, size)]


@contextlib.contextmanager
def _cluster() -> Iterator[EmbeddedPostgres]:
    folder = Path(tempfile.mkdtemp(prefix="statera-controllers-"))
    folder.chmod(0o755)
    cluster = EmbeddedPostgres(folder / "data", folder / "run")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


@contextlib.contextmanager
def _controllers(cluster: EmbeddedPostgres, url: str, roles: Sequence[str]) -> Iterator[tuple[int, Mapping[str, int]]]:
    """Run these roles; give the port of the API and the pids by name and number."""
    port = choose_port(0, socket.SOCK_STREAM)
    environment = os.environ | {
        "STATERA_DATA_DIR": str(cluster.data_dir.parent / "statera"),
        "STATERA_RUN_DIR": str(cluster.run_dir.parent / "statera-run"),
        "STATERA_DATABASE__URL": url,
        "STATERA_COMPUTE__DRIVER": "noop",
        "STATERA_NETWORK__DRIVER": "noop",
        "STATERA_AGENT__NAME": HOST,
        "STATERA_API__PORT": str(port),
        "STATERA_API__PROCESSES": str(max(2, roles.count("api"))),
        "STATERA_HEALTH__PORT": str(choose_port(0, socket.SOCK_DGRAM)),
    }
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        with (cluster.data_dir.parent / "log").open("ab") as log:
            for number, role in enumerate(roles):
                words = [sys.executable, "-m", "statera", role]
                processes[f"{role} {number}"] = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        if "api" in roles:
            wait_for_api(processes["api 0"], port)
        yield port, {name: process.pid for name, process in processes.items()}
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(30)


def _measure_throughput(cluster: EmbeddedPostgres, count: int) -> list[Figure]:
    roles = ["api"] * count + ["worker"] * count
    with make_database(cluster) as url, _controllers(cluster, url, roles) as (port, pids):
        time.sleep(SETTLE_S)  # Python loads its modules: that is not what is measured.
        ids: list[str] = []
        edits: list[str] = []

        def name_edit(number: int) -> tuple[str, str, object]:
            return "PUT", f"{ONE}/{ids[number % len(ids)]}", {"loadbalancer": {"name": f"n{number}"}}

        phases = {
            "create": _measure_phase(cluster, url, pids, ids, lambda answered: _repeat(port, _create, answered)),
            "edit": _measure_phase(cluster, url, pids, edits, lambda answered: _repeat(port, name_edit, answered)),
        }
    whom = "1 API and 1 worker" if count == 1 else f"{count} APIs and {count} workers"
    clients = f"{CLIENTS} clients for {PHASE_S:.0f} s"
    load = f"{clients}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, theirs included"
    figures = []
    for what, (accepted, live, used_ms) in phases.items():
        told = ", ".join(f"{name} {one:.1f}" for name, one in used_ms.items())
        figures += [
            Figure(what=f"{whom}: {what}s accepted", value=accepted, unit="/s", detail=load),
            Figure(what=f"{whom}: {what}s to ACTIVE", value=live, unit="/s", detail="until the last one was"),
            Figure(what=f"{whom}: of a core, each {what}", value=sum(used_ms.values()), unit="ms", detail=told),
        ]
    return figures


def _measure_phase(
    cluster: EmbeddedPostgres, url: str, pids: Mapping[str, int], answered: list[str], ask: Callable[[list[str]], None]
) -> tuple[float, float, Mapping[str, float]]:
    """Return how many a second were accepted and were ACTIVE, and the milliseconds of a core that each took, by role.

    Where there are more controllers than cores, only the last can tell what more cores would bring.
    """
    before = _read_used(_list_owned(cluster, pids))
    begun = time.monotonic()
    ask(answered)
    accepted = len(answered) / (time.monotonic() - begun)
    _wait_settled(url)
    live = len(answered) / (time.monotonic() - begun)
    owned = _list_owned(cluster, pids)
    after = _read_used(owned)
    used_ms = dict.fromkeys((name for name, _ in owned), 0.0)
    for name, pid in owned:
        used_ms[name] += max(0.0, after.get(pid, 0.0) - before.get(pid, 0.0)) * 1000 / len(answered)
    return accepted, live, used_ms


def _list_owned(cluster: EmbeddedPostgres, pids: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return all processes with the role that they belong to."""
    postmaster = int((cluster.data_dir / "postmaster.pid").read_text(encoding="ascii").split()[0])
    owned = [(name.partition(" ")[0], pid) for name, pid in pids.items()]
    return owned + [("PostgreSQL", pid) for pid in list_pids(postmaster)]


def _read_used(owned: Sequence[tuple[str, int]]) -> dict[int, float]:
    """Return the processor time of each that is still there; PostgreSQL's own helpers come and go."""
    used = {}
    for _, pid in owned:
        with contextlib.suppress(FileNotFoundError):
            used[pid] = read_cpu_s([pid])
    return used


def _create(number: int) -> tuple[str, str, object]:
    pool = {
        "name": "pool",
        "protocol": "HTTP",
        "lb_algorithm": "ROUND_ROBIN",
        "members": [{"address": "192.0.2.9", "protocol_port": 80}],
        "healthmonitor": {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 3},
    }
    listeners = [{"name": "listener", "protocol": "HTTP", "protocol_port": 80, "default_pool": pool}]
    wanted = {"name": f"lb-{number}", "vip_subnet_id": SUBNET_ID, "listeners": listeners}
    return "POST", ONE, {"loadbalancer": wanted}


SUBNET_ID = new_id()


class _Answer(msgspec.Struct):
    class Balancer(msgspec.Struct):
        id: str

    loadbalancer: Balancer


def _repeat(port: int, make: Callable[[int], tuple[str, str, object]], answered: list[str]) -> None:
    """Send requests from all clients for a while; collect the ids of what they are about."""
    numbers = itertools.count()
    lock = threading.Lock()
    until = time.monotonic() + PHASE_S

    def ask() -> None:
        with connect_api("127.0.0.1", port) as api:
            while time.monotonic() < until:
                with lock:
                    number = next(numbers)
                method, path, body = make(number)
                content = api.request(method, path, body)
                answered.append(msgspec.json.decode(content, type=_Answer).loadbalancer.id)

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(ask) for _ in range(CLIENTS)]:
            done.result()


def _wait_settled(url: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    with psycopg.connect(url, autocommit=True) as link:
        while True:
            row = link.execute("SELECT count(*) FROM load_balancers WHERE observed_generation < generation").fetchone()
            if row == (0,):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{row} load balancers have not settled after {WITHIN_S:.0f} s")
            time.sleep(0.1)


async def _measure_pass(cluster: EmbeddedPostgres, size: int, runs: int) -> list[Figure]:
    """Measure edits and passes of one load balancer among so many, and passes that place an amphora."""
    with make_database(cluster) as url:
        store = Store(url)
        try:
            tree, _ = await plant(store)
            _fill(url, size)
            settings = Settings()
            network = NoopNetwork((), StoredAddressBook(store))
            compute, clock = NoopCompute([HOST]), SystemClock()
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


def _fill(url: str, size: int) -> None:
    multiply(url, size - 1)
    with psycopg.connect(url, autocommit=True) as link:
        link.execute("UPDATE amphorae SET host = %s", [HOST])
        link.execute("VACUUM ANALYZE amphorae")


def _measure_idle(cluster: EmbeddedPostgres, size: int) -> list[Figure]:
    """Measure what one worker, one health process and PostgreSQL use while nobody asks for anything."""
    with make_database(cluster) as url:
        asyncio.run(_plant(url))
        _fill(url, size)
        with _controllers(cluster, url, ["worker", "health"]) as (_, pids):
            time.sleep(SETTLE_S)
            owned = _list_owned(cluster, pids)
            before = _read_used(owned)
            time.sleep(IDLE_S)
            after = _read_used(owned)
            used = dict.fromkeys((name for name, _ in owned), 0.0)
            # Processes that come and go meanwhile, such as autovacuum's, are left out.
            for name, pid in owned:
                if pid in before and pid in after:
                    used[name] += (after[pid] - before[pid]) / IDLE_S * 100
    return [
        Figure(what=f"idle with {size:,}, without rechecks: {name}", value=percent, unit="%", detail="of one core")
        for name, percent in used.items()
    ]


async def _plant(url: str) -> None:
    store = Store(url)
    try:
        await plant(store)
    finally:
        await store.close()
