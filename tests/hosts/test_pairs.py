"""Load balancers of two amphorae on two hosts: who has the VIP, who takes it over, and what clients notice of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from bench.watch import Watch
from statera.model.vrrp import LIFELINE
from tests.agent.pair import DEAF, HEARING
from tests.hosts.ground import Ground

pytestmark = [pytest.mark.e2e, pytest.mark.root]

AMPHORAE = "/v2/octavia/amphorae"
BUDGET_S = 5.0
"""Far above what is measured, which `python -m bench failover` tells: a test machine may be busy."""


def make_options() -> dict[str, Any]:
    common = {
        "reconcile": {"lease_s": 2.0, "backoff_most_s": 1.0, "orphan_grace_s": 2.0, "recheck_s": 5.0},
        "compute": {"agent_timeout_s": 2.0},
        "health": {"stale_after_s": 3.0},
    }
    return {"hosts": 2, "overrides": common}


def _create(ground: Ground, name: str, **wanted: Any) -> Any:
    return ground.wait_active(ground.create_load_balancer(name, ground.servers, **wanted)["id"])


def _delete(ground: Ground, balancer: Any) -> None:
    ground.request("DELETE", f"/v2/lbaas/loadbalancers/{balancer['id']}?cascade=true")
    ground.wait_gone(balancer["id"])
    assert [machine.list_sandboxes() for machine in ground.machines.values() if machine.is_on] in ([[], []], [[]])


def _wait_holder(ground: Ground, balancer: Any, *, other_than: str = "") -> str:
    """Wait until the VIP is on one host only, and return it."""
    vip = balancer["vip_address"]

    def is_one() -> str:
        hosts = [name for name, _ in ground.find_holders(vip)]
        return hosts[0] if len(hosts) == 1 and hosts[0] != other_than else ""

    return str(ground.wait_for(is_one, "One holder", explain=lambda: str(ground.find_holders(vip))))


def _wait_told(ground: Ground, balancer: Any, wanted: dict[str, bool | None]) -> None:
    """Wait until the API tells which host has the VIP."""

    def look() -> dict[str, bool | None]:
        return {one["host"]: one["has_vips"] for one in ground.list_amphorae(balancer["id"])}

    ground.wait_for(lambda: look() == wanted, "has_vips", explain=lambda: str(look()))


def _run_in_each(ground: Ground, balancer: Any, command: str) -> None:
    """Run a command of the shell in the sandbox of each amphora."""
    for one in ground.list_amphorae(balancer["id"]):
        ground.machines[one["host"]].run("ip", "netns", "exec", f"statera-{one['id']}", "sh", "-c", command)


def _wait_status(ground: Ground, balancer: Any, status: str, slug: str = "") -> None:
    def look() -> tuple[str, str]:
        shown = ground.show(balancer["id"])
        return shown["operating_status"], (shown["status_reason"] or {}).get("slug", "")

    ground.wait_for(lambda: look() == (status, slug), f"{status} {slug}", explain=lambda: str(look()))


@contextmanager
def _misheld(ground: Ground) -> Iterator[None]:
    """Let the VIP of one load balancer be on both amphorae, and that of another on none; at the end both are told.

    It takes 15 s until they are, in which something else may be done.
    """
    split, lost = (_create(ground, name, topology="ACTIVE_STANDBY") for name in ("split", "lost"))
    for balancer in (split, lost):
        _wait_holder(ground, balancer)
    _run_in_each(ground, split, f"echo '{DEAF}' | nft -f -")
    _run_in_each(ground, lost, f"ip link delete {LIFELINE}")
    yield
    assert {host for host, _ in ground.find_holders(split["vip_address"])} == {"a", "b"}
    assert ground.find_holders(lost["vip_address"]) == []
    _wait_status(ground, split, "DEGRADED", "vips-on-several")
    _wait_status(ground, lost, "ERROR", "vips-on-none")
    _run_in_each(ground, split, f"nft '{HEARING}'")
    _wait_holder(ground, split)
    _wait_status(ground, split, "ONLINE")
    for balancer in (split, lost):
        ground.request("DELETE", f"/v2/lbaas/loadbalancers/{balancer['id']}?cascade=true")
        ground.wait_gone(balancer["id"])


def _roles(ground: Ground, balancer: Any) -> list[tuple[str, str]]:
    return sorted((one["role"], one["status"]) for one in ground.list_amphorae(balancer["id"]))


PAIR = [("BACKUP", "ALLOCATED"), ("MASTER", "ALLOCATED")]


def test_two_amphorae_on_two_hosts_and_one_has_the_vip(ground: Ground) -> None:
    balancer = _create(ground, "pair", topology="ACTIVE_STANDBY")
    assert balancer["topology"] == "ACTIVE_STANDBY"
    amphorae = ground.list_amphorae(balancer["id"])
    assert {one["host"] for one in amphorae} == {"a", "b"}
    assert _roles(ground, balancer) == PAIR
    assert {(one["vrrp_interface"], one["vrrp_id"], one["vrrp_priority"]) for one in amphorae} == {
        ("eth0", 1, 100),
        ("eth0", 1, 90),
    }
    holder = _wait_holder(ground, balancer)
    others = {"a", "b"} - {holder}
    _wait_told(ground, balancer, {holder: True, **dict.fromkeys(others, False)})
    with Watch(balancer["vip_address"], timeout_s=2.0) as clients:
        ground.wait_for(partial(clients.has_more_than, 20), "Answers")
        ground.stop_host(holder)
        _wait_holder(ground, balancer, other_than=holder)
        seen = len(clients.answered)
        ground.wait_for(partial(clients.has_more_than, seen + 20), "Answers of the other one", explain=clients.tell)
    # Nobody knows of the one that is silent.
    _wait_told(ground, balancer, {holder: None, **dict.fromkeys(others, True)})
    print(f"power off: {clients.tell()}")
    ground.start_host(holder)
    ground.wait_for(
        lambda: _roles(ground, balancer) == PAIR, "Both again", explain=lambda: str(_roles(ground, balancer))
    )
    _wait_holder(ground, balancer)
    _delete(ground, balancer)


def test_planned_changes_lose_no_request(ground: Ground) -> None:
    """A failover of both, of one, and the ways from two amphorae to one and back, under load.

    Meanwhile others are in a partition: what is said of them takes as long.
    """
    balancer = _create(ground, "planned", topology="ACTIVE_STANDBY")
    _wait_holder(ground, balancer)
    path = f"/v2/lbaas/loadbalancers/{balancer['id']}"
    with _misheld(ground):
        for what in ("load balancer", "amphora", "SINGLE", "ACTIVE_STANDBY"):
            before = {one["id"] for one in ground.list_amphorae(balancer["id"])}
            with Watch(balancer["vip_address"], timeout_s=2.0) as clients:
                ground.wait_for(partial(clients.has_more_than, 20), "Answers")
                if what == "load balancer":
                    ground.request("PUT", f"{path}/failover")
                    gone = before
                elif what == "amphora":
                    gone = {min(before)}
                    ground.request("PUT", f"{AMPHORAE}/{min(before)}/failover")
                else:
                    gone = before
                    ground.request("PUT", path, {"loadbalancer": {"topology": what}})
                wanted = [("STANDALONE", "ALLOCATED")] if what == "SINGLE" else PAIR
                ground.wait_for(partial(_is_replaced, ground, balancer, gone, wanted), f"New amphorae ({what})")
                ground.wait_active(balancer["id"])
                _wait_holder(ground, balancer)
                seen = len(clients.answered)
                ground.wait_for(partial(clients.has_more_than, seen + 20), "Answers afterwards", explain=clients.tell)
            print(f"{what}: {clients.tell()}")
            assert clients.failed == 0, f"{what}: {clients.tell()}"
    _delete(ground, balancer)


def _is_replaced(ground: Ground, balancer: Any, gone: set[str], wanted: list[tuple[str, str]]) -> bool:
    ids = {one["id"] for one in ground.list_amphorae(balancer["id"])}
    return not ids & gone and _roles(ground, balancer) == wanted
