"""Two hundred edits of one load balancer at the same time, each of which needs a reload."""

from typing import Any

from bench.client import ask_at_once, encode_request
from bench.engines import count_reloads
from bench.figures import Figure, median, percentile
from bench.ground import Ground

EDITS = 200
ROUNDS_MOST = 10


def run(ground: Ground, runs: int) -> list[Figure]:
    """Send all edits of a round at once, each on a connection of its own; wait until they are live; again."""
    accepted_ms: list[list[float]] = []
    reloads: list[int] = []
    rejected = 0
    with ground.load_balancer("edits") as balancer:
        _, folders = ground.find_amphora(balancer["id"])
        for number in range(min(runs, ROUNDS_MOST)):
            before = count_reloads(folders)
            answers = _edit_all(ground, balancer, number)
            ground.playground.wait_active(balancer["id"])
            reloads.append(count_reloads(folders) - before)
            accepted_ms.append([took_ms for _, took_ms in answers])
            rejected += sum(status >= 300 for status, _ in answers)
    p99 = [percentile(took, 99) for took in accepted_ms]
    detail = f"median of {len(p99)} rounds, {min(p99):.0f} to {max(p99):.0f} ms"
    return [
        Figure(what=f"rejected of {EDITS} parallel edits", value=rejected, budget=0, detail=f"{len(p99)} rounds"),
        Figure(what="accepted, p99", value=median(p99), unit="ms", budget=100, detail=detail),
        Figure(what="accepted, p50", value=median([median(took) for took in accepted_ms]), unit="ms"),
        Figure(what="reloads of a round, most", value=max(reloads), budget=3),
    ]


def _edit_all(ground: Ground, balancer: Any, number: int) -> list[tuple[int, float]]:
    settings = ground.playground.settings.api
    path = f"/v2/lbaas/listeners/{balancer['listeners'][0]['id']}"
    bodies = [{"listener": {"timeout_client_data": 50_000 + number * EDITS + place}} for place in range(EDITS)]
    return ask_at_once(
        settings.host, settings.port, [encode_request("PUT", path, settings.host, body) for body in bodies]
    )
