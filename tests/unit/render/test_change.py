"""What changes at run time and what needs a reload, command by command."""

from typing import Any

import msgspec
import pytest

from statera.model.document import Document, Server, ServersPart, TextPart
from statera.render.change import POOL_OF_CONNECTIONS, Reload, RuntimeChange, Unchanged, decide_change
from statera.render.engine import EngineCapabilities, haproxy_capabilities

ENGINE = haproxy_capabilities("2.6.12-1+deb12u1")
OLD_ENGINE = haproxy_capabilities("2.4.22")
ONE = Server(name="one", address="10.0.0.1", port=80, weight=1, enabled=True)
CHECKED = msgspec.structs.replace(ONE, options="check inter 5000ms", checked=True)


def make_document(*servers: Server, text: str = "backend b\n", backend: str = "b", **part: Any) -> Document:
    return Document(
        parts=(TextPart(text=text), ServersPart(backend=backend, servers=servers, **{"dynamic": True, **part}))
    )


def commands(live: Document, wanted: Document) -> list[str]:
    change = decide_change(live, wanted, ENGINE)
    assert isinstance(change, RuntimeChange)
    return [command.text for command in change.commands]


def replace(server: Server, **values: Any) -> Server:
    return msgspec.structs.replace(server, **values)


def test_nothing():
    assert decide_change(make_document(ONE), make_document(ONE), ENGINE) == Unchanged()


def test_a_first_start():
    assert decide_change(None, make_document(ONE), ENGINE) == Reload(why="No configuration is live yet.")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"weight": 0}, ["set server b/one weight 0"]),
        ({"enabled": False}, ["enable health b/one", "set server b/one state maint"]),
        ({"address": "2001:db8::1"}, ["set server b/one addr 2001:db8::1 port 80"]),
        ({"port": 81}, ["set server b/one addr 10.0.0.1 port 81"]),
        ({"check_address": "10.0.0.9"}, ["set server b/one check-addr 10.0.0.9"]),
        ({"check_port": 9}, ["set server b/one check-port 9"]),
        ({"check_address": "10.0.0.9", "check_port": 9}, ["set server b/one check-addr 10.0.0.9 port 9"]),
        (
            {"weight": 2, "enabled": False},
            ["set server b/one weight 2", "enable health b/one", "set server b/one state maint"],
        ),
    ],
)
def test_edits(changes: dict[str, Any], expected: list[str]):
    assert commands(make_document(CHECKED), make_document(replace(CHECKED, **changes))) == expected


def test_a_server_comes():
    two = replace(CHECKED, name="two", address="2001:db8::2", weight=3, check_address="2001:db8::3", check_port=9)
    assert commands(make_document(CHECKED), make_document(CHECKED, two)) == [
        "add server b/two [2001:db8::2]:80 weight 3 check inter 5000ms addr [2001:db8::3] port 9 "
        f"{POOL_OF_CONNECTIONS}",
        "enable health b/two",
        "set server b/two state ready",
    ]


def test_a_disabled_server_comes_and_stays_so():
    assert commands(make_document(), make_document(replace(ONE, enabled=False))) == [
        f"add server b/one 10.0.0.1:80 weight 1 {POOL_OF_CONNECTIONS}"
    ]


def test_a_server_comes_to_a_backend_with_cookies():
    live, wanted = make_document(dynamic_cookies=True), make_document(ONE, dynamic_cookies=True)
    assert commands(live, wanted) == [
        f"add server b/one 10.0.0.1:80 weight 1 {POOL_OF_CONNECTIONS}",
        "enable dynamic-cookie backend b",
        "set server b/one state ready",
    ]


def test_a_server_goes():
    change = decide_change(make_document(ONE), make_document(), ENGINE)
    assert isinstance(change, RuntimeChange)
    assert [(command.text, command.may_wait) for command in change.commands] == [
        ("set server b/one state maint", False),
        ("del server b/one", True),
    ]


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        (ONE, replace(ONE, backup=True)),
        (replace(CHECKED, check_address="10.0.0.9"), CHECKED),
        (replace(CHECKED, check_port=9), CHECKED),
    ],
)
def test_a_server_is_replaced_on_one_line(live: Server, wanted: Server):
    change = decide_change(make_document(live), make_document(wanted), ENGINE)
    assert isinstance(change, RuntimeChange)
    (command,) = change.commands
    assert command.text.startswith("set server b/one state maint;del server b/one;add server b/one 10.0.0.1:80 ")
    assert command.text.endswith("set server b/one state ready")
    assert "connections" in change.doubt


def test_another_order_is_no_work():
    two = replace(ONE, name="two")
    assert commands(make_document(ONE, two), make_document(two, ONE)) == []


@pytest.mark.parametrize(
    ("live", "wanted", "why"),
    [
        (make_document(ONE), make_document(ONE, text="other\n"), "Settings of a listener"),
        (make_document(ONE), Document(parts=(TextPart(text="backend b\n"),)), "Listeners or pools were added"),
        (make_document(ONE), make_document(ONE, backend="c"), "A pool was replaced."),
        (make_document(ONE), make_document(replace(ONE, options="send-proxy")), "checks of members changed"),
        (make_document(ONE), make_document(CHECKED), "checks of members changed"),
        (make_document(dynamic=False), make_document(ONE, dynamic=False), "cannot add or remove servers"),
    ],
)
def test_reloads(live: Document, wanted: Document, why: str):
    change = decide_change(live, wanted, ENGINE)
    assert isinstance(change, Reload)
    assert why in change.why


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (make_document(ONE, replace(ONE, name="two")), "cannot add or remove servers"),
        (make_document(), "cannot add or remove servers"),
        (make_document(replace(ONE, backup=True)), "cannot replace a server"),
    ],
)
def test_an_old_engine_reloads(wanted: Document, why: str):
    change = decide_change(make_document(ONE), wanted, OLD_ENGINE)
    assert isinstance(change, Reload)
    assert why in change.why


def test_an_old_engine_edits():
    change = decide_change(make_document(ONE), make_document(replace(ONE, weight=5)), OLD_ENGINE)
    assert isinstance(change, RuntimeChange)


@pytest.mark.parametrize(
    ("text", "version", "dynamic"),
    [
        ("2.6.12-1+deb12u1", (2, 6, 12), True),
        ("2.4.22", (2, 4, 22), False),
        ("3.0", (3, 0, 0), True),
        ("HAProxy version 2.8.5-1", (2, 8, 5), True),
        ("unknown", (2, 6, 0), True),
        ("", (2, 6, 0), True),
    ],
)
def test_engines(text: str, version: tuple[int, int, int], dynamic: bool):
    assert haproxy_capabilities(text) == EngineCapabilities(version=version, dynamic_servers=dynamic)
