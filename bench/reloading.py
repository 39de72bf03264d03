"""An edit that HAProxy only reads from its file: how long until it is live, and what it costs those under way."""

import time
from typing import Any

import msgspec

from bench.client import ApiConnection, wait_for_name
from bench.engines import count_reloads
from bench.figures import Figure, median, spread
from bench.ground import Ground
from bench.load import LoadOptions, describe_load, making_load

FIRST_PORT = 8000


def run(ground: Ground, runs: int) -> list[Figure]:
    """Add and remove listeners on other ports while port 80 is under load: new connections first, then kept ones."""
    figures: list[Figure] = []
    with ground.load_balancer("reload") as balancer:
        for keeps in (False, True):
            figures += _measure_under_load(ground, balancer, runs, keeps=keeps)
    return figures


def _measure_under_load(ground: Ground, balancer: Any, runs: int, *, keeps: bool) -> list[Figure]:
    _, folders = ground.find_amphora(balancer["id"])
    before = count_reloads(folders)
    options = LoadOptions(address=balancer["vip_address"], keeps=keeps)
    with ground.api() as api, making_load(options) as load:
        took_ms = [_measure(ground, api, balancer, FIRST_PORT + number) for number in range(runs)]
    reloads = count_reloads(folders) - before
    how = "kept connections" if keeps else "a connection each"
    return [
        Figure(
            what=f"edit with a reload -> live, p50, {how}",
            value=median(took_ms),
            unit="ms",
            budget=500,
            detail=f"{spread(took_ms, 'ms')}, {reloads} reloads",
        ),
        Figure(
            what=f"failed requests, {how}", value=load.told.failed, budget=0, detail=describe_load(options, load.told)
        ),
    ]


def _measure(ground: Ground, api: ApiConnection, balancer: Any, port: int) -> float:
    body = {
        "listener": {
            "loadbalancer_id": balancer["id"],
            "protocol": "HTTP",
            "protocol_port": port,
            "default_pool_id": balancer["pools"][0]["id"],
        }
    }
    begun = time.monotonic()
    listener = msgspec.json.decode(api.request("POST", "/v2/lbaas/listeners", body))["listener"]
    wait_for_name(balancer["vip_address"], port)
    took_s = time.monotonic() - begun
    ground.playground.wait_active(balancer["id"])
    api.request("DELETE", f"/v2/lbaas/listeners/{listener['id']}")
    ground.playground.wait_active(balancer["id"])
    return took_s * 1000
