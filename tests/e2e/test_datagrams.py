"""UDP from the API to an echo through the VIP: spread, members that fail or go, statuses, counters, plan, failover."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from statera.cli.playground import WebServer, ask
from tests.e2e.conftest import Installation
from tests.fixtures.flow import Flow

pytestmark = [pytest.mark.e2e, pytest.mark.root]

PORT = 80
"""The HTTP listener has the same."""
MEMBER_PORT = 5300
ANSWER_WITHIN_S = 1.0
ECHO = """
import socket, sys
echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
echo.bind(("0.0.0.0", int(sys.argv[2])))
while True:
    _, sender = echo.recvfrom(65535)
    echo.sendto(sys.argv[1].encode(), sender)
"""


def make_overrides() -> dict[str, Any]:
    return {
        "api": {"udp_connect_min_interval_health_monitor": 1},
        "reconcile": {"lease_s": 2.0, "backoff_most_s": 1.0, "orphan_grace_s": 2.0},
    }


def run_echo(server: WebServer) -> "subprocess.Popen[bytes]":
    words = [sys.executable, "-S", "-c", ECHO, server.name, str(MEMBER_PORT)]
    return subprocess.Popen(["nsenter", f"--net=/run/netns/{server.namespace}", *words])


@pytest.fixture
def echoes(installation: Installation) -> Iterator[dict[str, "subprocess.Popen[bytes]"]]:
    """An echo in each server's namespace, by name; it answers with its name."""
    running = {server.name: run_echo(server) for server in installation.servers}
    try:
        yield running
    finally:
        for process in running.values():
            process.kill()
            process.wait()


def open_flow(address: str) -> Flow:
    return Flow(address, PORT, ANSWER_WITHIN_S)


def ask_often(address: str, times: int = 9) -> list[str]:
    answers = []
    for _ in range(times):
        with open_flow(address) as client:
            answers.append(client.ask())
    return sorted(answers)


def create(installation: Installation) -> Any:
    playground = installation.playground
    members = [{"name": s.name, "address": s.address, "protocol_port": MEMBER_PORT} for s in installation.servers]
    made = playground.create_load_balancer("datagrams", installation.servers)
    playground.wait_active(made["id"])
    body = {"name": "udp", "protocol": "UDP", "protocol_port": PORT, "loadbalancer_id": made["id"]}
    listener = playground.request("POST", "/v2/lbaas/listeners", {"listener": body})["listener"]
    body = {"name": "echoes", "protocol": "UDP", "lb_algorithm": "ROUND_ROBIN", "listener_id": listener["id"]}
    pool = playground.request("POST", "/v2/lbaas/pools", {"pool": body})["pool"]
    playground.request("PUT", f"/v2/lbaas/pools/{pool['id']}/members", {"members": members})
    monitor = {"type": "UDP-CONNECT", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1}
    body = {**monitor, "pool_id": pool["id"]}
    playground.request("POST", "/v2/lbaas/healthmonitors", {"healthmonitor": body})
    return playground.wait_active(made["id"]) | {"udp": listener["id"], "udp_pool": pool["id"]}


def list_statuses(installation: Installation, pool_id: str) -> dict[str, tuple[str, str]]:
    """Return status and sentence of each member by name."""
    answer = installation.playground.request("GET", f"/v2/lbaas/pools/{pool_id}/members")
    return {
        one["name"]: (one["operating_status"], (one["status_reason"] or {}).get("sentence", ""))
        for one in answer["members"]
    }


def test_udp_from_the_api_to_an_echo(installation: Installation, echoes: dict[str, "subprocess.Popen[bytes]"]) -> None:
    playground = installation.playground
    balancer = create(installation)
    address, path = balancer["vip_address"], f"/v2/lbaas/loadbalancers/{balancer['id']}"
    assert ask_often(address) == ["web1"] * 3 + ["web2"] * 3 + ["web3"] * 3
    assert {ask(address) for _ in range(6)} == {"web1", "web2", "web3"}

    def is_online() -> bool:
        members = {status for status, _ in list_statuses(installation, balancer["udp_pool"]).values()}
        return members == {"ONLINE"} and playground.show(balancer["id"])["operating_status"] == "ONLINE"

    playground.wait_for(is_online, "ONLINE everywhere")

    # A member dies, and comes back.
    echoes["web2"].kill()
    echoes["web2"].wait()

    def is_told() -> bool:
        status, sentence = list_statuses(installation, balancer["udp_pool"])["web2"]
        return status == "ERROR" and "The UDP-CONNECT check of" in sentence and "Connection refused" in sentence

    playground.wait_for(is_told, "The end of a member")
    playground.wait_for(lambda: set(ask_often(address)) == {"web1", "web3"}, "Answers of the others")
    echoes["web2"] = run_echo(installation.servers[1])
    playground.wait_for(lambda: set(ask_often(address)) == {"web1", "web2", "web3"}, "The return of a member")
    playground.wait_for(is_online, "ONLINE everywhere")

    # What a plan says, with the file of nginx and its verdict; then a member goes, and its flows with it.
    first = playground.request("GET", f"{path}/generations")["generations"][0]["generation"]
    wanted = playground.request("GET", f"{path}/generations/{first}")["generation"]["loadbalancer"]
    fewer = copy.deepcopy(wanted)
    pool = next(one for one in fewer["pools"] if one["id"] == balancer["udp_pool"])
    with open_flow(address) as client:
        met = client.ask()
        pool["members"] = [one for one in pool["members"] if one["name"] != met]
        told = playground.request("POST", f"{path}/plan", {"loadbalancer": fewer})["plan"]
        (amphora,) = told["amphorae"]
        assert (told["means"], amphora["verdict"]) == ("reload", {"accepted": True, "words": ""})
        assert f":{MEMBER_PORT} weight=1" in amphora["difference"]
        playground.request("POST", f"{path}/apply", {"loadbalancer": fewer})
        playground.wait_active(balancer["id"])
        assert {client.ask() for _ in range(6)} & {met, ""} == set()
    assert len(set(ask_often(address))) == 2
    playground.request("POST", f"{path}/rollback", {"generation": first})
    playground.wait_active(balancer["id"])
    assert set(ask_often(address)) == {"web1", "web2", "web3"}

    # Another amphora takes over, and the counters go on.
    def count() -> Any:
        return playground.request("GET", f"/v2/lbaas/listeners/{balancer['udp']}/stats")["stats"]

    playground.wait_for(lambda: count()["total_connections"] >= 18, "Counters", explain=lambda: str(count()))
    before = count()
    assert before["bytes_in"] > before["total_connections"] * len("who are you?")
    playground.request("PUT", f"{path}/failover")
    playground.wait_active(balancer["id"])
    assert set(ask_often(address)) == {"web1", "web2", "web3"}
    assert ask(address) is not None

    def has_gone_on() -> bool:
        return bool(count()["total_connections"] >= before["total_connections"] + 9)

    playground.wait_for(has_gone_on, "Counters that go on", explain=lambda: f"{before}, {count()}")
    playground.request("DELETE", f"{path}?cascade=true")
    playground.wait_gone(balancer["id"])
    assert ask_often(address, 1) == [""]
