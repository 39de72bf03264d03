"""Agents of older protocols with today's controllers, and the reverse: real processes, real traffic."""

import itertools
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from statera.cli.playground import ask
from statera.model.protocol import FIRST_PROTOCOL, PROTOCOL
from tests.hosts.ground import Ground, raise_ground
from tests.hosts.service import STATERA, Service

pytestmark = [pytest.mark.e2e, pytest.mark.root]

ROOT = Path(__file__).parents[2]
OLDER_AGENTS = (
    *itertools.pairwise(range(FIRST_PROTOCOL + 1, PROTOCOL)),
    (FIRST_PROTOCOL, FIRST_PROTOCOL),
)
"""What the agents of the two hosts speak; those of the first protocol come last, and stay."""
OPTIONS: dict[str, Any] = {
    "reconcile": {"lease_s": 2.0, "backoff_most_s": 1.0, "recheck_s": 0.3, "orphan_grace_s": 2.0},
    "compute": {"agent_timeout_s": 2.0},
    "health": {"stale_after_s": 3.0},
}
RECHECKS = 3


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Two hosts with agents and controllers of today."""
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("plays hosts with namespaces: needs root")
    tag = f"u{os.getpid() % 10_000}"
    with raise_ground(tag, hosts=2, overrides=OPTIONS) as made:
        yield made


def _older(protocol: int) -> tuple[str, ...]:
    return ("env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.upgrade.older", str(protocol))


def exchange(service: Service, launcher: tuple[str, ...]) -> None:
    """Start a process anew, of another version."""
    service.stop()
    service.launcher = launcher
    service.start()


def live_a_whole_life(ground: Ground, name: str) -> None:
    """Create, edit, fail over and delete a load balancer; nothing is done twice for nothing."""
    balancer = ground.wait_active(ground.create_load_balancer(name, ground.servers)["id"])
    vip = balancer["vip_address"]
    assert {ask(vip) for _ in range(6)} == {"web1", "web2"}
    _check_quiet(ground, balancer)
    pool = balancer["pools"][0]["id"]
    ground.request("PUT", f"/v2/lbaas/pools/{pool}", {"pool": {"lb_algorithm": "LEAST_CONNECTIONS"}})
    listener = balancer["listeners"][0]["id"]
    ground.request("PUT", f"/v2/lbaas/listeners/{listener}", {"listener": {"allowed_cidrs": ["0.0.0.0/0"]}})
    policy = {"listener_id": listener, "action": "REJECT", "rules": [_rule("PATH", "/closed")]}
    ground.request("POST", "/v2/lbaas/l7policies", {"l7policy": policy})
    ground.wait_active(balancer["id"])
    _check_quiet(ground, balancer)
    (before,) = ground.list_amphorae(balancer["id"])
    ground.request("PUT", f"/v2/lbaas/loadbalancers/{balancer['id']}/failover")
    ground.wait_for(lambda: _has_one_but(ground, balancer, before["id"]), "Another amphora")
    ground.wait_active(balancer["id"])
    assert ask(vip) is not None
    _check_quiet(ground, balancer)
    _delete(ground, balancer)


def _rule(kind: str, value: str) -> dict[str, str]:
    return {"type": kind, "compare_type": "EQUAL_TO", "value": value}


def _has_one_but(ground: Ground, balancer: Any, amphora_id: str) -> bool:
    found = [one["id"] for one in ground.list_amphorae(balancer["id"])]
    return len(found) == 1 and amphora_id not in found


def _delete(ground: Ground, balancer: Any) -> None:
    ground.request("DELETE", f"/v2/lbaas/loadbalancers/{balancer['id']}?cascade=true")
    ground.wait_gone(balancer["id"])
    assert [machine.list_sandboxes() for machine in ground.machines.values()] == [[], []]


def _check_quiet(ground: Ground, balancer: Any) -> None:
    """See that re-checks find everything as it should be, and order nothing."""
    _wait_recheck(ground, balancer)
    ordered = _count_orders(ground)
    for _ in range(RECHECKS):
        _wait_recheck(ground, balancer)
    assert _count_orders(ground) == ordered


def _wait_recheck(ground: Ground, balancer: Any) -> None:
    before = _read_due(ground, balancer)
    ground.wait_for(lambda: _read_due(ground, balancer) != before, "A re-check")


def _read_due(ground: Ground, balancer: Any) -> Any:
    with psycopg.connect(ground.database.url) as connection:
        return connection.execute("SELECT due_at FROM load_balancers WHERE id = %s", [balancer["id"]]).fetchone()


def _count_orders(ground: Ground) -> int:
    """Return how often agents were asked to build or to configure an amphora."""
    logs = [path.read_text(errors="replace") for path in ground.data_dir.glob("agent-*.log")]
    return sum(len(re.findall(r"PUT /v1/amphorae", log)) for log in logs)


# Those between differ from them by no more than messages do: `test_wire.py` has them all.
@pytest.mark.parametrize("protocol", [FIRST_PROTOCOL, PROTOCOL - 1])
def test_an_older_controller_uses_the_agents_of_today(ground: Ground, protocol: int) -> None:
    exchange(ground.controllers["worker1"], _older(protocol))
    live_a_whole_life(ground, f"older-controller-{protocol}")
    exchange(ground.controllers["worker1"], STATERA)


@pytest.mark.parametrize("protocols", OLDER_AGENTS)
def test_the_controller_of_today_uses_older_agents(ground: Ground, protocols: tuple[int, int]) -> None:
    for agent, protocol in zip(ground.agents.values(), protocols, strict=True):
        exchange(agent, _older(protocol))
    live_a_whole_life(ground, "older-agents")


def test_what_older_agents_do_not_know_is_refused_by_name_until_they_are_upgraded(ground: Ground) -> None:
    single = ground.wait_active(ground.create_load_balancer("single", ground.servers)["id"])
    pair = ground.create_load_balancer("pair", ground.servers, topology="ACTIVE_STANDBY")

    def find_reason() -> Any:
        reason = (ground.show(pair["id"]) or {}).get("status_reason") or {}
        return reason if reason.get("slug") == "agent-too-old" else None

    reason = ground.wait_for(find_reason, "The reason", explain=lambda: json.dumps(ground.show(pair["id"])))
    assert "ACTIVE_STANDBY" in reason["sentence"]
    for agent in ground.agents.values():
        assert ask(single["vip_address"]) is not None
        exchange(agent, STATERA)
    shown = ground.wait_active(pair["id"])
    assert shown["status_reason"] is None
    # What was tried before the upgrade, and could not be finished, goes with the next look.
    ground.wait_for(lambda: len(ground.list_amphorae(pair["id"])) == 2, "A pair and nothing beside it")
    assert ask(pair["vip_address"]) is not None
    # What older agents remembered of the other one is as good as what they are told now.
    ground.wait_active(single["id"])
    _check_quiet(ground, single)
    assert ask(single["vip_address"]) is not None
    ground.request("DELETE", f"/v2/lbaas/loadbalancers/{single['id']}?cascade=true")
    ground.wait_gone(single["id"])
    _delete(ground, pair)
