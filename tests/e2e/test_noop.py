"""`statera up` with the drivers that touch nothing: no privileges, no agent, any id."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from statera.base.ids import new_id
from statera.cli.ports import choose_port

pytestmark = pytest.mark.e2e

WITHIN_S = 60.0
POWERLESS = ("setpriv", "--bounding-set=-all,+dac_override", "--inh-caps=-all", "--")
"""Root with no power over the machine, only over files: another user may not be able to read this Python."""


class Noop:
    """A running installation."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.process = process

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def list_roles(self) -> dict[str, int]:
        """Return the pid of each role that runs as a process below the supervisor."""
        told = subprocess.run(
            ["ps", "--ppid", str(self.process.pid), "-o", "pid=,args="], check=False, capture_output=True, text=True
        )
        # The program's own path may hold spaces.
        found = re.findall(r"^ *(\d+) .* -m statera (\w+)", told.stdout, re.MULTILINE)
        return {role: int(pid) for pid, role in found}


def wait_for(reached: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (found := reached()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def noop(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Noop]:
    with run_noop(tmp_path_factory.mktemp("noop"), module_database_url) as one:
        yield one


@contextmanager
def run_noop(folder: Path, database_url: str, options: str = "") -> Iterator[Noop]:
    """Give an installation that keeps its files and its log in a folder; `options`: lines before the first table."""
    port = choose_port(0, socket.SOCK_STREAM)
    config = folder / "statera.toml"
    config.write_text(
        f'data_dir = "{folder}/data"\nrun_dir = "{folder}/run"\n{options}\n[api]\nport = {port}\n\n'
        f'[database]\nurl = "{database_url}"\n\n[compute]\ndriver = "noop"\n\n[network]\ndriver = "noop"\n',
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "statera", "up", "--config", str(config)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*POWERLESS, *command] if os.geteuid() == 0 else command, stdout=log, stderr=log)
    one = Noop(f"http://127.0.0.1:{port}", process)

    def listens() -> bool:
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        try:
            return bool(one.ask("GET", "/"))
        except (urllib.error.URLError, ConnectionError):
            return False

    try:
        wait_for(listens, "The API")
        yield one
    finally:
        process.terminate()
        process.wait(30)


def test_a_whole_life(noop: Noop) -> None:
    network_id, subnet_id, member_subnet_id = new_id(), new_id(), new_id()
    member = {"address": "192.0.2.9", "protocol_port": 80, "subnet_id": member_subnet_id}
    monitor = {"type": "HTTP", "delay": 5, "timeout": 3, "max_retries": 3}
    pool = {"name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": [member]}
    listeners = [
        {"name": "one", "protocol": "HTTP", "protocol_port": 80, "default_pool": pool | {"healthmonitor": monitor}},
        {"name": "two", "protocol": "HTTP", "protocol_port": 81, "default_pool": pool | {"name": "q"}},
    ]
    wish = {"vip_network_id": network_id, "vip_subnet_id": subnet_id, "listeners": listeners}
    made = noop.ask("POST", "/v2/lbaas/loadbalancers", {"loadbalancer": wish})["loadbalancer"]
    assert (made["vip_network_id"], made["vip_subnet_id"]) == (network_id, subnet_id)
    assert made["vip_address"].startswith("198.18.")
    path = f"/v2/lbaas/loadbalancers/{made['id']}"

    def settled() -> bool:
        return bool(noop.ask("GET", path)["loadbalancer"]["provisioning_status"] == "ACTIVE")

    wait_for(settled, "ACTIVE")
    tree = noop.ask("GET", f"{path}/status")["statuses"]["loadbalancer"]
    # Nothing is measured: what only traffic can tell stays as it was created.
    checked, unchecked = [one["pools"][0] for one in tree["listeners"]]
    told = [one["operating_status"] for one in (tree, tree["listeners"][0], checked)]
    assert told == ["OFFLINE", "OFFLINE", "OFFLINE"]
    assert checked["health_monitor"]["operating_status"] == "ONLINE"
    assert checked["members"][0]["operating_status"] == "OFFLINE"
    assert unchecked["members"][0]["operating_status"] == "NO_MONITOR"
    noop.ask("PUT", path, {"loadbalancer": {"name": "other"}})
    wait_for(settled, "ACTIVE again")
    for one in noop.ask("GET", f"/v2/lbaas/pools/{checked['id']}/members")["members"]:
        noop.ask("DELETE", f"/v2/lbaas/pools/{checked['id']}/members/{one['id']}")
    wait_for(settled, "ACTIVE without the member")
    noop.ask("DELETE", f"{path}?cascade=true")
    wait_for(lambda: noop.ask("GET", "/v2/lbaas/loadbalancers")["loadbalancers"] == [], "The end")
    assert noop.ask("GET", "/network/v2.0/ports")["ports"] == []


def test_clients_find_any_id(noop: Noop) -> None:
    for kind in ("network", "subnet", "port"):
        wanted = new_id()
        assert noop.ask("GET", f"/network/v2.0/{kind}s/{wanted}")[kind]["id"] == wanted
        assert wanted in {one["id"] for one in noop.ask("GET", f"/network/v2.0/{kind}s?id={wanted}")[f"{kind}s"]}
    assert noop.ask("GET", "/network/v2.0/subnets?name=unheard-of") == {"subnets": []}


def test_nothing_runs_that_would_touch_the_machine(noop: Noop) -> None:
    assert noop.list_roles().keys() == {"worker", "api"}
