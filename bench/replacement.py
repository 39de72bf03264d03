"""How long a load balancer (SINGLE) is without service when its host is lost: its amphora is replaced on another one.

Three hosts are played by namespaces (`tests/hosts`). Clients ask while one loses its power. The budget counts from the
moment at which the control plane has the proof and gives the amphora up; how long silence lasts before that is a choice
of the operator (`health.stale_after_s`), and short here.
"""

import datetime as dt
import time
from typing import Any

from bench.figures import Figure, median, spread
from bench.ground import ONE, Ground
from bench.watch import Watch
from tests.hosts.ground import Ground as Hosts
from tests.hosts.ground import raise_ground

TAG = "benchlost"
PATIENCE_S = 0.1
WITHIN_S = 60.0
BUDGET_MS = 5000
STALE_S = 2.0
OVERRIDES = {
    "compute": {"agent_timeout_s": 2.0},
    "health": {"stale_after_s": STALE_S},
    "agent": {"heartbeat_interval_s": 0.5},
}


def run(_: Ground, runs: int) -> list[Figure]:
    """Take the power of the host that has the amphora, bring it back when the successor serves, and again."""
    turns = max(3, min(10, runs // 10))
    with raise_ground(TAG, hosts=3, servers=2, overrides=OVERRIDES) as hosts:
        balancer = hosts.wait_active(hosts.create_load_balancer("lost", hosts.servers)["id"])
        told = [_measure(hosts, balancer) for _ in range(turns)]
    found_ms, whole_ms = [found for found, _ in told], [whole for _, whole in told]
    return [
        Figure(
            what="host lost: found lost -> served again, worst",
            value=max(found_ms),
            unit="ms",
            budget=BUDGET_MS,
            detail=f"p50 {median(found_ms):.0f} ms, {spread(found_ms, 'ms')}",
        ),
        Figure(
            what="host lost: without service, worst",
            value=max(whole_ms),
            unit="ms",
            detail=f"p50 {median(whole_ms):.0f} ms, of which {STALE_S:.0f} s of silence make it suspect",
        ),
    ]


def _measure(hosts: Hosts, balancer: Any) -> tuple[float, float]:
    """Return the milliseconds from the proof, and from the last answer, to the first answer of the successor."""
    (old,) = hosts.wait_for(lambda: _list_heard(hosts, balancer), "A heartbeat of the only amphora", WITHIN_S)
    with Watch(balancer["vip_address"], timeout_s=PATIENCE_S) as watch:
        hosts.wait_for(lambda: watch.has_more_than(20), "Answers", WITHIN_S)
        hosts.stop_host(old["host"])
        hurt_s = time.monotonic()
        hosts.wait_for(lambda: watch.has_answer_after(hurt_s + PATIENCE_S), "An answer of another host", WITHIN_S)
    served_s = next(moment for moment in watch.answered if moment > hurt_s + PATIENCE_S)
    # The history is written at the end of the pass, soon after the first answer.
    proof_s = hosts.wait_for(lambda: _find_proof(hosts, balancer, old["id"]), "The proof in the history", WITHIN_S)
    found_s = proof_s - (time.time() - time.monotonic())
    hosts.start_host(old["host"])
    return (served_s - found_s) * 1000, watch.longest_gap_s * 1000


def _list_heard(hosts: Hosts, balancer: Any) -> list[Any]:
    """Return the amphora once it is the only one and has spoken."""
    found = hosts.list_amphorae(balancer["id"])
    return found if [one["status"] for one in found] == ["ALLOCATED"] and found[0]["last_heartbeat_at"] else []


def _find_proof(hosts: Hosts, balancer: Any, amphora_id: str) -> float | None:
    """Return when the amphora was given up, as unix time; None while the history does not tell of it."""
    events = hosts.request("GET", f"{ONE}/{balancer['id']}/events")["events"]
    told = (one["at"] for one in events if one["what"].startswith(f"Give up amphora {amphora_id}"))
    return next((dt.datetime.fromisoformat(at).timestamp() for at in told), None)
