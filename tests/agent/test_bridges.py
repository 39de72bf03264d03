"""Bridges of a host, made from its own configuration."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from statera.agent.bridges import Bridges
from statera.base.errors import Lasting, Transient
from statera.base.settings import NetworkSettings
from statera.cli.playground import run_ip

pytestmark = pytest.mark.root

BRIDGE, UPLINK, FAR = (f"sb{os.getpid() % 100_000}{end}" for end in ("b", "u", "f"))


@pytest.fixture
def uplink() -> Iterator[str]:
    """An interface that could go to the outside."""
    _remove()
    run_ip("link", "add", UPLINK, "type", "veth", "peer", "name", FAR)
    yield UPLINK
    _remove()


def _remove() -> None:
    for device in (UPLINK, BRIDGE):
        if Path("/sys/class/net", device).exists():
            run_ip("link", "delete", device)


def _bridges(**options: Any) -> Bridges:
    return Bridges([NetworkSettings(name="net", device=BRIDGE, **({"create": True} | options))])


def _show(device: str) -> Any:
    return json.loads(run_ip("-j", "address", "show", "dev", device))[0]


def test_a_bridge_has_its_addresses_and_its_uplink(uplink: str) -> None:
    bridges = _bridges(uplink=uplink, host_addresses=("198.51.100.1/28", "fd5b::1/64"))
    bridges.ensure()
    shown = _show(BRIDGE)
    addresses = {f"{one['local']}/{one['prefixlen']}" for one in shown["addr_info"]}
    assert {"198.51.100.1/28", "fd5b::1/64"} <= addresses
    assert _show(uplink)["master"] == BRIDGE
    assert "UP" in shown["flags"]
    assert "UP" in _show(uplink)["flags"]
    bridges.ensure()


def test_what_somebody_took_away_comes_back(uplink: str) -> None:
    bridges = _bridges(uplink=uplink)
    bridges.ensure()
    run_ip("link", "set", uplink, "nomaster")
    bridges.ensure()
    assert _show(uplink)["master"] == BRIDGE
    run_ip("link", "delete", BRIDGE)
    bridges.ensure()
    assert _show(uplink)["master"] == BRIDGE


def test_an_interface_with_addresses_of_the_host_is_left_alone(uplink: str) -> None:
    run_ip("address", "add", "198.51.100.9/28", "dev", uplink)
    with pytest.raises(Transient) as told:
        _bridges(uplink=uplink).ensure()
    assert told.value.reason.slug == "uplink-in-use"
    assert "198.51.100.9/28" in told.value.sentence
    assert "master" not in _show(uplink)


def test_an_uplink_that_is_missing_is_named() -> None:
    try:
        with pytest.raises(Transient) as told:
            _bridges(uplink="nowhere0").ensure()
        assert told.value.reason.slug == "device-missing"
        assert "nowhere0" in told.value.sentence
    finally:
        _remove()


def test_a_bridge_of_the_operator_is_left_to_him() -> None:
    _bridges(create=False).ensure()
    with pytest.raises(Lasting):
        _show(BRIDGE)


def test_an_address_that_the_kernel_refuses_is_told(uplink: str) -> None:
    with pytest.raises(Transient) as told:
        _bridges(uplink=uplink, mtu=65_536).ensure()
    assert told.value.reason.slug == "bridge-not-made"
