"""A host that can carry no more: who asks for one too many reads why, nobody else notices, and room is used at once."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from statera.cli.playground import ask
from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.root]

MOST = 2
LEFT = 20
"""Descriptors that the agent still has for its own work: less than it keeps back, so there is none for an amphora."""
ROLES = ("api", "worker", "health", "agent")


def make_overrides() -> dict[str, Any]:
    return {"agent": {"amphora_limit": MOST}, "reconcile": {"error_after_s": 1.0, "backoff_most_s": 1.0}}


@pytest.fixture(autouse=True)
def _nobody_ended(installation: Installation) -> Iterator[None]:
    before = [installation.find_process(role) for role in ROLES]
    yield
    assert [installation.find_process(role) for role in ROLES] == before


@contextmanager
def few_descriptors(pid: int) -> Iterator[None]:
    """Let a process open hardly more files than it has open."""
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + LEFT, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def create(installation: Installation, name: str) -> Any:
    made = installation.playground.create_load_balancer(name, installation.servers)
    return installation.playground.wait_active(made["id"])


def create_one_too_many(installation: Installation) -> Any:
    """Return a load balancer that nobody has room for, once it is ERROR."""
    before = installation.list_namespaces()
    made = installation.playground.create_load_balancer("too-many", installation.servers)

    def is_error() -> Any:
        shown = installation.playground.show(made["id"])
        # An ERROR of a try that fails otherwise would be another one.
        assert (shown["status_reason"] or {"slug": "host-full"})["slug"] == "host-full"
        return shown if shown["provisioning_status"] == "ERROR" else None

    shown = installation.playground.wait_for(is_error, "ERROR")
    assert shown["operating_status"] == "OFFLINE"
    assert installation.list_namespaces() == before
    return shown


def delete(installation: Installation, *balancers: Any) -> None:
    for one in balancers:
        installation.playground.request("DELETE", f"/v2/lbaas/loadbalancers/{one['id']}?cascade=true")
    for one in balancers:
        installation.playground.wait_gone(one["id"])


def test_the_machine_s_limit_is_told_to_who_asked_for_one_too_many(installation: Installation) -> None:
    first = create(installation, "first")
    with few_descriptors(installation.find_process("agent")):
        waiting = create_one_too_many(installation)
        sentence = waiting["status_reason"]["sentence"]
        # The agent itself says so, or the worker, whichever knows it first.
        assert "as many as" in sentence
        assert "(RLIMIT_NOFILE)" in sentence
        assert ask(first["vip_address"]) is not None
        # An edit of who has his amphora is none of the limit's business.
        path = f"/v2/lbaas/loadbalancers/{first['id']}"
        installation.playground.request("PUT", path, {"loadbalancer": {"name": "renamed"}})
        assert installation.playground.wait_active(first["id"])["name"] == "renamed"
    built = installation.playground.wait_active(waiting["id"])
    assert built["status_reason"] is None
    assert ask(built["vip_address"]) is not None
    delete(installation, first, waiting)


def test_it_is_built_when_another_one_is_deleted(installation: Installation) -> None:
    stays, goes = (create(installation, f"one-of-{MOST}-{number}") for number in range(MOST))
    waiting = create_one_too_many(installation)
    sentence = waiting["status_reason"]["sentence"]
    assert sentence == f"No host has room for another amphora: local ({MOST}) hold as many as they may."
    delete(installation, goes)
    built = installation.playground.wait_active(waiting["id"])
    assert built["status_reason"] is None
    assert all(ask(one["vip_address"]) is not None for one in (stays, built))
    delete(installation, stays, built)
