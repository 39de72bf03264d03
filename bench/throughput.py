"""Creates and edits per second by several APIs and workers over one PostgreSQL, directly and through PgBouncer."""

import concurrent.futures
import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec
import psycopg

from bench.client import connect_api
from bench.figures import Figure
from bench.ground import ONE
from bench.roles import HOST, Roles, make_database, read_used, running, sum_used
from statera.base.ids import new_id
from statera.drivers.postgres_embedded import EmbeddedPostgres
from tests.fixtures.pgbouncer import run_pgbouncer

CLIENTS = 16
PHASE_S = 8.0
SETTLE_S = 10.0
WITHIN_S = 120.0
SESSIONS = 20
"""What PgBouncer has with PostgreSQL: its own default."""
SUBNET_ID = new_id()
Ask = Callable[[int], tuple[str, str, object]]
"""Makes the request of a number: method, path, body."""


class _Phase(msgspec.Struct, frozen=True, kw_only=True):
    """How many a second were accepted and were ACTIVE, and the milliseconds of a core that each took, by role.

    Where there are more controllers than cores, only the last can tell what more cores would bring.
    """

    accepted: float
    live: float
    used_ms: Mapping[str, float]


def measure_throughput(cluster: EmbeddedPostgres, count: int, *, pooled: bool) -> list[Figure]:
    """Measure creates, then edits of them, by so many APIs and as many workers. With `pooled` through PgBouncer."""
    with make_database(cluster) as url, _controllers(cluster, url, count, pooled=pooled) as roles:
        time.sleep(SETTLE_S)  # Python loads its modules: that is not what is measured.
        phases = {"create": _measure_phase(cluster, url, roles, _create)}
        with psycopg.connect(url) as link:
            ids = [one for (one,) in link.execute("SELECT id::text FROM load_balancers").fetchall()]
        phases["edit"] = _measure_phase(cluster, url, roles, lambda number: _rename(ids[number % len(ids)], number))
    whom = "1 API and 1 worker" if count == 1 else f"{count} APIs and {count} workers"
    return _tell(f"{whom}, PgBouncer" if pooled else whom, phases)


@contextlib.contextmanager
def _controllers(cluster: EmbeddedPostgres, url: str, count: int, *, pooled: bool) -> Iterator[Roles]:
    database, others = {"url": url}, {}
    with contextlib.ExitStack() as stack:
        if pooled:
            pooler = stack.enter_context(run_pgbouncer(cluster, url, sessions=SESSIONS))
            database = {"url": pooler.url, "pooled": "true", "direct_url": url}
            others = {"PgBouncer 0": pooler.pid}
        roles = stack.enter_context(running(["api"] * count + ["worker"] * count, database))
        yield msgspec.structs.replace(roles, pids={**roles.pids, **others})


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


def _rename(load_balancer_id: str, number: int) -> tuple[str, str, object]:
    return "PUT", f"{ONE}/{load_balancer_id}", {"loadbalancer": {"name": f"n{number}"}}


def _measure_phase(cluster: EmbeddedPostgres, url: str, roles: Roles, make: Ask) -> _Phase:
    before = read_used(cluster, roles.pids)
    begun = time.monotonic()
    count = _repeat(roles.api_port, make)
    accepted = count / (time.monotonic() - begun)
    _wait_settled(url)
    live = count / (time.monotonic() - begun)
    used_s = sum_used(before, read_used(cluster, roles.pids))
    return _Phase(accepted=accepted, live=live, used_ms={role: one * 1000 / count for role, one in used_s.items()})


def _repeat(port: int, make: Ask) -> int:
    """Send requests from all clients for a while; return how many were answered, all of them well."""
    numbers = itertools.count()
    lock = threading.Lock()
    until = time.monotonic() + PHASE_S

    def ask() -> int:
        answered = 0
        with connect_api(HOST, port) as api:
            while time.monotonic() < until:
                with lock:
                    number = next(numbers)
                api.request(*make(number))
                answered += 1
        return answered

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        return sum(done.result() for done in [pool.submit(ask) for _ in range(CLIENTS)])


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


def _tell(whom: str, phases: Mapping[str, _Phase]) -> list[Figure]:
    clients = f"{CLIENTS} clients for {PHASE_S:.0f} s"
    load = f"{clients}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, theirs included"
    figures = []
    for what, phase in phases.items():
        told = ", ".join(f"{role} {one:.1f}" for role, one in phase.used_ms.items())
        each = sum(phase.used_ms.values())
        figures += [
            Figure(what=f"{whom}: {what}s accepted", value=phase.accepted, unit="/s", detail=load),
            Figure(what=f"{whom}: {what}s to ACTIVE", value=phase.live, unit="/s", detail="until the last one was"),
            Figure(what=f"{whom}: of a core, each {what}", value=each, unit="ms", detail=told),
        ]
    return figures
