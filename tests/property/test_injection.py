"""No text that a tenant types can add a directive, end one, or change a word that is not its own."""

import ipaddress
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statera.model.document import Document, ListPart
from statera.model.tree import Tree
from statera.render import tokens
from statera.render.change import RuntimeChange, decide_change
from statera.render.haproxy import render_haproxy
from statera.render.paths import SANDBOX_PATHS
from tests.golden.cases import ENGINE, decide_streams, make_tree
from tests.golden.haproxy import check_haproxy
from tests.property.servers import split_signs
from tests.property.words import Expands, split_words

ATTACKS = (
    "x\n    server evil 203.0.113.66:80",
    "x\r\nglobal\n    user root",
    "x\x00y",
    "x server evil",
    "x' uri '/other",
    "x'\n    option httpchk",
    'x" $HOME "',
    "${PATH}",
    "x\\",
    "x #",
    "%[env(HOME)]",
    "%{+Q}o",
    "x\u2028y\u0085z",
    "fe80::1%x\n    server evil 203.0.113.66:80",
    "::1%x check addr 203.0.113.66",
    "200\n    http-check expect status 500",
    "200,\u0663\u0663\u0663",
    "x) -m found",
    'x"),lower,concat(y',
)
hostile = (
    st.sampled_from(ATTACKS)
    | st.text(max_size=60)
    | st.text("'\"\\#$%{}[]() \n\r\t\x00,;a", max_size=30)
    | st.tuples(st.sampled_from(ATTACKS), st.text(max_size=10)).map("".join)
)

FREE = ("name", "description")
"""Texts that no configuration holds at all."""


def plain_tree() -> Tree:
    return make_tree(
        {
            "listeners": [
                {
                    "id": "listener",
                    "protocol": "HTTP",
                    "protocol_port": 80,
                    "default_pool_id": "pool",
                    "allowed_cidrs": ["10.0.0.0/8"],
                    "insert_headers": {"X-Forwarded-For": "true"},
                }
            ],
            "pools": [
                {
                    "id": "pool",
                    "protocol": "HTTP",
                    "lb_algorithm": "ROUND_ROBIN",
                    "session_persistence": {"type": "APP_COOKIE", "cookie_name": "harmless"},
                    "members": [
                        {
                            "id": "member",
                            "address": "198.51.100.1",
                            "protocol_port": 80,
                            "monitor_address": "198.51.100.2",
                        }
                    ],
                    "health_monitor": {
                        "type": "HTTP",
                        "delay": 5,
                        "timeout": 3,
                        "max_retries": 2,
                        "url_path": "/harmless",
                        "expected_codes": "200",
                        "http_version": 1.1,
                        "domain_name": "harmless.example.org",
                        "expected_body": "harmless",
                    },
                }
            ],
            "l7policies": [
                {
                    "id": "policy",
                    "listener_id": "listener",
                    "action": "REDIRECT_TO_URL",
                    "redirect_url": "https://harmless.example.org/",
                    "rules": [
                        {"type": "HEADER", "compare_type": "STARTS_WITH", "key": "X-Harmless", "value": "harmless"}
                    ],
                }
            ],
        }
    )


PLACES: dict[str, tuple[str, str, Callable[[str], Any]]] = {
    "VIP": ("load_balancer", "vip", lambda text: msgspec.structs.replace(plain_tree().load_balancer.vip, address=text)),
    "allowed_cidrs": ("listeners", "allowed_cidrs", lambda text: ("192.0.2.0/24", text)[1:]),
    "insert_headers name": ("listeners", "insert_headers", lambda text: {"X-Forwarded-For": "true", text: "true"}),
    "insert_headers value": ("listeners", "insert_headers", lambda text: {"X-Forwarded-For": "true", "X": text}),
    "cookie_name": (
        "pools",
        "session_persistence",
        lambda text: msgspec.structs.replace(
            plain_tree().pools[0].session_persistence or pytest.fail("no persistence"), cookie_name=text
        ),
    ),
    "address": ("members", "address", str),
    "monitor_address": ("members", "monitor_address", str),
    "url_path": ("health_monitors", "url_path", str),
    "expected_codes": ("health_monitors", "expected_codes", str),
    "domain_name": ("health_monitors", "domain_name", str),
    "expected_body": ("health_monitors", "expected_body", str),
    "redirect_url": ("l7policies", "redirect_url", str),
    "rule key": ("l7rules", "key", str),
    "rule value": ("l7rules", "value", str),
}
for _where in ("load_balancer", "listeners", "pools", "members", "health_monitors", "l7policies"):
    PLACES[f"{_where} name"] = (_where, "name", str)
for _where in ("load_balancer", "listeners", "pools", "l7policies"):
    PLACES[f"{_where} description"] = (_where, "description", str)


def with_text(place: str, text: str) -> Tree:
    where, attribute, make = PLACES[place]
    return with_value(plain_tree(), where, attribute, make(text))


def with_value(tree: Tree, where: str, attribute: str, value: Any) -> Tree:
    """Return the tree with another value in the load balancer, or in the only one of its listeners, pools ..."""
    old, changes = getattr(tree, where), {attribute: value}
    if isinstance(old, tuple):
        return msgspec.structs.replace(tree, **{where: (msgspec.structs.replace(old[0], **changes),)})
    return msgspec.structs.replace(tree, **{where: msgspec.structs.replace(old, **changes)})


def render(tree: Tree) -> Document:
    return render_haproxy(decide_streams(tree), ENGINE, SANDBOX_PATHS)


def words_of(document: Document) -> list[list[str]]:
    text = document.text()
    assert all(sign == "\n" or " " <= sign <= "~" for sign in text)
    listed = "".join(document.lists().values())
    assert all(sign == "\n" or sign.isprintable() for sign in listed)
    # A line of a file of values is one word, unless it is a comment or empty.
    lines = [["", line] for line in listed.split("\n")]
    assert not any(line.startswith((" ", "#")) for _, line in lines)
    return [*(split_words(line) for line in text.split("\n")), *lines]


HARMLESS = words_of(render(plain_tree()))


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=60, deadline=None)
@given(text=hostile)
def test_text_stays_one_word(place: str, text: str):
    try:
        document = render(with_text(place, text))
    except tokens.BadToken:
        return
    if place in ("monitor_address", "domain_name") and not text:
        return  # the same as none given
    if place == "rule value" and not text.strip('"'):
        return  # another comparison
    words, harmless = words_of(document), HARMLESS
    if not any(part.name.startswith("l7-") for part in document.parts if isinstance(part, ListPart)):
        # What no line of a file can hold stands in the configuration.
        harmless = words_of(render(with_text("rule value", "#harmless")))
    assert [len(line) for line in words] == [len(line) for line in harmless]
    changed = [
        position
        for old, new in zip(harmless, words, strict=True)
        for position, (before, after) in enumerate(zip(old, new, strict=True))
        if before != after
    ]
    # Only the text's own word differs, and never the keyword before it; some texts stand on two lines.
    most = 0 if place.split(" ")[-1] in FREE else 2 if place in ("cookie_name", "rule key", "rule value") else 1
    assert len(changed) <= most
    assert 0 not in changed


@pytest.mark.parametrize("place", PLACES)
@settings(max_examples=4, deadline=None)
@given(text=hostile)
def test_what_renders_is_still_a_configuration(place: str, text: str):
    try:
        document = render(with_text(place, text))
    except tokens.BadToken:
        return
    assert "[ALERT]" not in check_haproxy(document)


@settings(max_examples=200, deadline=None)
@given(address=hostile | st.ip_addresses().map(str), check=st.none() | hostile | st.ip_addresses().map(str))
def test_text_stays_one_runtime_command(address: str, check: str | None):
    """Runtime commands end at `;` and newline as well."""
    before = render(plain_tree())
    (member,) = plain_tree().members
    changes = {"address": address, "monitor_address": check}
    edited = msgspec.structs.replace(member, **changes)
    added = msgspec.structs.replace(edited, id="added")
    try:
        after = render(msgspec.structs.replace(plain_tree(), members=(edited, added)))
    except tokens.BadToken:
        return
    change = decide_change(before, after, ENGINE)
    commands = change.commands if isinstance(change, RuntimeChange) else ()
    for command in commands:
        assert not set(command.text) & set("\n\r\x00<\\\"'#$")
        texts = command.text.split(";")
        # Replacing a server is five commands on one line.
        assert len(texts) == (5 if command.says else 1)
        for text in texts:
            known = (["set", "server"], ["del", "server"], ["add", "server"], ["enable", "health"])
            assert text.split(" ")[:2] in known


@settings(max_examples=300, deadline=None)
@given(before=hostile, after=hostile)
def test_a_rules_value_stays_one_word_of_a_command(before: str, after: str):
    try:
        live, wanted = render(with_text("rule value", before)), render(with_text("rule value", after))
    except tokens.BadToken:
        return
    change = decide_change(live, wanted, ENGINE)
    for command in change.commands if isinstance(change, RuntimeChange) else ():
        assert command.text.isprintable()
        (text,) = split_signs(command.text, ";")
        words = [re.sub(r"\\(.)", r"\1", word) for word in split_signs(text, " ")]
        assert words[:2] in (["prepare", "acl"], ["add", "acl"], ["commit", "acl"])
        if words[0] == "add":
            (listed,) = [text for name, text in wanted.lists().items() if name.startswith("l7-")]
            assert words[4:] == [listed.removesuffix("\n")]


# Tokens alone


@given(hostile)
def test_a_name_stands_as_it_is(text: str):
    try:
        made = tokens.name(text)
    except tokens.BadToken:
        return
    assert made == text
    assert split_words(f"before {made} after") == ["before", text, "after"]


@given(hostile | st.text("0123456789,- \t", max_size=12))
def test_status_codes_are_digits(text: str):
    try:
        made = tokens.status_codes(text)
    except tokens.BadToken:
        return
    assert set(made) <= set("0123456789,-")
    assert sorted(made) == sorted("".join(text.split()))


@given(hostile)
def test_a_quoted_word_says_just_the_text(text: str):
    try:
        made = tokens.quoted(text, "field")
    except tokens.BadToken:
        assert text == "" or any(not " " <= sign <= "~" for sign in text)
        return
    assert split_words(f"before {made} after") == ["before", text, "after"]


@given(hostile)
def test_a_log_format_says_just_the_text(text: str):
    try:
        made = tokens.format_literal(text, "field")
    except tokens.BadToken:
        return
    (word,) = split_words(made)
    # HAProxy manual 8.2.4: `%%` is a percent sign; any other use of one begins a variable.
    assert "%" not in word.replace("%%", "")
    assert word.replace("%%", "%") == text


@given(hostile.map(str.encode) | st.binary(max_size=20))
def test_a_pattern_says_just_its_bytes(text: bytes):
    try:
        made = tokens.pattern(text, "field")
    except tokens.BadToken:
        assert text == b"" or set(text) & set(b"\0\r\n")
        return
    assert split_words(f"before {made} after") == ["before", text.decode("latin-1"), "after"]


@given(hostile)
def test_a_cookie_is_one_argument(text: str):
    try:
        made = tokens.cookie_name(text)
    except tokens.BadToken:
        return
    assert made == f'"{text}"'
    assert not set(text) & set('"\\(), \t\n')


@given(hostile | st.ip_addresses().map(str))
def test_an_address_is_one_address(text: str):
    for token, kind in ((tokens.address, ipaddress.ip_address), (tokens.network, ipaddress.ip_network)):
        try:
            made = token(text)
        except tokens.BadToken:
            continue
        assert kind(made) == kind(text)
        assert set(made) <= set("0123456789abcdef.:/")


@given(st.integers())
def test_a_number_is_digits(value: int):
    try:
        made = tokens.number(value)
    except tokens.BadToken:
        assert value < 0
        return
    assert made.isdecimal()
    assert int(made) == value


def test_our_reading_of_words_is_haproxys():
    assert split_words("a 'b c'\\''d'  # e") == ["a", "b c'd"]
    with pytest.raises(Expands):
        split_words('"$HOME"')
