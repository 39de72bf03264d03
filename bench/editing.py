"""Two hundred edits of one load balancer at the same time, each of which needs a reload."""

import asyncio
import time
from typing import Any

from bench.client import encode_request, read_head
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
            answers = asyncio.run(_edit_all(ground, balancer, number))
            ground.playground.wait_active(balancer["id"])
            reloads.append(count_reloads(folders) - before)
            accepted_ms.append([took_ms for _, took_ms in answers])
            rejected += sum(status >= 300 for status, _ in answers)
    p99 = [percentile(took, 99) for took in accepted_ms]
    detail = f"median of {len(p99)} rounds, {min(p99):.0f} to {max(p99):.0f} ms"
    return [
        Figure(what=f"rejected of {EDITS} parallel edits", value=rejected, budget=0, detail=f"{len(p99)} rounds"),
        Figure(what="accepted, p99", value=median(p99), unit="ms", budget=100, detail=detail),
        Figure(what="accepted, p50", value=median([percentile(took, 50) for took in accepted_ms]), unit="ms"),
        Figure(what="reloads of a round, most", value=max(reloads), budget=3),
    ]


async def _edit_all(ground: Ground, balancer: Any, number: int) -> list[tuple[int, float]]:
    settings = ground.playground.settings.api
    path = f"/v2/lbaas/listeners/{balancer['listeners'][0]['id']}"
    streams = await asyncio.gather(
        *(asyncio.open_connection(settings.host, settings.port, limit=1 << 20) for _ in range(EDITS))
    )
    try:
        edits = []
        for place, (reader, writer) in enumerate(streams):
            body = {"listener": {"timeout_client_data": 50_000 + number * EDITS + place}}
            edits.append(_edit(reader, writer, encode_request("PUT", path, settings.host, body)))
        return await asyncio.gather(*edits)
    finally:
        for _, writer in streams:
            writer.close()


async def _edit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, float]:
    begun = time.monotonic()
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    status, length = read_head(head[:-4])
    await reader.readexactly(length)
    return status, (time.monotonic() - begun) * 1000
