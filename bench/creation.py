"""From the request that creates a load balancer to the first byte through its VIP."""

import time
from collections.abc import Sequence

from bench.client import ask_name
from bench.figures import Figure, percentile, spread
from bench.ground import Ground


def run(ground: Ground, runs: int) -> list[Figure]:
    """Create, wait for an answer, delete; again and again."""
    return tell([measure(ground, number) for number in range(runs)], "create -> first byte")


def tell(took_ms: Sequence[float], what: str) -> list[Figure]:
    """Return the figures of so many turns."""
    return [
        Figure(
            what=f"{what}, p50",
            value=percentile(took_ms, 50),
            unit="ms",
            budget=1000,
            detail=spread(took_ms, "ms"),
        ),
        Figure(what=f"{what}, p95", value=percentile(took_ms, 95), unit="ms", budget=2000),
    ]


def measure(ground: Ground, number: int) -> float:
    """Create one, wait for an answer, delete it; return the milliseconds to the answer."""
    playground = ground.playground
    servers = ground.servers
    playground.find_subnet_id()
    begun = time.monotonic()
    made = playground.create_load_balancer(f"create-{number}", servers)
    try:
        _wait_for_answer(ground, made["vip_address"], made["id"])
        took_ms = (time.monotonic() - begun) * 1000
        playground.wait_active(made["id"])
    finally:
        ground.delete(made["id"])
    return took_ms


def _wait_for_answer(ground: Ground, vip: str, load_balancer_id: str) -> None:
    deadline = time.monotonic() + 30.0
    while ask_name(vip) is None:
        if time.monotonic() > deadline:
            ground.playground.wait_active(load_balancer_id, within_s=0.1)
            raise TimeoutError(f"{vip} did not answer within 30 s")
        time.sleep(0.002)
