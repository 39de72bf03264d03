"""Everything is killed at some moment, and everything converges by itself."""

import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from statera.cli.playground import ask
from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.root]


def make_overrides() -> dict[str, Any]:
    """Short leases and waits, so that the tests see in seconds what operators see in a minute."""
    return {
        "reconcile": {"lease_s": 2.0, "backoff_most_s": 1.0, "orphan_grace_s": 2.0, "error_after_s": 3.0},
        "compute": {"agent_timeout_s": 2.0},
    }


def _create(installation: Installation, name: str) -> Any:
    made = installation.playground.create_load_balancer(name, installation.servers)
    return installation.playground.wait_active(made["id"])


def _delete(installation: Installation, *ids: str) -> None:
    for one in ids:
        installation.playground.request("DELETE", f"/v2/lbaas/loadbalancers/{one}?cascade=true")
    for one in ids:
        installation.playground.wait_gone(one)


def test_traffic_flows_on_while_the_agent_is_killed_and_adopts(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "adopted")
    (namespace,) = installation.list_namespaces()
    before = installation.find_haproxy(namespace)
    killed = installation.kill("agent")
    answers = {ask(balancer["vip_address"]) for _ in range(30)}
    assert answers == {"web1", "web2", "web3"}
    playground.wait_for(lambda: installation.find_process("agent") != killed, "A new agent")
    path = f"/v2/lbaas/pools/{balancer['pools'][0]['id']}/members"
    playground.request("POST", path, {"member": {"address": installation.servers[0].address6, "protocol_port": 9}})
    playground.wait_active(balancer["id"])
    assert installation.find_haproxy(namespace) == before
    _delete(installation, balancer["id"])


def test_a_killed_haproxy_comes_back(installation: Installation) -> None:
    balancer = _create(installation, "revived")
    (namespace,) = installation.list_namespaces()
    before = installation.find_haproxy(namespace)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    installation.playground.wait_for(lambda: ask(balancer["vip_address"]), "An answer")
    assert not set(installation.find_haproxy(namespace)) & set(before)
    _delete(installation, balancer["id"])


def test_a_configuration_that_is_refused_leaves_the_old_one_and_tells_why(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "refused")
    installation.mark.touch()
    listener = f"/v2/lbaas/listeners/{balancer['listeners'][0]['id']}"
    playground.request("PUT", listener, {"listener": {"connection_limit": 77}})

    def is_error() -> Any:
        shown = playground.show(balancer["id"])
        return shown if shown["provisioning_status"] == "ERROR" else None

    shown = playground.wait_for(is_error, "ERROR")
    assert "refused by the test" in shown["status_reason"]["sentence"]
    assert ask(balancer["vip_address"]) is not None
    installation.mark.unlink()
    healed = playground.wait_active(balancer["id"])
    assert healed["status_reason"] is None
    _delete(installation, balancer["id"])


def test_an_agent_that_does_not_answer_is_named_and_waited_for(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "waiting")
    agent = installation.find_process("agent")
    os.kill(agent, signal.SIGSTOP)
    try:
        pool = f"/v2/lbaas/pools/{balancer['pools'][0]['id']}"
        playground.request("PUT", pool, {"pool": {"lb_algorithm": "LEAST_CONNECTIONS"}})

        def has_reason() -> Any:
            return (playground.show(balancer["id"])["status_reason"] or {}).get("slug") == "agent-unreachable"

        playground.wait_for(has_reason, "The reason")
        playground.wait_for(lambda: playground.show(balancer["id"])["provisioning_status"] == "ERROR", "ERROR")
        assert ask(balancer["vip_address"]) is not None
    finally:
        os.kill(agent, signal.SIGCONT)
    healed = playground.wait_active(balancer["id"])
    assert healed["status_reason"] is None
    _delete(installation, balancer["id"])


def test_the_database_goes_away_and_comes_back(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "databaseless")
    folder = playground.data_dir / "postgres"
    postmaster = int((folder / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGSTOP)
    os.kill(postmaster, signal.SIGKILL)
    statuses = set()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        statuses.add(playground.client.get("/v2/lbaas/loadbalancers").status_code)
        assert ask(balancer["vip_address"]) is not None
        if statuses == {200, 503} and playground.client.get("/v2/lbaas/loadbalancers").status_code == 200:
            break
    assert statuses <= {200, 503}
    playground.wait_for(lambda: playground.client.get("/v2/lbaas/loadbalancers").status_code == 200, "The API")
    again = _create(installation, "afterwards")
    assert ask(again["vip_address"]) is not None
    _delete(installation, balancer["id"], again["id"])


def test_workers_killed_at_random_leave_nothing_half_done(installation: Installation) -> None:
    """Twenty load balancers are created and half of them deleted while workers and agents die every few moments."""
    playground = installation.playground
    chance = random.Random(20)
    ids: list[str] = []
    doomed: list[str] = []
    deadline = time.monotonic() + 90
    while (len(ids) < 20 or len(doomed) < 10) and time.monotonic() < deadline:
        if len(ids) < 20:
            ids.append(playground.create_load_balancer(f"storm-{len(ids)}", installation.servers)["id"])
        if len(ids) > 5 and len(doomed) < 10 and chance.random() < 0.6:
            victim = chance.choice([one for one in ids if one not in doomed])
            playground.request("DELETE", f"/v2/lbaas/loadbalancers/{victim}?cascade=true")
            doomed.append(victim)
        if chance.random() < 0.3:
            _kill_if_there(installation, chance.choice(["worker", "worker", "agent"]))
        time.sleep(chance.random() * 0.2)
    assert len(ids) == 20
    for one in ids:
        if one in doomed:
            playground.wait_gone(one, 60.0)
        else:
            shown = playground.wait_active(one, 60.0)
            playground.wait_for(partial(ask, shown["vip_address"]), f"An answer from {one}")
    _expect_sandboxes(installation, 10)
    _delete(installation, *[one for one in ids if one not in doomed])
    _expect_sandboxes(installation, 0)
    ports = playground.request("GET", "/network/v2.0/ports")["ports"]
    assert ports == []


def _kill_if_there(installation: Installation, role: str) -> None:
    pid = installation.look_for(role)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)


def _expect_sandboxes(installation: Installation, wanted: int) -> None:
    def count() -> bool:
        kept = installation.list_namespaces()
        there = [name for name in kept if Path("/run/netns", name).exists()]
        return len(kept) == len(there) == wanted

    installation.playground.wait_for(count, f"{wanted} sandboxes", 60.0, lambda: str(installation.list_namespaces()))


def test_a_stopped_installation_serves_and_is_taken_up_again(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "standing")
    playground.stop_installation()
    assert {ask(balancer["vip_address"]) for _ in range(9)} == {"web1", "web2", "web3"}
    playground.start_installation()
    playground.wait_active(balancer["id"])
    path = f"/v2/lbaas/pools/{balancer['pools'][0]['id']}/members"
    playground.request("POST", path, {"member": {"address": installation.servers[0].address, "protocol_port": 9}})
    playground.wait_active(balancer["id"])
    _delete(installation, balancer["id"])
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{balancer['vip_address']}/", timeout=2.0, trust_env=False)
