"""How fast one API process answers, with a thousand load balancers of one listener, pool and two members each."""

import time
from typing import Any

from bench.apart import COUNT, Apart, serve_apart
from bench.aside import count_aside
from bench.client import connect_api
from bench.figures import Figure, median, spread
from bench.ground import ONE, Ground
from bench.readers import READERS, WARM_S
from bench.roles import HOST
from statera.base.ids import new_id

WARM_UP = 5
SHOWS_PER_RUN = 10
CREATES_PER_RUN = 4
READ_FOR_S = 4.0


def run(ground: Ground, runs: int) -> list[Figure]:
    """Ask one after another, then with several readers at once, then write."""
    with serve_apart(ground) as apart:
        chosen = [f"{ONE}/{apart.ids[number % COUNT]}" for number in range(runs * SHOWS_PER_RUN)]
        clock = _Clock(apart)
        figures = [
            clock.time("show, p50", [("GET", path, None) for path in chosen], 3),
            clock.time("status tree, p50", [("GET", f"{path}/status", None) for path in chosen], 6),
            clock.time(f"list of {COUNT:,} with children, p50", [("GET", f"{ONE}?limit={COUNT}", None)] * runs, 60),
            _count_shows(apart),
        ]
        count = runs * CREATES_PER_RUN
        figures += [
            clock.time("create, the answer, p50", [("POST", ONE, _wish(number)) for number in range(count)], 10),
            clock.time("create with all below, the answer, p50", [("POST", ONE, _wish_tree(n)) for n in range(count)]),
        ]
    return figures


def _count_shows(apart: Apart) -> Figure:
    used = apart.cpu_s()
    shows = count_aside("bench.readers", HOST, apart.port, READ_FOR_S, "\n".join(apart.ids))
    busy = (apart.cpu_s() - used) / (READ_FOR_S + WARM_S)
    return Figure(
        what=f"shows by {READERS} readers at once",
        value=shows,
        unit="/s",
        budget=1000,
        at_least=True,
        detail=f"for {READ_FOR_S:.0f} s, from another process, {busy:.0%} of a core used by the API process",
    )


class _Clock:
    """Times requests, one after another."""

    def __init__(self, apart: Apart) -> None:
        self._apart = apart

    def time(self, what: str, requests: list[tuple[str, str, Any]], budget: float | None = None) -> Figure:
        """Return the median time to the last byte, and how much of a mean request the API process itself took."""
        took_ms, size = [], 0
        with connect_api(HOST, self._apart.port) as api:
            for method, path, body in requests[:WARM_UP]:
                api.request(method, path, body)
            used = self._apart.cpu_s()
            for method, path, body in requests:
                begun = time.monotonic()
                size = len(api.request(method, path, body))
                took_ms.append((time.monotonic() - begun) * 1000)
        own_ms = (self._apart.cpu_s() - used) / len(requests) * 1000
        detail = f"{spread(took_ms, 'ms')}; of a core the API process took {own_ms:.1f} ms each, {size / 1024:.1f} KiB"
        return Figure(what=what, value=median(took_ms), unit="ms", budget=budget, detail=detail)


def _wish(number: int) -> Any:
    return {"loadbalancer": {"name": f"new-{number}", "vip_subnet_id": new_id()}}


def _wish_tree(number: int) -> Any:
    members = [{"address": f"192.0.2.{which}", "protocol_port": 80} for which in (1, 2)]
    pool = {"name": "pool", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members}
    listener = {"protocol": "HTTP", "protocol_port": 80, "default_pool": pool}
    return {"loadbalancer": _wish(number)["loadbalancer"] | {"listeners": [listener]}}
