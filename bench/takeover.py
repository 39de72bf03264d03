"""How long clients are without service when one of two amphorae (ACTIVE_STANDBY) dies, and what their sessions do.

Two hosts are played by namespaces (`tests/hosts`). The amphora that has the VIP is hurt; clients ask all the time. Each
has a member of its own (SOURCE_IP persistence), and should find it again.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench.client import ask_name
from bench.figures import Figure, median, spread
from bench.ground import Ground
from bench.watch import Watch
from statera.base.errors import Lasting
from tests.hosts.ground import Ground as Hosts
from tests.hosts.ground import raise_ground

TAG = "benchpair"
CLIENTS = 3
PATIENCE_S = 0.1
"""Of a client: one that waits for longer measures its own patience."""
WITHIN_S = 60.0
SETTLE_S = 0.5
PEERS_S = 6.0
"""HAProxy tries again every five seconds to reach a peer, at worst: a second death within that time costs sessions."""
BUDGET_MS = 1000
OVERRIDES = {
    "reconcile": {"recheck_s": 2.0, "backoff_most_s": 1.0},
    "compute": {"agent_timeout_s": 4.0},
    # Whom the other one covers for is not replaced here: it comes back.
    "failover": {"automatic": False},
}


Hurt = Callable[[Hosts, str, str], Callable[[], None]]
"""Hurts the amphora on a host, and returns how that is mended."""


def run(_: Ground, runs: int) -> list[Figure]:
    """Hurt the one that has the VIP in each way, again and again."""
    turns = max(3, min(10, runs // 6))
    ways: list[tuple[str, Hurt]] = [
        ("HAProxy killed", _kill_haproxy),
        ("sandbox killed", _kill_sandbox),
        ("link down", _cut_link),
        ("host gone", _stop_host),
    ]
    figures = []
    with raise_ground(TAG, hosts=2, servers=3, overrides=OVERRIDES) as hosts:
        made = hosts.create_load_balancer("pair", hosts.servers, topology="ACTIVE_STANDBY")
        balancer = hosts.wait_active(made["id"])
        pool = {"pool": {"session_persistence": {"type": "SOURCE_IP"}}}
        hosts.request("PUT", f"/v2/lbaas/pools/{balancer['pools'][0]['id']}", pool)
        hosts.wait_active(made["id"])
        for what, hurt in ways:
            told = [_measure(hosts, balancer, hurt) for _ in range(turns)]
            figures += _tell(what, told)
    return figures


def _tell(what: str, told: list[Watch]) -> list[Figure]:
    gaps_ms = [watch.longest_gap_s * 1000 for watch in told]
    kept = sum(1 for watch in told if len(watch.names) == 1)
    failed = sum(watch.failed for watch in told)
    return [
        Figure(
            what=f"without service, {what}, worst",
            value=max(gaps_ms),
            unit="ms",
            budget=BUDGET_MS,
            detail=f"p50 {median(gaps_ms):.0f} ms, {spread(gaps_ms, 'ms')}; {failed} requests failed",
        ),
        Figure(what=f"sessions kept, {what}", value=100 * kept / len(told), unit="%", budget=100, at_least=True),
    ]


def _measure(hosts: Hosts, balancer: Any, hurt: Hurt) -> Watch:
    vip = balancer["vip_address"]
    holder, amphora_id = _wait_ready(hosts, balancer)
    # Of clients that come at the same moment, and of whose address nothing is known, each would be given any member.
    hosts.wait_for(lambda: ask_name(vip, timeout_s=PATIENCE_S), "The first answer", WITHIN_S)
    with Watch(vip, clients=CLIENTS, timeout_s=PATIENCE_S) as watch:
        _wait_more(hosts, watch, 50)
        mend = hurt(hosts, holder, amphora_id)
        _wait_more(hosts, watch, 100)
        time.sleep(SETTLE_S)
    mend()
    return watch


def _wait_more(hosts: Hosts, watch: Watch, more: int) -> None:
    begun = len(watch.answered)
    hosts.wait_for(partial(watch.has_more_than, begun + more), "Answers", WITHIN_S)


def _wait_ready(hosts: Hosts, balancer: Any) -> tuple[str, str]:
    """Wait until both stand, one of them with the VIP, and the database agrees; return that one."""

    def find() -> Any:
        holders = []
        # A sandbox that is being made cannot be asked.
        with contextlib.suppress(Lasting):
            holders = hosts.find_holders(balancer["vip_address"])
        shown = hosts.list_amphorae(balancer["id"])
        whole = [one["status"] for one in shown] == ["ALLOCATED"] * 2 and all(_count(hosts, one) >= 4 for one in shown)
        return holders[0] if len(holders) == 1 and whole else None

    holder = hosts.wait_for(find, "Both amphorae", WITHIN_S)
    hosts.wait_active(balancer["id"], WITHIN_S)
    time.sleep(PEERS_S)
    return str(holder[0]), str(holder[1])


def _count(hosts: Hosts, amphora: Any) -> int:
    """Return how many processes an amphora has: two of HAProxy, two of keepalived."""
    machine = hosts.machines[amphora["host"]]
    there = machine.is_on and amphora["id"] in machine.list_sandboxes()
    return len(machine.list_processes(amphora["id"])) if there else 0


def _kill_haproxy(hosts: Hosts, holder: str, amphora_id: str) -> Callable[[], None]:
    _kill(hosts, holder, amphora_id, "haproxy")
    return lambda: None


def _kill_sandbox(hosts: Hosts, holder: str, amphora_id: str) -> Callable[[], None]:
    """Kill all that runs in it and take its interface away."""
    _kill(hosts, holder, amphora_id, "")
    # Its agent may be mending it already.
    with contextlib.suppress(Lasting):
        hosts.machines[holder].run("ip", "netns", "exec", f"statera-{amphora_id}", "ip", "link", "delete", "eth0")
    return lambda: None


def _kill(hosts: Hosts, holder: str, amphora_id: str, program: str) -> None:
    for pid in hosts.machines[holder].list_processes(amphora_id):
        with contextlib.suppress(OSError):
            if not program or Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() == program:
                os.kill(pid, signal.SIGKILL)


def _cut_link(hosts: Hosts, holder: str, _: str) -> Callable[[], None]:
    hosts.machines[holder].cut("provider")
    return lambda: hosts.machines[holder].heal("provider")


def _stop_host(hosts: Hosts, holder: str, _: str) -> Callable[[], None]:
    hosts.stop_host(holder)
    return lambda: hosts.start_host(holder)
