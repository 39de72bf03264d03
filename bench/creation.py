"""From the request that creates a load balancer to the first byte through its VIP."""

import time
from collections.abc import Sequence

import msgspec

from bench.client import wait_for_name
from bench.figures import Figure, median, percentile, spread
from bench.ground import Ground
from bench.spent import STAGES, read_spent_ms


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One creation: milliseconds to the first byte, to the API's answer, and in each stage inside."""

    took_ms: float
    accepted_ms: float
    spent_ms: dict[str, float]


def run(ground: Ground, runs: int) -> list[Figure]:
    """Create, wait for an answer, delete; again and again."""
    turns = [measure(ground, number) for number in range(runs)]
    passing, building = (median([turn.spent_ms[stage] for turn in turns]) for stage in STAGES)
    detail = f"then passes of the worker take {passing:.0f} ms, of which the agent builds for {building:.0f} ms (p50)"
    accepted = Figure(
        what="of it the API's answer, p50", value=median([turn.accepted_ms for turn in turns]), unit="ms", detail=detail
    )
    return [*tell([turn.took_ms for turn in turns], "create -> first byte"), accepted]


def tell(took_ms: Sequence[float], what: str) -> list[Figure]:
    """Return the figures of so many turns."""
    return [
        Figure(what=f"{what}, p50", value=median(took_ms), unit="ms", budget=1000, detail=spread(took_ms, "ms")),
        Figure(what=f"{what}, p95", value=percentile(took_ms, 95), unit="ms", budget=2000),
    ]


def measure(ground: Ground, number: int) -> Turn:
    """Create one, wait for an answer, delete it."""
    playground = ground.playground
    servers = ground.servers
    playground.find_subnet_id()
    before = read_spent_ms(ground)
    begun = time.monotonic()
    made = playground.create_load_balancer(f"create-{number}", servers)
    accepted_ms = (time.monotonic() - begun) * 1000
    try:
        _wait_for_answer(ground, made["vip_address"], made["id"])
        took_ms = (time.monotonic() - begun) * 1000
        playground.wait_active(made["id"])
        after = read_spent_ms(ground)
    finally:
        ground.delete(made["id"])
    spent_ms = {stage: after[stage] - before[stage] for stage in STAGES}
    return Turn(took_ms=took_ms, accepted_ms=accepted_ms, spent_ms=spent_ms)


def _wait_for_answer(ground: Ground, vip: str, load_balancer_id: str) -> None:
    try:
        # While nobody has the address, a question has no answer at all.
        wait_for_name(vip, timeout_s=0.05)
    except TimeoutError:
        # Its reason tells more.
        ground.playground.wait_active(load_balancer_id, within_s=0.1)
        raise
