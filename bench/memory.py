"""What all processes of an installation cost when nothing happens, and what one load balancer costs."""

import time
from pathlib import Path

from bench.client import ask_name
from bench.engines import list_pids, read_pss_kib
from bench.figures import Figure
from bench.ground import ONE, Ground

SETTLE_S = 3.0
"""Until what starting allocated is given back, and the first periodic chores are done."""
REQUESTS = 200


def run(ground: Ground, runs: int) -> list[Figure]:
    """Restart the processes, use all of them once, and weigh them. Runs do not change it."""
    del runs
    playground = ground.playground
    found = _weigh_processes(ground)
    playground.stop_installation()
    playground.start_installation()
    with ground.load_balancer("memory") as balancer:
        for _ in range(REQUESTS):
            ask_name(balancer["vip_address"], timeout_s=1.0)
        for path in (ONE, f"{ONE}/{balancer['id']}/status", "/v2/lbaas/listeners"):
            playground.request("GET", path)
        time.sleep(SETTLE_S)
        _, folders = ground.find_amphora(balancer["id"])
        weights = _weigh_processes(ground)
        sandbox = [read_pss_kib(pid) / 1024 for pid in list_pids(ground.find_master(folders))]
    return [
        Figure(
            what="all control processes, idle",
            value=sum(weights.values()),
            unit="MiB",
            budget=350,
            detail=_list(weights),
        ),
        Figure(what="the same before their restart", value=sum(found.values()), unit="MiB", detail=_list(found)),
        Figure(
            what="one SINGLE load balancer",
            value=sum(sandbox),
            unit="MiB",
            budget=20,
            detail="HAProxy's master and worker: " + " + ".join(f"{weight:.1f}" for weight in sandbox),
        ),
    ]


def _weigh_processes(ground: Ground) -> dict[str, float]:
    """Return the MiB (PSS) of each process by role, PostgreSQL left out."""
    up = ground.playground.up
    assert up is not None
    weights: dict[str, float] = {"up": read_pss_kib(up.pid) / 1024}
    for pid in list_pids(up.pid)[1:]:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"statera" in words:
            role = words[words.index(b"statera") + 1].decode()
            weights[role] = weights.get(role, 0.0) + read_pss_kib(pid) / 1024
    return weights


def _list(weights: dict[str, float]) -> str:
    return ", ".join(f"{role} {weight:.0f}" for role, weight in weights.items())
