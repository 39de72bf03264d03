"""Several hosts over one provider network: where load balancers go, and what becomes of them when hosts do."""

import subprocess
from collections import Counter
from typing import Any

import pytest

from bench.watch import Watch
from statera.cli.playground import WEB_PORT, ask
from tests.hosts.ground import Ground
from tests.hosts.machine import Machine
from tests.hosts.service import STATERA

pytestmark = [pytest.mark.e2e, pytest.mark.root]

AMPHORAE = "/v2/octavia/amphorae"
COMMON = {
    "reconcile": {"lease_s": 2.0, "backoff_most_s": 1.0, "orphan_grace_s": 2.0, "error_after_s": 5.0, "recheck_s": 5.0},
    "compute": {"agent_timeout_s": 2.0},
    "health": {"stale_after_s": 3.0},
}


def make_options() -> dict[str, Any]:
    return {"hosts": 3, "zones": {"c": "far"}, "overrides": COMMON}


def _create(ground: Ground, name: str, **wanted: Any) -> Any:
    return ground.wait_active(ground.create_load_balancer(name, ground.servers, **wanted)["id"])


def _delete(ground: Ground, *balancers: Any) -> None:
    for one in balancers:
        ground.request("DELETE", f"/v2/lbaas/loadbalancers/{one['id']}?cascade=true")
    for one in balancers:
        ground.wait_gone(one["id"])


def _host_of(ground: Ground, balancer: Any) -> str:
    """Return the host of the one sandbox that has the VIP."""
    ((host, _),) = ground.find_holders(balancer["vip_address"])
    return host


def _wait_only_holder(ground: Ground, balancer: Any, host: str, within_s: float = 30.0) -> None:
    vip = balancer["vip_address"]

    def is_alone() -> bool:
        return [name for name, _ in ground.find_holders(vip)] == [host]

    ground.wait_for(is_alone, f"{host} as the only holder", within_s, lambda: str(ground.find_holders(vip)))


def _count_sandboxes(machine: Machine) -> int:
    return len(machine.list_sandboxes())


def test_load_balancers_go_to_the_least_loaded_host(ground: Ground) -> None:
    balancers = [_create(ground, f"spread-{number}") for number in range(6)]
    counts = Counter(_host_of(ground, one) for one in balancers)
    assert counts == {"a": 2, "b": 2, "c": 2}
    assert all(ask(one["vip_address"]) is not None for one in balancers)
    _delete(ground, *balancers)
    assert [_count_sandboxes(machine) for machine in ground.machines.values()] == [0, 0, 0]


def test_load_balancers_that_are_created_at_once_are_spread_too(ground: Ground) -> None:
    made = [ground.create_load_balancer(f"burst-{number}", ground.servers) for number in range(9)]
    balancers = [ground.wait_active(one["id"]) for one in made]
    counts = Counter(_host_of(ground, one) for one in balancers)
    assert len(counts) == 3, counts
    assert max(counts.values()) <= 4, counts
    _delete(ground, *balancers)


def test_a_zone_is_where_its_hosts_are(ground: Ground) -> None:
    profile = {"name": "far", "provider_name": "amphora", "availability_zone_data": '{"compute_zone": "far"}'}
    made = ground.request("POST", "/v2/lbaas/availabilityzoneprofiles", {"availability_zone_profile": profile})[
        "availability_zone_profile"
    ]
    zone = {"name": "far", "availability_zone_profile_id": made["id"]}
    ground.request("POST", "/v2/lbaas/availabilityzones", {"availability_zone": zone})
    balancers = [_create(ground, f"far-{number}", availability_zone="far") for number in range(2)]
    assert [_host_of(ground, one) for one in balancers] == ["c", "c"]
    _delete(ground, *balancers)


def test_members_on_another_host_are_served(ground: Ground) -> None:
    """The VIP is on one host, members are on the other two, the client is on none of them."""
    balancer = _create(ground, "crossing")
    home = _host_of(ground, balancer)
    pool = balancer["pools"][0]["id"]
    others = [name for name in ground.machines if name != home]
    for name in others:
        address = ground.start_web_server_on(name)
        member = {"member": {"address": address, "protocol_port": WEB_PORT}}
        ground.request("POST", f"/v2/lbaas/pools/{pool}/members", member)
    ground.wait_active(balancer["id"])
    wanted = {"web1", "web2", *(f"host-{name}" for name in others)}
    answers: set[str | None] = set()

    def has_all() -> bool:
        answers.add(ask(balancer["vip_address"]))
        return wanted <= answers

    ground.wait_for(has_all, "An answer of every member", explain=lambda: str(answers))
    _delete(ground, balancer)


def test_an_amphora_moves_to_another_host_and_back_is_not_doubled(ground: Ground) -> None:
    balancer = _create(ground, "moving")
    home = _host_of(ground, balancer)
    (amphora,) = ground.list_amphorae(balancer["id"])
    ground.request("PUT", f"{AMPHORAE}/{amphora['id']}/failover")
    ground.wait_for(lambda: _moved_from(ground, balancer, home), "Another host")
    assert ask(balancer["vip_address"]) is not None
    _delete(ground, balancer)


def test_a_host_that_has_pairs_is_emptied_without_a_failed_request(ground: Ground) -> None:
    """The one that has the VIP goes to the host that has none of them."""
    pair = _create(ground, "pair", topology="ACTIVE_STANDBY")
    ground.wait_for(lambda: len(ground.find_holders(pair["vip_address"])) == 1, "One holder")
    full = _host_of(ground, pair)
    try:
        with Watch(pair["vip_address"], timeout_s=2.0) as clients:
            ground.wait_for(lambda: clients.has_more_than(20), "Answers")
            assert f"Host {full} has no amphora any more." in statera(ground, "drain", full)
            _wait_pair(ground, pair, {name for name in ground.machines if name != full})
            seen = len(clients.answered)
            ground.wait_for(lambda: clients.has_more_than(seen + 20), "Answers afterwards", explain=clients.tell)
        assert clients.failed == 0, clients.tell()
        assert _count_sandboxes(ground.machines[full]) == 0
    finally:
        statera(ground, "drain", full, "--undo")
    _delete(ground, pair)


def _wait_pair(ground: Ground, balancer: Any, hosts: set[str]) -> None:
    def find() -> list[tuple[str, str, str]]:
        rows = ground.list_amphorae(balancer["id"])
        return sorted((row["role"], row["status"], row["host"]) for row in rows)

    def is_whole() -> bool:
        rows = find()
        roles = [(role, status) for role, status, _ in rows]
        return roles == [("BACKUP", "ALLOCATED"), ("MASTER", "ALLOCATED")] and {host for *_, host in rows} == hosts

    ground.wait_for(is_whole, f"A pair on {hosts}", 40.0, lambda: str(find()))


def statera(ground: Ground, *words: str) -> str:
    """Run a command as an operator does on the control machine, and return what it prints."""
    command = [*STATERA, *words, "--config", str(ground.config_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _moved_from(ground: Ground, balancer: Any, home: str) -> bool:
    holders = ground.find_holders(balancer["vip_address"])
    return len(holders) == 1 and holders[0][0] != home


def test_a_host_that_loses_power_and_returns(ground: Ground) -> None:
    """Its load balancers are ordered elsewhere, serve there, and what comes back with the host is removed."""
    balancers = [_create(ground, f"lost-{number}") for number in range(3)]
    victim = next(one for one in balancers if _host_of(ground, one) == "a")
    (old,) = ground.list_amphorae(victim["id"])
    ground.stop_host("a")
    ground.request("PUT", f"{AMPHORAE}/{old['id']}/failover")
    ground.wait_for(lambda: ask(victim["vip_address"], timeout_s=1.0), "An answer from another host")
    assert _host_of(ground, victim) != "a"
    ground.start_host("a")
    ground.wait_for(lambda: _count_sandboxes(ground.machines["a"]) == 0, "An empty host", 60.0)
    assert _host_of(ground, victim) != "a"
    ground.wait_active(victim["id"])
    ground.wait_for(lambda: len(ground.list_amphorae(victim["id"])) == 1, "One amphora")
    assert ask(victim["vip_address"]) is not None
    _delete(ground, *balancers)
    assert ground.list_amphorae() == []


def test_a_host_that_reboots_builds_its_load_balancers_again(ground: Ground) -> None:
    balancer = _create(ground, "rebooted")
    home = _host_of(ground, balancer)
    ground.stop_host(home)
    assert ask(balancer["vip_address"], timeout_s=1.0) is None
    ground.start_host(home)
    ground.wait_for(lambda: ask(balancer["vip_address"], timeout_s=1.0), "An answer")
    _wait_only_holder(ground, balancer, home)
    _delete(ground, balancer)


def test_traffic_flows_while_the_management_network_is_cut(ground: Ground) -> None:
    """Nothing is moved, the reason says so, and an edit made meanwhile is live once the link is back."""
    balancer = _create(ground, "islanded")
    home = _host_of(ground, balancer)
    machine = ground.machines[home]
    machine.cut("management")
    try:
        pool = f"/v2/lbaas/pools/{balancer['pools'][0]['id']}"
        ground.request("PUT", pool, {"pool": {"lb_algorithm": "LEAST_CONNECTIONS"}})

        def has_reason() -> bool:
            return (ground.show(balancer["id"])["status_reason"] or {}).get("slug") == "amphora-answers"

        ground.wait_for(has_reason, "The reason")
        assert ask(balancer["vip_address"]) is not None
    finally:
        machine.heal("management")
    ground.wait_active(balancer["id"])
    assert _host_of(ground, balancer) == home
    _delete(ground, balancer)


def test_a_provider_link_that_is_cut_heals_without_help(ground: Ground) -> None:
    balancer = _create(ground, "unplugged")
    machine = ground.machines[_host_of(ground, balancer)]
    machine.cut("provider")
    assert ask(balancer["vip_address"], timeout_s=1.0) is None
    machine.heal("provider")
    ground.wait_for(lambda: ask(balancer["vip_address"], timeout_s=1.0), "An answer")
    _delete(ground, balancer)
