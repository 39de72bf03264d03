"""Amphorae are replaced, wanted or not; real requests through the VIP say what clients notice of it."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.watch import Watch
from statera.cli.playground import ask
from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.root]

AMPHORAE = "/v2/octavia/amphorae"
BUDGET_S = 5.0
"""Longest time without service when the amphora of a load balancer is replaced."""


def make_overrides() -> dict[str, Any]:
    return {
        "reconcile": {"lease_s": 2.0, "backoff_most_s": 1.0, "orphan_grace_s": 2.0},
        "compute": {"agent_timeout_s": 2.0},
    }


def _create(installation: Installation, name: str) -> Any:
    made = installation.playground.create_load_balancer(name, installation.servers)
    return installation.playground.wait_active(made["id"])


def _delete(installation: Installation, load_balancer_id: str) -> None:
    installation.playground.request("DELETE", f"/v2/lbaas/loadbalancers/{load_balancer_id}?cascade=true")
    installation.playground.wait_gone(load_balancer_id)
    assert installation.list_namespaces() == []


def _list(installation: Installation, load_balancer_id: str) -> list[dict[str, Any]]:
    answer = installation.playground.request("GET", f"{AMPHORAE}?loadbalancer_id={load_balancer_id}")
    return list(answer["amphorae"])


def _stats(installation: Installation, load_balancer_id: str) -> Any:
    return installation.playground.request("GET", f"/v2/lbaas/loadbalancers/{load_balancer_id}/stats")["stats"]


def _wait_replaced(installation: Installation, load_balancer_id: str, old_id: str) -> dict[str, Any]:
    """Wait until another amphora alone serves, and return it."""

    def is_replaced() -> Any:
        found = _list(installation, load_balancer_id)
        return found if [one["status"] for one in found] == ["ALLOCATED"] and found[0]["id"] != old_id else None

    [fresh] = installation.playground.wait_for(
        is_replaced, "Another amphora", explain=lambda: str(installation.events(load_balancer_id)[:5])
    )
    return dict(fresh)


def test_a_wanted_failover_is_hardly_felt_and_counts_go_on(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "wanted")
    [old] = _list(installation, balancer["id"])
    for turn in range(3):
        with Watch(balancer["vip_address"], timeout_s=1.0) as clients:
            playground.wait_for(partial(clients.has_more_than, 20), "Answers")
            begun = time.monotonic()
            path = f"{AMPHORAE}/{old['id']}" if turn else f"/v2/lbaas/loadbalancers/{balancer['id']}"
            playground.request("PUT", f"{path}/failover")
            fresh = _wait_replaced(installation, balancer["id"], old["id"])
            took_s = time.monotonic() - begun
            playground.wait_active(balancer["id"])
            seen = len(clients.answered)
            playground.wait_for(partial(clients.has_more_than, seen + 20), "Answers")
        told = f"{took_s:.2f} s, {clients.longest_gap_s:.3f} s without an answer, {clients.failed} failed"
        print(f"failover {turn}: {told} of {len(clients.answered)}")
        assert clients.longest_gap_s < BUDGET_S, told
        assert (fresh["ha_ip"], fresh["ha_port_id"]) == (balancer["vip_address"], balancer["vip_port_id"])
        assert fresh["vrrp_ip"] != old["vrrp_ip"]
        old = fresh
    assert len(installation.list_namespaces()) == 1
    _delete(installation, balancer["id"])


def test_totals_survive_reloads_failovers_and_a_new_agent(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "counted")
    listener_id = balancer["listeners"][0]["id"]
    asked = 0

    def ask_some() -> None:
        nonlocal asked
        for _ in range(25):
            assert ask(balancer["vip_address"]) is not None
            asked += 1

    def is_counted() -> bool:
        return bool(_stats(installation, balancer["id"])["total_connections"] == asked)

    def expect_counted(after: str) -> None:
        playground.wait_for(is_counted, after, explain=lambda: f"{asked}: {_stats(installation, balancer['id'])}")

    ask_some()
    expect_counted("The first requests")
    for limit in (500, 501):
        ask_some()
        playground.request("PUT", f"/v2/lbaas/listeners/{listener_id}", {"listener": {"connection_limit": limit}})
        playground.wait_active(balancer["id"])
    ask_some()
    expect_counted("All requests over reloads")
    assert any("Reloaded" in event["what"] for event in installation.events(balancer["id"]))
    killed = installation.kill("agent")
    playground.wait_for(lambda: installation.find_process("agent") != killed, "A new agent")
    ask_some()
    [old] = _list(installation, balancer["id"])
    playground.request("PUT", f"{AMPHORAE}/{old['id']}/failover")
    _wait_replaced(installation, balancer["id"], old["id"])
    ask_some()
    expect_counted("All requests over a failover")
    stats = playground.request("GET", f"/v2/lbaas/listeners/{listener_id}/stats")["stats"]
    assert stats == _stats(installation, balancer["id"])
    assert stats["bytes_in"] > 0 < stats["bytes_out"]
    [fresh] = _list(installation, balancer["id"])
    [own] = playground.request("GET", f"{AMPHORAE}/{fresh['id']}/stats")["amphora_stats"]
    assert own["total_connections"] == 25
    _delete(installation, balancer["id"])


@pytest.mark.parametrize("what", ["processes and namespace", "namespace alone", "interface"])
def test_a_broken_sandbox_serves_again(installation: Installation, what: str) -> None:
    playground = installation.playground
    balancer = _create(installation, "broken")
    (namespace,) = installation.list_namespaces()
    before = installation.find_haproxy(namespace)
    with Watch(balancer["vip_address"], timeout_s=1.0) as clients:
        playground.wait_for(partial(clients.has_more_than, 20), "Answers")
        if what == "interface":
            subprocess.run(["ip", "-n", namespace, "link", "del", "eth0"], check=True)
            # The agent looks at processes; what the interface is, the next pass finds.
            [amphora] = _list(installation, balancer["id"])
            playground.request("PUT", f"{AMPHORAE}/{amphora['id']}/config")
        else:
            if what == "processes and namespace":
                for pid in before:
                    os.kill(pid, signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", namespace], check=True)
        broken = time.monotonic()
        playground.wait_for(partial(clients.has_answer_after, broken + 0.3), "An answer", BUDGET_S * 2)
    print(f"{what}: {clients.longest_gap_s:.2f} s without an answer, {clients.failed} failed")
    assert clients.longest_gap_s < BUDGET_S
    after = installation.find_haproxy(namespace)
    if what != "interface":
        playground.wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in before), "The end of the old ones")
        assert not set(after) & set(before)
    playground.wait_active(balancer["id"])
    _delete(installation, balancer["id"])


def test_failovers_edits_and_a_delete_at_once_converge(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "stormy")
    pool = f"/v2/lbaas/pools/{balancer['pools'][0]['id']}"
    for number in range(8):
        playground.request("PUT", f"/v2/lbaas/loadbalancers/{balancer['id']}/failover")
        member = {"address": installation.servers[0].address, "protocol_port": 9000 + number, "backup": True}
        playground.request("POST", f"{pool}/members", {"member": member})
        if number == 4:
            installation.kill("worker")
        for amphora in _list(installation, balancer["id"]):
            playground.client.put(f"{AMPHORAE}/{amphora['id']}/failover")
    playground.wait_active(balancer["id"], 60.0)
    assert ask(balancer["vip_address"]) is not None
    assert len(_list(installation, balancer["id"])) == len(installation.list_namespaces()) == 1
    assert len(playground.request("GET", f"{pool}/members")["members"]) == 11
    playground.request("PUT", f"/v2/lbaas/loadbalancers/{balancer['id']}/failover")
    _delete(installation, balancer["id"])
    assert playground.request("GET", "/network/v2.0/ports")["ports"] == []


def test_an_operator_lists_shows_and_replaces(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "operated")
    [old] = _list(installation, balancer["id"])

    def statera(*words: str) -> str:
        command = [sys.executable, "-m", "statera", "amphora", *words, "--config", str(playground.config_path)]
        environment = os.environ | {"COLUMNS": "200"}
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=environment)
        return done.stdout + done.stderr

    assert re.search(rf"{old['id']}\s+{balancer['id']}\s+local\s+STANDALONE\s+ALLOCATED", statera("list"))
    assert old["id"] not in statera("list", "--host", "elsewhere")
    assert statera("list", "--host", "local", "--ids").split() == [old["id"]]
    shown = statera("show", old["id"])
    assert balancer["vip_address"] in shown
    assert old["vrrp_ip"] in shown
    assert "will be replaced" in statera("failover", old["id"])
    _wait_replaced(installation, balancer["id"], old["id"])
    assert f"statera: Amphora {old['id']} not found." in statera("failover", old["id"])
    _delete(installation, balancer["id"])
