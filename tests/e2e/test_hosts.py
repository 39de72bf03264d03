"""Two hosts: one is emptied while clients go on. What processes count and log on the way is looked at, too."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tomli_w

from bench.watch import Watch
from statera.app import pki_dir, purge_host
from statera.base.settings import load_settings
from statera.cli.ports import choose_port
from tests.e2e.conftest import Installation
from tests.e2e.screen import SCREEN_LEFT, on_screen
from tests.e2e.test_failover import BUDGET_S
from tests.unit.docs.metrics import list_metrics

pytestmark = [pytest.mark.e2e, pytest.mark.root]

PORTS = [choose_port(0, socket.SOCK_STREAM) for _ in range(2)]
HOSTS = ("local", "second")


def make_overrides() -> dict[str, Any]:
    hosts = [{"name": name, "url": f"https://127.0.0.1:{port}"} for name, port in zip(HOSTS, PORTS, strict=True)]
    return {"agent": {"port": PORTS[0]}, "compute": {"hosts": hosts}, "log": {"format": "json"}}


@pytest.fixture
def second(installation: Installation) -> Iterator[Path]:
    """The agent of another host, which happens to be on the same machine: its log."""
    first = installation.playground
    place, run_dir = first.data_dir.with_name(f"{first.data_dir.name}-second"), Path(f"{first.run_dir}-second")
    place.mkdir(mode=0o755)
    config = place / "statera.toml"
    values = tomllib.loads(first.config_path.read_text())
    values |= {"data_dir": str(place), "run_dir": str(run_dir)}
    values["agent"] |= {
        "name": "second",
        "port": PORTS[1],
        "heartbeat_targets": [f"127.0.0.1:{values['health']['port']}"],
    }
    config.write_text(tomli_w.dumps(values))
    settings = load_settings(config, {})
    shutil.copytree(pki_dir(first.settings), pki_dir(settings))
    log = place / "agent.log"
    with log.open("ab") as told:
        words = [sys.executable, "-m", "statera", "agent", "--config", str(config)]
        process = subprocess.Popen(words, stdout=told, stderr=told)
    try:
        yield log
    finally:
        process.terminate()
        process.wait(20)
        purge_host(settings)
        shutil.rmtree(place)
        shutil.rmtree(run_dir, ignore_errors=True)


def statera(installation: Installation, *words: str) -> str:
    command = [sys.executable, "-m", "statera", *words, "--config", str(installation.playground.config_path)]
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def list_hosts(installation: Installation) -> dict[str, Any]:
    return {row["host"]: row for row in json.loads(statera(installation, "host", "list", "--format", "json"))}


def test_a_host_is_emptied_without_a_failed_request(installation: Installation, second: Path) -> None:
    playground = installation.playground
    playground.wait_for(lambda: list_hosts(installation)["second"]["state"] == "up", "The second host", 30.0)
    made = [playground.create_load_balancer(f"moved-{number}", installation.servers) for number in range(2)]
    shown = [playground.wait_active(one["id"]) for one in made]
    before = list_hosts(installation)
    full, empty = sorted(HOSTS, key=lambda name: -before[name]["amphorae"])
    with Watch(shown[0]["vip_address"], timeout_s=1.0) as clients:
        told = statera(installation, "drain", full)
    assert f"Host {full} has no amphora any more." in told
    assert clients.longest_gap_s < BUDGET_S, (clients.longest_gap_s, clients.failed)
    after = list_hosts(installation)
    assert (after[full]["state"], after[full]["amphorae"], after[full]["room"]) == ("drained", 0, 0)
    assert after[empty]["amphorae"] == 2
    assert "takes amphorae again" in statera(installation, "drain", full, "--undo")
    assert list_hosts(installation)[full]["state"] == "up"


def test_top_and_events_tell_of_traffic_and_requests(installation: Installation) -> None:
    playground = installation.playground
    made = playground.create_load_balancer("watched", installation.servers)
    shown = playground.wait_active(made["id"])

    def look() -> dict[str, Any]:
        lines = json.loads(statera(installation, "top", "--format", "json", "--interval", "3"))
        return next(dict(line) for line in lines if line["load_balancer"]["id"] == made["id"])

    with Watch(shown["vip_address"], timeout_s=1.0):
        line = playground.wait_for(
            lambda: (found := look())["rates"]["connections"] > 0 and found, "Traffic in `statera top`", 40.0
        )
    assert line["rates"]["bytes_out"] > 0
    assert (line["load_balancer"]["members_online"], line["load_balancer"]["members"]) == (3, 3)
    assert "watched" in statera(installation, "top", "--once", "--interval", "0.1")
    config = str(playground.config_path)
    with on_screen(sys.executable, "-m", "statera", "top", "--interval", "0.2", "--config", config) as screen:
        screen.wait_for("watched", shown["vip_address"], "ONLINE", "3/3")
        screen.wait_for("load balancers, ", "watched", after=len(screen.text))
    assert screen.text.endswith(SCREEN_LEFT)
    answer = playground.client.put(
        f"/v2/lbaas/loadbalancers/{made['id']}", json={"loadbalancer": {"description": "new"}}
    )
    request_id = answer.headers["x-openstack-request-id"]
    playground.wait_active(made["id"])
    assert request_id in statera(installation, "events", made["id"])
    with pytest.raises(AssertionError, match="Nothing is known"):
        statera(installation, "events", "00000000-0000-4000-8000-000000000000")


def read_log(path: Path) -> list[dict[str, Any]]:
    lines = []
    for line in path.read_text(errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            lines.append(dict(json.loads(line)))
    return lines


def test_a_request_is_found_in_the_log_of_every_process(installation: Installation) -> None:
    playground = installation.playground
    answer = playground.client.post(
        "/v2/lbaas/loadbalancers",
        json={"loadbalancer": {"name": "followed", "vip_subnet_id": playground.find_subnet_id()}},
    )
    balancer_id = answer.json()["loadbalancer"]["id"]
    playground.wait_active(balancer_id)
    body = {"listener": {"name": "one", "protocol": "HTTP", "protocol_port": 80, "loadbalancer_id": balancer_id}}
    mine = f"req-{uuid.uuid4()}"
    playground.client.post("/v2/lbaas/listeners", json=body, headers={"X-Openstack-Request-Id": mine})
    playground.wait_active(balancer_id)

    def find() -> set[str]:
        lines = [line for line in read_log(playground.log_path) if line.get("request_id") == mine]
        assert {line["load_balancer_id"] for line in lines} <= {balancer_id}
        return {line["process"] for line in lines}

    playground.wait_for(
        lambda: find() == {"api", "worker", "agent"}, "The request in three logs", 20.0, lambda: str(find())
    )


def test_one_page_has_the_numbers_of_all_processes(installation: Installation) -> None:
    playground = installation.playground
    playground.wait_active(playground.create_load_balancer("counted", installation.servers)["id"])

    def scrape() -> str:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{playground.settings.metrics.port}/metrics").text
        return ""

    def find() -> set[str]:
        return set(re.findall(r'^statera_build_info\{process="([^"]+)"', scrape(), re.MULTILINE))

    playground.wait_for(lambda: find() == {"up", "api", "worker", "health", "agent"}, "All processes", 20.0)
    playground.wait_for(lambda: 'outcome="accepted"} ' in scrape(), "Heartbeats", 20.0)
    page = scrape()
    declared = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    assert {metric.name for metric in list_metrics()} <= declared
    playground.wait_for(lambda: 'statera_objects{process="worker",kind="load_balancers",' in scrape(), "Objects", 30.0)
    # Whoever has the port ends: the next one takes it.
    installation.kill("agent")
    playground.wait_for(lambda: find() == {"up", "api", "worker", "health", "agent"}, "All processes again", 30.0)
    assert re.search(r'^statera_process_starts_total\{process="up",role="agent"\} 2.0$', scrape(), re.MULTILINE)
