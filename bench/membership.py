"""From the request that adds a member to the first answer that comes from it, without a reload."""

import time
from typing import Any

import msgspec

from bench.client import ApiConnection, wait_for_name
from bench.engines import count_reloads
from bench.figures import Figure, median, spread
from bench.ground import Ground
from statera.cli.playground import WEB_PORT, WebServer


def run(ground: Ground, runs: int) -> list[Figure]:
    """Add a member, wait for its first answer, remove it; again and again on one load balancer."""
    base, added = ground.servers[:2]
    took_ms, accepted_ms = [], []
    with ground.load_balancer("member", [base]) as balancer, ground.api() as api:
        _, folders = ground.find_amphora(balancer["id"])
        before = count_reloads(folders)
        for _ in range(runs):
            whole, accepted = _measure(ground, api, balancer, added)
            took_ms.append(whole)
            accepted_ms.append(accepted)
        reloads = count_reloads(folders) - before
    detail = f"{spread(took_ms, 'ms')}; the API's answer takes {median(accepted_ms):.0f} ms of it"
    return [
        Figure(what="member added -> takes traffic, p50", value=median(took_ms), unit="ms", budget=150, detail=detail),
        Figure(what="reloads by adding and removing members", value=reloads, budget=0),
    ]


def _measure(ground: Ground, api: ApiConnection, balancer: Any, server: WebServer) -> tuple[float, float]:
    vip, path = balancer["vip_address"], f"/v2/lbaas/pools/{balancer['pools'][0]['id']}/members"
    body = {"member": {"name": server.name, "address": server.address, "protocol_port": WEB_PORT}}
    begun = time.monotonic()
    member = msgspec.json.decode(api.request("POST", path, body))["member"]
    accepted = time.monotonic()
    wait_for_name(vip, name=server.name)
    took_s = time.monotonic() - begun
    ground.playground.wait_active(balancer["id"])
    api.request("DELETE", f"{path}/{member['id']}")
    ground.playground.wait_active(balancer["id"])
    return took_s * 1000, (accepted - begun) * 1000
