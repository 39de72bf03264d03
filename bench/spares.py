"""From the request that creates a load balancer to the first byte, with spare amphorae standing ready."""

import time
from pathlib import Path

from bench import creation
from bench.figures import Figure
from bench.ground import Ground

PER_HOST = 4
WITHIN_S = 60.0


def run(ground: Ground, runs: int) -> list[Figure]:
    """As `creation`, in an installation of its own; a spare that was taken is refilled before the next turn."""
    del ground
    own = Ground(tag="benchs", data_dir=Path("/var/tmp/statera-bench-spares"), compute={"spares_per_host": PER_HOST})
    try:
        _wait_for_spares(own)
        took_ms = []
        for number in range(runs):
            took_ms.append(creation.measure(own, number).took_ms)
            _wait_for_spares(own)
        return creation.tell(took_ms, "create with spares -> first byte")
    finally:
        own.remove(keep_log=False)


def _wait_for_spares(ground: Ground) -> None:
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        found = ground.playground.request("GET", "/v2/octavia/amphorae?status=READY")["amphorae"]
        if len(found) >= PER_HOST:
            return
        time.sleep(0.1)
    raise TimeoutError(f"no {PER_HOST} spares within {WITHIN_S:.0f} s")
