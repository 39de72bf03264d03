"""All processes are restarted in turn, under traffic and edits: no request fails, no edit is lost."""

import os
import signal
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.watch import Watch
from statera.cli.playground import Playground
from tests.e2e.conftest import make_installation
from tests.hosts.ground import Ground, raise_ground
from tests.hosts.service import Service
from tests.upgrade.editing import BALANCERS, Editor

pytestmark = [pytest.mark.e2e, pytest.mark.root]

OPTIONS: dict[str, Any] = {
    "reconcile": {"lease_s": 3.0, "backoff_most_s": 1.0, "recheck_s": 5.0},
    "health": {"stale_after_s": 6.0},
}
ROUNDS = 2
EDITS_BETWEEN = 3
READY = {"api": "api listens"}


@pytest.fixture(autouse=True)
def _root_only() -> None:
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("makes network namespaces and runs whole installations: needs root")


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """Two of each controller, the APIs on one port, and an agent on a host of its own."""
    options = OPTIONS | {"api": {"processes": 2}}
    tag = f"r{os.getpid() % 10_000}"
    with raise_ground(tag, hosts=1, apis=2, workers=2, healths=2, shares_port=True, overrides=options) as made:
        yield made


def _wait_edits(playground: Playground, editor: Editor, count: int = EDITS_BETWEEN) -> None:
    before = editor.accepted
    playground.wait_for(
        lambda: editor.accepted >= before + count or editor.faults, "More edits", explain=lambda: str(editor.accepted)
    )


def _restart(ground: Ground, service: Service) -> None:
    """Stop a process as an operator does, and start it again; return when it is ready."""
    log = ground.data_dir / f"{service.name}.log"
    service.stop()
    before = log.read_text(errors="replace").count(READY.get(service.role, ""))
    service.start()
    if service.role in READY:
        is_ready = lambda: log.read_text(errors="replace").count(READY[service.role]) > before  # noqa: E731
        ground.wait_for(is_ready, service.name)


def _watch(balancer: Any) -> Watch:
    return Watch(balancer["vip_address"], clients=1, timeout_s=4.0, pause_s=0.03)


def test_processes_of_their_own_are_restarted_one_after_the_other(ground: Ground) -> None:
    balancer = ground.wait_active(ground.create_load_balancer("rolling", ground.servers)["id"])
    services = [*ground.controllers.values(), *ground.agents.values()]
    with _watch(balancer) as watch, Editor(ground, balancer) as editor:
        for service in services * ROUNDS:
            _wait_edits(ground, editor)
            _restart(ground, service)
        _wait_edits(ground, editor)
    editor.check_kept(ground)
    assert editor.faults == []
    assert editor.refused == 0, "one of two API processes always takes connections"
    assert watch.outages == []
    assert len(watch.answered) > 0
    for one in (balancer["id"], *editor.made):
        ground.request("DELETE", f"{BALANCERS}/{one}?cascade=true")


def test_a_request_in_flight_is_answered_before_its_process_ends(ground: Ground) -> None:
    """The process has been told to stop and takes no more connections; what it began, it finishes."""
    ground.controllers["api2"].stop()
    body = b'{"loadbalancer": {"name": "in-flight", "vip_subnet_id": "%s"}}' % ground.find_subnet_id().encode()
    head = (
        f"POST {BALANCERS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    base = ground.client.base_url
    with socket.create_connection((base.host, base.port or 80), timeout=20.0) as connection:
        connection.sendall(head.encode() + body[:10])
        service = ground.controllers["api1"]
        # It has the request's head once it has answered another one that came later.
        ground.request("GET", BALANCERS)
        os.kill(service.pid, signal.SIGTERM)
        ground.wait_for(lambda: not _takes_connections(base.host, base.port or 80), "The end of listening")
        assert service.is_running
        connection.sendall(body[10:])
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 201"), answer
    ground.wait_for(lambda: not service.is_running, "The end of the process")
    service.start()
    ground.controllers["api2"].start()
    ground.wait_for(lambda: _takes_connections(base.host, base.port or 80), "The API")
    found = ground.request("GET", f"{BALANCERS}?name=in-flight")["loadbalancers"]
    assert [one["name"] for one in found] == ["in-flight"]
    ground.wait_active(found[0]["id"])


def _takes_connections(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def test_all_of_one_machine_is_restarted_in_turn_and_as_a_whole() -> None:
    """Under its own supervisor: each role is told to stop and comes again; then all of it, as systemd does."""
    with make_installation(f"w{os.getpid() % 10_000}", **OPTIONS) as installation:
        playground = installation.playground
        made = playground.create_load_balancer("whole", installation.servers)
        balancer = playground.wait_active(made["id"])
        with _watch(balancer) as watch, Editor(playground, balancer) as editor:
            for role in ("api", "worker", "health", "agent"):
                _wait_edits(playground, editor)
                pid = installation.find_process(role)
                os.kill(pid, signal.SIGTERM)
                playground.wait_for(partial(_has_ended, pid), f"The end of {role}")
                installation.find_process(role)
            _wait_edits(playground, editor)
            playground.stop_installation()
            playground.start_installation()
            _wait_edits(playground, editor)
        editor.check_kept(playground)
        assert editor.faults == []
        assert watch.outages == []
        assert len(watch.answered) > 0
        for one in (balancer["id"], *editor.made):
            playground.request("DELETE", f"{BALANCERS}/{one}?cascade=true")
        for one in (balancer["id"], *editor.made):
            playground.wait_gone(one)


def _has_ended(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()
