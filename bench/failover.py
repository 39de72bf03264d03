"""How long clients are without service when the amphora of a load balancer (SINGLE) dies or is replaced."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.figures import Figure, median, spread
from bench.ground import Ground
from bench.watch import Watch
from statera.base.errors import Lasting

WITHIN_S = 30.0
SETTLE_S = 0.5
PATIENCE_S = 0.05
"""Of the client: one that waits for longer measures its own patience."""
BUDGET_MS = 5000


def run(ground: Ground, runs: int) -> list[Figure]:
    """Hurt it in each way, again and again."""
    turns = max(3, min(10, runs // 3))
    figures = []
    ways: list[tuple[str, Callable[[Ground, Any], None]]] = [
        ("HAProxy killed", _kill_haproxy),
        ("sandbox killed", _kill_sandbox),
        ("planned failover", _fail_over),
    ]
    for what, hurt in ways:
        gaps_ms = []
        with ground.load_balancer(f"failover-{what.replace(' ', '-')}") as balancer:
            for _ in range(turns):
                gaps_ms.append(_measure(ground, balancer, hurt))
        worst = Figure(what=f"{what}: without service, worst", value=max(gaps_ms), unit="ms", budget=BUDGET_MS)
        middle = Figure(
            what=f"{what}: without service, p50", value=median(gaps_ms), unit="ms", detail=spread(gaps_ms, "ms")
        )
        figures += [middle, worst]
    return figures


def _measure(ground: Ground, balancer: Any, hurt: Callable[[Ground, Any], None]) -> float:
    stands = partial(_stands, ground, balancer)
    with Watch(balancer["vip_address"], clients=1, timeout_s=PATIENCE_S) as watch:
        _wait_for(lambda: stands() and watch.has_more_than(10))
        hurt(ground, balancer)
        hurt_at = time.monotonic()
        _wait_for(partial(watch.has_answer_after, hurt_at + SETTLE_S))
        ground.playground.wait_active(balancer["id"])
        # What was taken away may serve for a moment without a name, until it is built again.
        _wait_for(stands)
        stood_at = time.monotonic()
        _wait_for(lambda: watch.has_answer_after(stood_at + SETTLE_S / 2))
    return watch.longest_gap_s * 1000


def _stands(ground: Ground, balancer: Any) -> bool:
    """Say whether HAProxy's two processes are in a sandbox that can be found."""
    with contextlib.suppress(Lasting):
        return len(_list_pids(f"statera-{ground.find_amphora(balancer['id'])[0]}")) >= 2
    return False


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no service within {WITHIN_S:.0f} s")
        time.sleep(0.005)


def _list_pids(namespace: str) -> list[int]:
    done = subprocess.run(["ip", "netns", "pids", namespace], check=False, capture_output=True, text=True)
    return [int(pid) for pid in done.stdout.split()]


def _kill_haproxy(ground: Ground, balancer: Any) -> None:
    amphora_id, _ = ground.find_amphora(balancer["id"])
    _kill_all(_list_pids(f"statera-{amphora_id}"))


def _kill_sandbox(ground: Ground, balancer: Any) -> None:
    amphora_id, _ = ground.find_amphora(balancer["id"])
    pids = _list_pids(f"statera-{amphora_id}")
    # The name first: a sandbox whose HAProxy is dead may be taken away by its agent at any moment.
    subprocess.run(["ip", "netns", "delete", f"statera-{amphora_id}"], check=True)
    _kill_all(pids)


def _kill_all(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _fail_over(ground: Ground, balancer: Any) -> None:
    old, _ = ground.find_amphora(balancer["id"])
    ground.playground.request("PUT", f"/v2/lbaas/loadbalancers/{balancer['id']}/failover")
    path = f"/v2/octavia/amphorae?loadbalancer_id={balancer['id']}"

    def is_replaced() -> bool:
        found = ground.playground.request("GET", path)["amphorae"]
        return len(found) == 1 and bool(found[0]["id"] != old)

    _wait_for(is_replaced)
