"""What dies for sure is replaced by itself within seconds; what only we cannot see stays where it is and serves on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest

from statera.cli.playground import ask
from tests.hosts.ground import Ground

pytestmark = [pytest.mark.e2e, pytest.mark.root]

STALE_S = 2.0
AMPHORAE = "/v2/octavia/amphorae"
BUDGET_S = 5.0
"""Seconds from the moment that a host was found lost to the first answer of the successor."""


def make_options() -> dict[str, Any]:
    reconcile = {"lease_s": 2.0, "backoff_most_s": 1.0, "orphan_grace_s": 2.0, "error_after_s": 5.0, "recheck_s": 5.0}
    overrides = {
        "reconcile": reconcile,
        "compute": {"agent_timeout_s": 2.0},
        "health": {"stale_after_s": STALE_S},
        "agent": {"heartbeat_interval_s": 0.5},
    }
    return {"hosts": 3, "overrides": overrides}


@contextmanager
def load_balancers(ground: Ground, *names: str, **wanted: Any) -> Iterator[list[Any]]:
    made = [ground.wait_active(ground.create_load_balancer(name, ground.servers, **wanted)["id"]) for name in names]
    ground.wait_for(lambda: all(one["last_heartbeat_at"] for one in ground.list_amphorae()), "Heartbeats of all")
    try:
        yield made
    finally:
        for one in made:
            ground.request("DELETE", f"/v2/lbaas/loadbalancers/{one['id']}?cascade=true")
        for one in made:
            ground.wait_gone(one["id"], 60.0)


def find_amphora(ground: Ground, balancer: Any) -> Any:
    (amphora,) = ground.list_amphorae(balancer["id"])
    return amphora


def wait_reason(ground: Ground, balancer: Any, slug: str) -> None:
    def told() -> str:
        return str((ground.show(balancer["id"])["status_reason"] or {}).get("slug"))

    ground.wait_for(lambda: told() == slug, f"The reason {slug}", 30.0, lambda: told() + ground.read_logs(3000))


def expect_service(balancers: list[Any], for_s: float) -> None:
    """Ask all the time: nothing may be felt."""
    deadline = time.monotonic() + for_s
    while time.monotonic() < deadline:
        assert all(ask(one["vip_address"], timeout_s=2.0) is not None for one in balancers)
        time.sleep(0.05)


def expect_untouched(ground: Ground, before: list[Any]) -> None:
    """Check that the same amphorae are where they were, and no replacement was even begun."""
    shown = {one["id"]: one["host"] for one in ground.list_amphorae()}
    assert shown == {one["id"]: one["host"] for one in before}
    for amphora in before:
        path = f"/v2/lbaas/loadbalancers/{amphora['loadbalancer_id']}/events"
        told = [event["what"] for event in ground.request("GET", path)["events"]]
        assert not [what for what in told if what.startswith(("Give up", "Add amphora"))][1:], told


def test_a_lost_host_is_replaced_by_itself(ground: Ground) -> None:
    with load_balancers(ground, "one", "two", "three") as balancers:
        old = find_amphora(ground, balancers[0])
        begun = time.monotonic()
        ground.stop_host(old["host"])
        ground.wait_for(
            lambda: ask(balancers[0]["vip_address"], timeout_s=0.5),
            "An answer from another host",
            30.0,
            lambda: str(ground.show(balancers[0]["id"])["status_reason"]),
        )
        took_s = time.monotonic() - begun
        print(f"{took_s:.2f} s without service, of which {STALE_S} s of silence show that it is lost")
        ground.wait_active(balancers[0]["id"])
        # A heartbeat's interval and the judge's own come on top of the window; the rest is slack for a busy machine.
        assert took_s < STALE_S + 1.0 + 2 * BUDGET_S
        left = next(one for one in ground.list_amphorae(balancers[0]["id"]) if one["id"] == old["id"])
        assert left["status_reason"]["slug"] == "host-lost"
        ground.start_host(old["host"])
        ground.wait_for(lambda: len(ground.list_amphorae(balancers[0]["id"])) == 1, "One amphora", 30.0)
        assert len(ground.find_holders(balancers[0]["vip_address"])) == 1
        assert ask(balancers[0]["vip_address"]) is not None


def test_one_hosts_management_link_that_is_cut_moves_nothing(ground: Ground) -> None:
    with load_balancers(ground, "one") as balancers:
        before = ground.list_amphorae()
        machine = ground.machines[before[0]["host"]]
        machine.cut("management")
        try:
            wait_reason(ground, balancers[0], "amphora-answers")
            expect_service(balancers, 1.0)
        finally:
            machine.heal("management")
        ground.wait_active(balancers[0]["id"])
        expect_untouched(ground, before)


def test_a_management_network_that_is_cut_moves_nothing(ground: Ground) -> None:
    with load_balancers(ground, "one", "two", "three") as balancers:
        before = ground.list_amphorae()
        for machine in ground.machines.values():
            machine.cut("management")
        try:
            for one in balancers:
                wait_reason(ground, one, "controller-cut-off")
            expect_service(balancers, 1.0)
        finally:
            for machine in ground.machines.values():
                machine.heal("management")
        for one in balancers:
            ground.wait_active(one["id"])
        expect_untouched(ground, before)


def test_an_agent_that_hangs_moves_nothing(ground: Ground) -> None:
    with load_balancers(ground, "one") as balancers:
        before = ground.list_amphorae()
        agent = ground.agents[before[0]["host"]]
        agent.pause()
        try:
            wait_reason(ground, balancers[0], "agent-down")
            expect_service(balancers, 1.0)
        finally:
            agent.resume()
        ground.wait_active(balancers[0]["id"])
        expect_untouched(ground, before)


def test_no_health_process_moves_nothing(ground: Ground) -> None:
    """Neither while it hangs, nor when it goes on, nor while it is dead; not even when a host is looked at."""
    with load_balancers(ground, "one") as balancers:
        before = ground.list_amphorae()
        health = ground.controllers["health1"]
        for stop in (health.pause, health.kill):
            stop()
            expect_service(balancers, 2 * STALE_S)
            ground.request("PUT", f"{AMPHORAE}/{before[0]['id']}/config")
            health.resume()
            health.start()
            expect_service(balancers, 1.5 * STALE_S)
        expect_untouched(ground, before)


def test_a_database_that_was_away_moves_nothing(ground: Ground) -> None:
    """Traffic flows all the time, and no silence counts before everybody had a full window to speak in."""
    with load_balancers(ground, "one", "two") as balancers:
        before = ground.list_amphorae()
        ground.database.stop()
        try:
            expect_service(balancers, 2 * STALE_S)
        finally:
            ground.start_database()
        ground.wait_for(lambda: ground.client.get("/v2/lbaas/loadbalancers").status_code == 200, "The API")
        expect_service(balancers, 1.5 * STALE_S)
        for one in balancers:
            ground.wait_active(one["id"])
        expect_untouched(ground, before)


def test_controllers_that_were_all_away_move_nothing(ground: Ground) -> None:
    with load_balancers(ground, "one", "two") as balancers:
        before = ground.list_amphorae()
        for service in ground.controllers.values():
            service.kill()
        expect_service(balancers, 2 * STALE_S)
        for service in ground.controllers.values():
            service.start()
        ground.wait_for(lambda: _is_served(ground), "The API", 30.0)
        expect_service(balancers, 1.5 * STALE_S)
        expect_untouched(ground, before)


def _is_served(ground: Ground) -> bool:
    with suppress(httpx.TransportError):
        return ground.client.get("/v2/lbaas/loadbalancers").status_code == 200
    return False


def test_a_host_that_is_lost_during_a_failover(ground: Ground) -> None:
    """The order is for the host that dies then; another one follows, and nothing is left of the first."""
    with load_balancers(ground, "one") as balancers:
        old = find_amphora(ground, balancers[0])
        ground.request("PUT", f"{AMPHORAE}/{old['id']}/failover")
        ground.stop_host(old["host"])
        ground.wait_for(lambda: ask(balancers[0]["vip_address"], timeout_s=0.5), "An answer", 30.0)
        ground.wait_active(balancers[0]["id"])
        ground.start_host(old["host"])
        ground.wait_for(lambda: len(ground.list_amphorae(balancers[0]["id"])) == 1, "One amphora", 30.0)
        assert [host for host, _ in ground.find_holders(balancers[0]["vip_address"])] != [old["host"]]


def test_a_member_of_a_pair_whose_host_is_lost_is_replaced_by_itself(ground: Ground) -> None:
    """On the host that has none of them yet; the VIP moves to the other member long before."""
    with load_balancers(ground, "pair", topology="ACTIVE_STANDBY") as (pair,):
        before = {one["host"]: one["id"] for one in ground.list_amphorae(pair["id"])}
        assert len(before) == 2
        (spare,) = set(ground.machines) - set(before)
        ((holder, _),) = ground.wait_for(lambda: ground.find_holders(pair["vip_address"]), "A holder")
        ground.stop_host(holder)

        def is_whole() -> bool:
            serving = {one["host"] for one in ground.list_amphorae(pair["id"]) if one["status"] == "ALLOCATED"}
            return serving == {spare, *before} - {holder}

        ground.wait_for(is_whole, "Two on the hosts that are left", 40.0, lambda: str(ground.show(pair["id"])))
        assert ask(pair["vip_address"], timeout_s=2.0) is not None
        ground.start_host(holder)
        ground.wait_for(lambda: len(ground.list_amphorae(pair["id"])) == 2, "Two amphorae", 30.0)
        assert before[holder] not in {one["id"] for one in ground.list_amphorae(pair["id"])}
        ground.wait_for(lambda: len(ground.find_holders(pair["vip_address"])) == 1, "One holder", 30.0)
