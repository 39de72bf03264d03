"""No text adds a line to the files of the engines of datagrams, or to that of keepalived, or changes what one says."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statera.model.engines import SCTP, EngineName
from statera.model.enums import PersistenceType
from statera.model.tree import SessionPersistence, Tree
from statera.plan.spec import decide_amphora_spec
from statera.render import tokens
from statera.render.document import render_document, render_engine_file
from statera.render.keepalived import render_keepalived
from statera.render.lvs_network import render_lvs_network
from statera.render.nftables import render_nftables
from statera.render.paths import SANDBOX_PATHS
from tests.golden.cases import ENGINE, LIMITS, make_tree
from tests.golden.vrrp_cases import make_spec
from tests.property.test_injection import hostile, with_value

ENGINES = (EngineName.NGINX, EngineName.LVS)
texts = hostile | st.ip_addresses().map(str) | st.ip_addresses().map(lambda one: f"{one}%x; evil {{")


def plain_tree(family: str) -> Tree:
    return make_tree(
        {
            "listeners": [
                {
                    "id": "listener",
                    "protocol": "UDP",
                    "protocol_port": 53,
                    "default_pool_id": "pool",
                    "allowed_cidrs": [f"{family}/32"],
                }
            ],
            "pools": [
                {
                    "id": "pool",
                    "protocol": "UDP",
                    "lb_algorithm": "ROUND_ROBIN",
                    "session_persistence": {"type": "SOURCE_IP", "persistence_granularity": "255.255.0.0"},
                    "members": [
                        {"id": "member", "address": family, "monitor_address": family, "protocol_port": 53, "weight": 1}
                    ],
                    "health_monitor": {
                        "type": "HTTP",
                        "delay": 5,
                        "timeout": 3,
                        "max_retries": 2,
                        "url_path": "/harmless",
                        "domain_name": "harmless.example.org",
                    },
                }
            ],
        }
    )


PLACES: dict[str, tuple[str, str, Callable[[Tree, str], Any]]] = {
    "VIP": ("load_balancer", "vip", lambda tree, text: msgspec.structs.replace(tree.load_balancer.vip, address=text)),
    "allowed_cidrs": ("listeners", "allowed_cidrs", lambda _, text: (text,)),
    "granularity": (
        "pools",
        "session_persistence",
        lambda _, text: SessionPersistence(type=PersistenceType.SOURCE_IP, persistence_granularity=text),
    ),
    "address": ("members", "address", lambda _, text: text),
    "monitor_address": ("members", "monitor_address", lambda _, text: text),
    "url_path": ("health_monitors", "url_path", lambda _, text: text),
    "expected_codes": ("health_monitors", "expected_codes", lambda _, text: text),
    "domain_name": ("health_monitors", "domain_name", lambda _, text: text),
    "name": ("load_balancer", "name", lambda _, text: text),
    "pool name": ("pools", "name", lambda _, text: text),
}


def with_text(tree: Tree, place: str, text: str) -> Tree:
    where, attribute, make = PLACES[place]
    return with_value(tree, where, attribute, make(tree, text))


def list_files(tree: Tree) -> Iterator[str]:
    for engine in ENGINES:
        spec = decide_amphora_spec(tree, "amphora", LIMITS, engines=(EngineName.HAPROXY, engine, SCTP))
        document = render_document(spec, ENGINE, SANDBOX_PATHS)
        assert document is not None
        assert document.datagrams is not None
        yield render_engine_file(document.datagrams, SANDBOX_PATHS)
        if engine == EngineName.LVS:
            yield render_lvs_network(document.datagrams)


def shape(text: str) -> set[str]:
    """Return the lines with letters for addresses and numbers."""
    assert all(sign == "\n" or " " <= sign <= "~" for sign in text)
    return {" ".join(_shape_word(word) for word in re.split(r"[ \[\]]+", line)) for line in text.split("\n")}


def _shape_word(word: str) -> str:
    bare = word.rstrip(";,")
    for text in (bare, bare.rpartition(":")[0]):
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        return word if "%" in text else f"A{word[len(bare) :]}"
    return re.sub(r"[0-9]+", "N", word)


KNOWN = {
    line
    for family in ("198.51.100.1", "2001:db8::1")
    for cidrs in (True, False)
    for granularity in ("255.255.0.0", "255.255.255.255", "ffff::")
    for vip in ("198.51.100.9", "2001:db8::9")
    for text in list_files(
        with_text(
            with_text(
                plain_tree(family) if cidrs else with_text(plain_tree(family), "allowed_cidrs", "::/0"), "VIP", vip
            ),
            "granularity",
            granularity,
        )
    )
    for line in shape(text)
}


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=30, deadline=None)
@given(text=texts)
def test_no_text_adds_a_line(place: str, text: str) -> None:
    try:
        files = list(list_files(with_text(plain_tree("198.51.100.1"), place, text)))
    except tokens.BadToken:
        return
    for file in files:
        assert shape(file) <= KNOWN


@pytest.mark.parametrize("place", ["addresses", "vips", "peers"])
@settings(max_examples=30, deadline=None)
@given(text=texts | st.ip_addresses().map(lambda one: f"{one}%x\n    evil/64"))
def test_no_text_adds_a_line_to_keepalived(place: str, text: str) -> None:
    plain = {"addresses": ("192.0.2.21/24", "2001:db8::21/64"), "vips": ("192.0.2.10",), "peers": ("192.0.2.22",)}
    try:
        spec = make_spec(**(plain | {place: (*plain[place], text)}))  # type: ignore[arg-type]
        file = render_keepalived(spec)
        rules = render_nftables(msgspec.structs.replace(spec, handed_over_by=(text,)))
    except (tokens.BadToken, ValueError):
        return
    assert all(sign == "\n" or " " <= sign <= "~" for sign in file + rules)
    assert not {"%", "evil"} & set(re.findall(r"%|evil", file + rules))
