"""What a plan says is what happens under traffic, and a rollback brings the same file back."""

import copy
from functools import partial
from typing import Any

import pytest

from bench.watch import Watch
from statera.cli.playground import WEB_PORT, ask
from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.root]


def _post(installation: Installation, load_balancer_id: str, what: str, body: Any) -> Any:
    return installation.playground.request("POST", f"/v2/lbaas/loadbalancers/{load_balancer_id}/{what}", body)


def _read_file(installation: Installation) -> str:
    (path,) = installation.playground.run_dir.glob("amphorae/*/haproxy.cfg")
    return path.read_text()


def _means(installation: Installation, load_balancer_id: str) -> str:
    """Return how the last configuration came live, as the history tells it."""
    told = [one["what"] for one in installation.events(load_balancer_id) if one["what"].startswith("Configure")]
    return "reload" if "Reloaded" in told[0] else "runtime" if "without a reload" in told[0] else told[0]


def test_plan_apply_and_rollback_under_traffic(installation: Installation) -> None:
    playground = installation.playground
    made = playground.create_load_balancer("planned", installation.servers)
    balancer_id = made["id"]
    address = playground.wait_active(balancer_id)["vip_address"]
    path = f"/v2/lbaas/loadbalancers/{balancer_id}/generations"
    first = _read_file(installation)
    wanted = playground.request("GET", f"{path}/1")["generation"]["loadbalancer"]
    pids = installation.find_haproxy(installation.list_namespaces()[0])
    with Watch(address, timeout_s=1.0) as clients:
        playground.wait_for(partial(clients.has_more_than, 20), "Answers")
        # Fewer members and no checks for a while: at run time.
        quiet = copy.deepcopy(wanted)
        quiet["pools"][0]["members"].pop()
        quiet["pools"][0]["healthmonitor"]["admin_state_up"] = False
        told = _post(installation, balancer_id, "plan", {"loadbalancer": quiet})["plan"]
        (amphora,) = told["amphorae"]
        assert (told["means"], amphora["verdict"], amphora["status_reason"]) == (
            "runtime",
            {"accepted": True, "words": ""},
            None,
        )
        assert _read_file(installation) == first
        assert playground.show(balancer_id)["generation"] == 1
        _post(installation, balancer_id, "apply", {"loadbalancer": quiet})
        playground.wait_active(balancer_id)
        assert _means(installation, balancer_id) == "runtime"
        assert installation.find_haproxy(installation.list_namespaces()[0]) == pids
        # Many: the clients beside take turns, too, and may take one server's all the time for a while.
        assert {ask(address) for _ in range(30)} == {"web1", "web2"}
        # Another listener: a reload.
        more = copy.deepcopy(quiet)
        more["listeners"].append({"protocol": "TCP", "protocol_port": 8081, "default_pool": {"name": "extra"}})
        extra = [{"address": installation.servers[0].address, "protocol_port": WEB_PORT}]
        more["pools"].append({"name": "extra", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN", "members": extra})
        told = _post(installation, balancer_id, "plan", {"loadbalancer": more})["plan"]
        assert told["means"] == "reload"
        assert "+frontend" in told["amphorae"][0]["difference"]
        _post(installation, balancer_id, "apply", {"loadbalancer": more})
        playground.wait_active(balancer_id)
        assert _means(installation, balancer_id) == "reload"
        assert ask(address, 8081) == "web1"
        _post(installation, balancer_id, "rollback", {"generation": 1})
        playground.wait_active(balancer_id)
        assert _read_file(installation) == first
        assert {ask(address) for _ in range(30)} == {"web1", "web2", "web3"}
    assert clients.failed == 0
    kept = [one["generation"] for one in playground.request("GET", path)["generations"]]
    assert kept == [4, 3, 2, 1]
    playground.request("DELETE", f"/v2/lbaas/loadbalancers/{balancer_id}?cascade=true")
    playground.wait_gone(balancer_id)
