"""A tenant's day: create, edit, watch, delete; every claim is checked by real requests through the VIP."""

import socket
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from statera.cli.playground import SUBNET6_NAME, WEB_PORT, ask
from tests.contract.cloud import Cloud
from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.root]


def _create(installation: Installation, name: str, **wanted: Any) -> Any:
    made = installation.playground.create_load_balancer(name, installation.servers, **wanted)
    return installation.playground.wait_active(made["id"])


def _delete(installation: Installation, load_balancer_id: str) -> None:
    installation.playground.request("DELETE", f"/v2/lbaas/loadbalancers/{load_balancer_id}?cascade=true")
    installation.playground.wait_gone(load_balancer_id)


def _spread(address: str, port: int = 80, requests: int = 12) -> Counter[str]:
    return Counter(ask(address, port) or "failed" for _ in range(requests))


def test_requests_spread_over_the_members_and_all_is_online(installation: Installation) -> None:
    balancer = _create(installation, "spread")
    assert _spread(balancer["vip_address"]) == {"web1": 4, "web2": 4, "web3": 4}
    playground = installation.playground

    def is_online() -> bool:
        status = playground.request("GET", f"/v2/lbaas/loadbalancers/{balancer['id']}/status")
        shown = status["statuses"]["loadbalancer"]
        members = shown["listeners"][0]["pools"][0]["members"]
        return shown["operating_status"] == "ONLINE" and {m["operating_status"] for m in members} == {"ONLINE"}

    playground.wait_for(is_online, "ONLINE everywhere")
    _delete(installation, balancer["id"])
    assert ask(balancer["vip_address"], timeout_s=1.0) is None


def test_ipv6_vip_carries_traffic(installation: Installation) -> None:
    subnet = installation.playground.find_subnet_id(SUBNET6_NAME)
    balancer = _create(installation, "six", vip_subnet_id=subnet)
    assert ":" in balancer["vip_address"]
    assert set(_spread(balancer["vip_address"])) == {"web1", "web2", "web3"}
    _delete(installation, balancer["id"])


def test_an_additional_vip_of_the_other_family_carries_traffic(installation: Installation) -> None:
    subnet = installation.playground.find_subnet_id(SUBNET6_NAME)
    balancer = _create(installation, "both", additional_vips=[{"subnet_id": subnet}])
    (more,) = balancer["additional_vips"]
    assert (more["subnet_id"], more["port_id"]) == (subnet, balancer["vip_port_id"])
    addresses = [balancer["vip_address"], more["ip_address"]]
    assert [":" in address for address in addresses] == [False, True]
    for address in addresses:
        assert set(_spread(address)) == {"web1", "web2", "web3"}
    # An edit keeps both.
    listener = f"/v2/lbaas/listeners/{balancer['listeners'][0]['id']}"
    installation.playground.request("PUT", listener, {"listener": {"timeout_client_data": 40_000}})
    installation.playground.wait_active(balancer["id"])
    for address in addresses:
        assert "failed" not in _spread(address)
    _delete(installation, balancer["id"])
    for address in addresses:
        assert ask(address, timeout_s=1.0) is None


def test_members_come_go_and_drain_without_a_reload(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "members")
    path = f"/v2/lbaas/pools/{balancer['pools'][0]['id']}/members"
    members = {member["name"]: member for member in playground.request("GET", path)["members"]}
    playground.request("PUT", f"{path}/{members['web1']['id']}", {"member": {"weight": 0}})
    playground.wait_active(balancer["id"])
    assert set(_spread(balancer["vip_address"])) == {"web2", "web3"}
    playground.request("DELETE", f"{path}/{members['web2']['id']}")
    playground.wait_active(balancer["id"])
    assert set(_spread(balancer["vip_address"])) == {"web3"}
    playground.request("PUT", f"{path}/{members['web1']['id']}", {"member": {"weight": 5}})
    playground.wait_active(balancer["id"])
    assert set(_spread(balancer["vip_address"])) == {"web1", "web3"}
    told = [event["what"] for event in installation.events(balancer["id"])]
    edits = [what for what in told if "without a reload" in what]
    assert len(edits) == 3, told
    _delete(installation, balancer["id"])


def test_l7_policies_choose_as_explained(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "routed")
    listener_id = balancer["listeners"][0]["id"]
    web3 = installation.servers[2]
    pool = {"loadbalancer_id": balancer["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    pool = playground.request("POST", "/v2/lbaas/pools", {"pool": pool})["pool"]
    member = {"member": {"address": web3.address, "protocol_port": WEB_PORT}}
    playground.request("POST", f"/v2/lbaas/pools/{pool['id']}/members", member)
    for target, kind, value in (
        ({"action": "REDIRECT_TO_POOL", "redirect_pool_id": pool["id"]}, "PATH", "/static"),
        (
            {"action": "REDIRECT_PREFIX", "redirect_prefix": "https://new.example", "redirect_http_code": 308},
            "PATH",
            "/old",
        ),
        ({"action": "REJECT"}, "HOST_NAME", "Secret.example"),
    ):
        rule = {"type": kind, "compare_type": "STARTS_WITH", "value": value}
        policy = {"listener_id": listener_id, "rules": [rule]} | target
        playground.request("POST", "/v2/lbaas/l7policies", {"l7policy": policy})
    playground.wait_active(balancer["id"])
    for host, path, wanted in (
        ("a.example", "/static/x", (200, None, {"web3"})),
        ("a.example", "/old?q=1", (308, "https://new.example/old?q=1", set())),
        ("secret.example:80", "/static", (403, None, set())),
        ("a.example", "/", (200, None, {"web1", "web2", "web3"})),
    ):
        answers = [httpx.get(f"http://{balancer['vip_address']}{path}", headers={"Host": host}) for _ in range(6)]
        bodies = {answer.text.strip() for answer in answers if answer.status_code == 200}
        assert (answers[0].status_code, answers[0].headers.get("location"), bodies) == wanted
        described = {"request": {"port": 80, "host": host, "path": path}}
        told = playground.request("POST", f"/v2/lbaas/loadbalancers/{balancer['id']}/explain", described)["explanation"]
        assert (told["status_code"] or 200, told["location"]) == wanted[:2]
        assert sum(member["takes_requests"] for member in told["members"]) == len(bodies)
    _delete(installation, balancer["id"])


def test_listeners_of_all_protocols_and_their_edits(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "edits")
    vip = balancer["vip_address"]

    def add_listener(protocol: str, port: int, pool_protocol: str, **extra: Any) -> Any:
        members = [{"address": server.address, "protocol_port": WEB_PORT} for server in installation.servers]
        pool = {"name": f"p{port}", "protocol": pool_protocol, "lb_algorithm": "SOURCE_IP_PORT"}
        body = {"loadbalancer_id": balancer["id"], "protocol": protocol, "protocol_port": port}
        made_pool = playground.request("POST", "/v2/lbaas/pools", {"pool": pool | {"loadbalancer_id": balancer["id"]}})[
            "pool"
        ]
        playground.request("PUT", f"/v2/lbaas/pools/{made_pool['id']}/members", {"members": members})
        wanted = body | {"default_pool_id": made_pool["id"]} | extra
        return playground.request("POST", "/v2/lbaas/listeners", {"listener": wanted})["listener"]

    add_listener("TCP", 8081, "TCP")
    add_listener("HTTPS", 8082, "HTTPS")
    scraped = {"loadbalancer_id": balancer["id"], "protocol": "PROMETHEUS", "protocol_port": 9090}
    metrics = playground.request("POST", "/v2/lbaas/listeners", {"listener": scraped})["listener"]
    fenced = add_listener("HTTP", 8083, "HTTP", allowed_cidrs=["192.0.2.0/24"])
    playground.wait_active(balancer["id"])
    assert "failed" not in _spread(vip, 8081, 6)
    assert "failed" not in _spread(vip, 8082, 6)
    told = httpx.get(f"http://{vip}:9090/metrics", trust_env=False)
    assert f'octavia_listener_status{{listener="{metrics["id"]}",state="UP"}} 1\n' in told.text

    def is_metrics_online() -> bool:
        listener = playground.request("GET", f"/v2/lbaas/listeners/{metrics['id']}")["listener"]
        return (listener["provisioning_status"], listener["operating_status"]) == ("ACTIVE", "ONLINE")

    playground.wait_for(is_metrics_online, "the listener of metrics ONLINE")
    assert ask(vip, 8083, timeout_s=2.0) is None
    playground.request("PUT", f"/v2/lbaas/listeners/{fenced['id']}", {"listener": {"allowed_cidrs": None}})
    playground.wait_active(balancer["id"])
    assert ask(vip, 8083) is not None
    playground.request("PUT", f"/v2/lbaas/listeners/{fenced['id']}", {"listener": {"admin_state_up": False}})
    playground.wait_active(balancer["id"])
    assert ask(vip, 8083, timeout_s=2.0) is None
    assert ask(vip) is not None
    _delete(installation, balancer["id"])


@pytest.mark.parametrize("persistence", [{"type": "HTTP_COOKIE"}, {"type": "SOURCE_IP"}])
def test_sessions_stay_with_their_member(installation: Installation, persistence: dict[str, str]) -> None:
    playground = installation.playground
    balancer = _create(installation, "sticky")
    pool = f"/v2/lbaas/pools/{balancer['pools'][0]['id']}"
    playground.request("PUT", pool, {"pool": {"session_persistence": persistence}})
    playground.wait_active(balancer["id"])
    with httpx.Client(trust_env=False) as browser:
        answers = {
            browser.get(f"http://{balancer['vip_address']}/", headers={"Connection": "close"}).text for _ in range(8)
        }
    assert len(answers) == 1
    _delete(installation, balancer["id"])


def test_a_backup_member_serves_only_when_all_others_fail(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "backup")
    path = f"/v2/lbaas/pools/{balancer['pools'][0]['id']}/members"
    members = {member["name"]: member for member in playground.request("GET", path)["members"]}
    playground.request("PUT", f"{path}/{members['web3']['id']}", {"member": {"backup": True}})
    playground.wait_active(balancer["id"])
    assert set(_spread(balancer["vip_address"])) == {"web1", "web2"}
    for server in installation.servers[:2]:
        playground.stop_web_process(server)
    try:
        playground.wait_for(lambda: ask(balancer["vip_address"]) == "web3", "The backup's answer")
        playground.wait_for(
            lambda: playground.show(balancer["id"])["operating_status"] != "ONLINE", "A status that tells"
        )
    finally:
        for server in installation.servers[:2]:
            playground.run_web_process(server)
    _delete(installation, balancer["id"])


def test_two_hundred_parallel_edits_are_all_taken(installation: Installation) -> None:
    playground = installation.playground
    balancer = _create(installation, "crowd")
    path = f"{playground.api_url}/v2/lbaas/pools/{balancer['pools'][0]['id']}/members"
    before = balancer["generation"]

    def add(number: int) -> int:
        member = {"address": f"10.99.{number // 250}.{number % 250 + 1}", "protocol_port": 80, "weight": 0}
        return httpx.post(path, json={"member": member}, timeout=30.0, trust_env=False).status_code

    with ThreadPoolExecutor(32) as pool:
        assert Counter(pool.map(add, range(200))) == {201: 200}
    settled = playground.wait_active(balancer["id"])
    assert settled["generation"] == before + 200
    assert len(playground.request("GET", f"/v2/lbaas/pools/{balancer['pools'][0]['id']}/members")["members"]) == 203
    assert set(_spread(balancer["vip_address"])) == {"web1", "web2", "web3"}
    _delete(installation, balancer["id"])


def test_the_openstack_client_works_unmodified(installation: Installation, tmp_path: Path) -> None:
    playground = installation.playground

    cloud = Cloud(tmp_path, playground.clouds_path.read_text(encoding="utf-8"))
    made = cloud.ask("create --name cli --vip-subnet-id demo-subnet --wait")
    cloud.do("listener create --name web --protocol HTTP --protocol-port 80 --wait cli")
    cloud.do("pool create --name cli-pool --listener web --protocol HTTP --lb-algorithm ROUND_ROBIN --wait")
    server = installation.servers[0]
    cloud.do(f"member create --address {server.address} --protocol-port {WEB_PORT} --wait cli-pool")
    assert ask(cloud.ask("show cli")["vip_address"]) == server.name
    assert "cli" in _list_names(playground.clouds_path)
    cloud.do("delete --cascade --wait cli")
    assert playground.show(made["id"]) is None


def _list_names(clouds_yaml: Path) -> list[str]:
    """Ask by the command in a process of its own, with nothing around it but the file."""
    environment = {"OS_CLIENT_CONFIG_FILE": str(clouds_yaml), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    program = str(Path(sys.executable).with_name("openstack"))
    command = [program, "--os-cloud", "statera", "loadbalancer", "list", "-f", "value", "-c", "name"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_deleting_leaves_no_sandbox_and_frees_the_address(installation: Installation) -> None:
    playground = installation.playground
    before = installation.list_namespaces()
    balancer = _create(installation, "brief")
    assert len(installation.list_namespaces()) == len(before) + 1
    _delete(installation, balancer["id"])
    assert installation.list_namespaces() == before
    again = _create(installation, "again", vip_address=balancer["vip_address"])
    assert again["vip_address"] == balancer["vip_address"]
    with socket.create_connection((again["vip_address"], 80), timeout=5):
        pass
    answer = playground.client.post(
        "/v2/lbaas/loadbalancers",
        json={"loadbalancer": {"vip_subnet_id": playground.find_subnet_id(), "vip_address": again["vip_address"]}},
    )
    assert answer.status_code == 409
    _delete(installation, again["id"])


def test_a_delete_straight_after_the_create_is_taken(installation: Installation) -> None:
    playground = installation.playground
    made = playground.create_load_balancer("hasty", installation.servers)
    playground.request("DELETE", f"/v2/lbaas/loadbalancers/{made['id']}?cascade=true")
    playground.wait_gone(made["id"])
