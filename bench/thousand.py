"""A thousand load balancers on this machine: made, served, edited, kept idle and deleted, and what they cost."""

import concurrent.futures
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.client import ask_name
from bench.engines import list_pids, read_cpu_s, read_pss_kib
from bench.figures import Figure, median
from bench.ground import ONE, Ground
from statera.agent.folders import HostFolders
from statera.agent.neighbour_tables import CACHES, count_refused
from statera.cli.playground import SUBNET6_NAME, WEB_PORT

COUNT = 1000
FULL_RUNS = 30
"""Fewer runs than this: so many load balancers instead, for a quick look."""
CLIENTS = 8
WITHIN_S = 1200.0
IDLE_S = 30.0
POLL_S = 0.5


def run(ground: Ground, runs: int) -> list[Figure]:
    """Do everything with all of them at once."""
    count = COUNT if runs >= FULL_RUNS else runs
    playground = ground.playground
    ids: list[str] = []
    try:
        begun = time.monotonic()
        ids += _at_once(lambda number: _create(ground, number), range(count))
        accepted_s = time.monotonic() - begun
        _wait_until_settled(ground, count)
        built_s = time.monotonic() - begun
        refused = sum(map(count_refused, CACHES))
        answers_ms = _at_once(lambda one: _ask(ground, one), ids)
        refused = sum(map(count_refused, CACHES)) - refused
        weights, pids = _weigh(ground)
        begun = time.monotonic()
        _at_once(lambda one: _edit(ground, one), ids)
        _wait_until_settled(ground, count)
        edited_s = time.monotonic() - begun
        busy = _measure_idle(ground, pids)
    finally:
        begun = time.monotonic()
        _at_once(lambda one: playground.request("DELETE", f"{ONE}/{one}?cascade=true"), ids)
        _wait_until(ground, lambda rows: not rows)
        deleted_s = time.monotonic() - begun
    silent = sum(1 for took_ms in answers_ms if took_ms is None)
    served = [took_ms for took_ms in answers_ms if took_ms is not None]
    return [
        Figure(what="load balancers at once", value=count),
        Figure(what="accepted by the API after", value=accepted_s, unit="s"),
        Figure(what="all built and ACTIVE after", value=built_s, unit="s", detail=f"{count / built_s:.1f} /s"),
        Figure(what="of them not served", value=silent, budget=0),
        Figure(what="first answer of each, p50", value=median(served), unit="ms"),
        Figure(what="first answer of each, worst", value=max(served), unit="ms"),
        Figure(what="neighbours for which the kernel had no room", value=refused, budget=0),
        Figure(what="one load balancer", value=sum(weights) / len(weights) / 1024, unit="MiB", budget=20),
        Figure(what="an edit of each, live after", value=edited_s, unit="s", detail=f"{count / edited_s:.1f} /s"),
        Figure(what="idle: one core used by control processes", value=busy["control"], unit="%"),
        Figure(what="idle: one core used by all HAProxies", value=busy["haproxy"], unit="%"),
        Figure(what="all deleted after", value=deleted_s, unit="s", detail=f"{count / deleted_s:.1f} /s"),
    ]


def _at_once(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(work, items))


def _create(ground: Ground, number: int) -> str:
    """Create one in the IPv6 subnet, whose addresses do not run out. Return its id."""
    playground = ground.playground
    server = ground.servers[number % len(ground.servers)]
    members = [{"address": server.address6, "protocol_port": WEB_PORT}]
    pool = {"name": "web", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members}
    wanted = {
        "vip_subnet_id": playground.find_subnet_id(SUBNET6_NAME),
        "listeners": [{"name": "http", "protocol": "HTTP", "protocol_port": 80, "default_pool": pool}],
    }
    return str(playground.create_load_balancer(f"thousand-{number}", [], **wanted)["id"])


def _wait_until_settled(ground: Ground, count: int) -> None:
    def is_settled(rows: list[Any]) -> bool:
        settled = [row for row in rows if row["provisioning_status"] == "ACTIVE"]
        return len(settled) == count and all(row["generation"] == row["observed_generation"] for row in rows)

    _wait_until(ground, is_settled)


def _wait_until(ground: Ground, is_true: Callable[[list[Any]], bool]) -> None:
    fields = "fields=id&fields=provisioning_status&fields=generation&fields=observed_generation"
    deadline = time.monotonic() + WITHIN_S
    rows: list[Any] = []
    while time.monotonic() < deadline:
        rows = ground.playground.request("GET", f"{ONE}?{fields}")["loadbalancers"]
        if is_true(rows):
            return
        time.sleep(POLL_S)
    waiting = [row["id"] for row in rows if row["provisioning_status"] != "ACTIVE"]
    raise TimeoutError(f"{len(waiting)} of {len(rows)} have not settled after {WITHIN_S:.0f} s, such as {waiting[:3]}")


def _ask(ground: Ground, load_balancer_id: str) -> float | None:
    """Return how many milliseconds one request takes, None when it is not answered."""
    vip = ground.playground.show(load_balancer_id)["vip_address"]
    begun = time.monotonic()
    return (time.monotonic() - begun) * 1000 if ask_name(vip, timeout_s=5.0) is not None else None


def _edit(ground: Ground, load_balancer_id: str) -> None:
    request = ground.playground.request
    pool = request("GET", f"{ONE}/{load_balancer_id}")["loadbalancer"]["pools"][0]["id"]
    member = {"address": ground.servers[0].address6, "protocol_port": WEB_PORT + 1, "weight": 0}
    request("POST", f"/v2/lbaas/pools/{pool}/members", {"member": member})


def _weigh(ground: Ground) -> tuple[list[int], list[int]]:
    """Return the KiB (PSS) of each load balancer, and the pids of all of them."""
    host = HostFolders(ground.playground.settings)
    sandboxes = [list_pids(ground.find_master(host.of(one))) for one in host.list_ids()]
    return [sum(map(read_pss_kib, pids)) for pids in sandboxes], [pid for pids in sandboxes for pid in pids]


def _measure_idle(ground: Ground, engines: list[int]) -> dict[str, float]:
    """Return how many percent of one core are used while nobody asks for anything."""
    up = ground.playground.up
    assert up is not None
    control = list_pids(up.pid)
    before = read_cpu_s(control), read_cpu_s(engines)
    time.sleep(IDLE_S)
    after = read_cpu_s(control), read_cpu_s(engines)
    return {name: (after[at] - before[at]) / IDLE_S * 100 for at, name in enumerate(("control", "haproxy"))}
