"""Requests per second through our HAProxy against one that somebody configured by hand, in the same sandbox."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.aside import count_aside
from bench.engines import list_pids, read_cpu_s, running_beside
from bench.figures import Figure, median, percentile
from bench.flood import WARM_S
from bench.ground import DATA_DIR, Ground
from statera.agent.namespace import namespace_name
from statera.cli.playground import WebServer

ORIGIN_PORT = 8081
HAND_PORT = 8090
SECONDS = 0.5
PAIRS_PER_RUN = 2
"""Short turns: the processors of a virtual machine change their pace within seconds, and both of a pair should meet the
same."""

# An origin that is never the narrowest place: HAProxy answering by itself.
ORIGIN = """
global
    maxconn 2000
    nbthread 1
defaults
    mode http
    timeout client 1m
    timeout server 1m
    timeout connect 5s
frontend origin
    bind 0.0.0.0:{port}
    http-request return status 200 content-type text/plain string "origin"
"""

# What an experienced operator writes for the same purpose, with the thread that a sandbox has.
BY_HAND = """
global
    maxconn 2000
    nbthread 1
    user haproxy
    group haproxy
defaults
    mode http
    timeout client 50s
    timeout server 50s
    timeout connect 5s
frontend www
    bind {vip}:{hand_port}
    default_backend servers
backend servers
    balance roundrobin
    option httpchk GET /
    server one {address}:{origin_port} check inter 1s
"""


def run(ground: Ground, runs: int) -> list[Figure]:
    """Flood both in turn, ours first and last in every second round, and compare the medians."""
    server = ground.servers[0]
    ours: list[float] = []
    by_hand: list[float] = []
    pairs = runs * PAIRS_PER_RUN
    with _serving_origin(server), _load_balancer(ground, server) as balancer, _by_hand(ground, balancer, server) as pid:
        _, folders = ground.find_amphora(balancer["id"])
        our_pids, hand_pids = list_pids(ground.find_master(folders)), list_pids(pid)
        cpu_before = read_cpu_s(our_pids), read_cpu_s(hand_pids)
        for number in range(pairs):
            rounds = [(80, ours), (HAND_PORT, by_hand)]
            for port, rates in rounds if number % 2 else reversed(rounds):
                rates.append(count_aside("bench.flood", balancer["vip_address"], port, SECONDS))
        cpu_s = read_cpu_s(our_pids) - cpu_before[0], read_cpu_s(hand_pids) - cpu_before[1]
    ratios = [mine / other for mine, other in zip(ours, by_hand, strict=True)]
    detail = f"{median(ours):,.0f}/s against {median(by_hand):,.0f}/s, {pairs} alternating pairs"
    detail += f", half of them between {percentile(ratios, 25):.2f} and {percentile(ratios, 75):.2f}"
    # The processor time is that of the flood's start, too, whose answers are not counted.
    flooded_s = SECONDS + WARM_S
    cost_us = cpu_s[0] / (sum(ours) * flooded_s) * 1e6, cpu_s[1] / (sum(by_hand) * flooded_s) * 1e6
    busy = cpu_s[0] / (pairs * flooded_s)
    return [
        Figure(what="requests/s, ours : by hand", value=median(ratios), budget=0.98, at_least=True, detail=detail),
        Figure(
            what="processor time per request, by hand : ours",
            value=cost_us[1] / cost_us[0],
            detail=f"{cost_us[0]:.1f} us against {cost_us[1]:.1f} us; busy {busy:.0%} with ours",
        ),
    ]


@contextmanager
def _serving_origin(server: WebServer) -> Iterator[None]:
    text = ORIGIN.format(port=ORIGIN_PORT)
    place = (server.address, ORIGIN_PORT)
    with running_beside(server.namespace, DATA_DIR / "origin.cfg", text, place):
        yield


@contextmanager
def _load_balancer(ground: Ground, server: WebServer) -> Iterator[Any]:
    with ground.load_balancer("proxy", [server]) as balancer:
        pool_id = balancer["pools"][0]["id"]
        members = {"members": [{"address": server.address, "protocol_port": ORIGIN_PORT}]}
        ground.playground.request("PUT", f"/v2/lbaas/pools/{pool_id}/members", members)
        yield ground.playground.wait_active(balancer["id"])


@contextmanager
def _by_hand(ground: Ground, balancer: Any, server: WebServer) -> Iterator[int]:
    amphora_id, folders = ground.find_amphora(balancer["id"])
    vip = balancer["vip_address"]
    text = BY_HAND.format(vip=vip, hand_port=HAND_PORT, address=server.address, origin_port=ORIGIN_PORT)
    master = ground.find_master(folders)
    file = DATA_DIR / "by-hand.cfg"
    with running_beside(namespace_name(amphora_id), file, text, (vip, HAND_PORT), like=master) as pid:
        yield pid
