"""A secret does not print, in whatever way it is written out."""

import ast
import copy
import importlib
import json
import logging
import pickle
import pkgutil
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
import structlog
from rich.pretty import pretty_repr

import statera
from statera.api.keymanager import NewSecret
from statera.base.secret import Discreet, Secret
from statera.base.settings import BadSettings, DatabaseSettings, convert_settings
from statera.model.agent_wire import ConfigurationRequest

WORDS = "correct horse battery staple"
SECRETS: list[Any] = [Secret(WORDS), Secret(WORDS.encode())]


class Holder(msgspec.Struct, frozen=True):
    name: str
    key: Any


@pytest.mark.parametrize("secret", SECRETS)
def test_text_forms(secret: Any):
    forms = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{secret:>40}",
        "%s %r" % (secret, secret),  # noqa: UP031
        "{0} {0!r} {0!s}".format(secret),  # noqa: UP032
        repr([secret]),
        repr({"key": secret}),
        repr(Holder("a", secret)),
    ]
    assert all("correct" not in form for form in forms), forms
    assert forms[0] == "[redacted]"


@pytest.mark.parametrize("secret", SECRETS)
def test_logs(secret: Any):
    event = {"event": "made", "key": secret, "deep": {"keys": [secret]}}
    line = structlog.processors.JSONRenderer()(logging.getLogger(), "info", event)
    assert "correct" not in str(line)
    assert "[redacted]" in str(line)
    text = structlog.dev.ConsoleRenderer(colors=False)(logging.getLogger(), "info", dict(event))
    assert "correct" not in str(text)


@pytest.mark.parametrize("secret", SECRETS)
def test_no_encoder_takes_it(secret: Any):
    for encode in (json.dumps, msgspec.json.encode, msgspec.msgpack.encode, pickle.dumps, copy.deepcopy):
        with pytest.raises((TypeError, NotImplementedError)) as raised:
            encode(secret)
        assert "correct" not in str(raised.value)
    assert not hasattr(secret, "__dict__")


def test_an_error_with_one_does_not_tell():
    try:
        raise ValueError(Secret(WORDS))
    except ValueError:
        assert "correct" not in traceback.format_exc()


def test_revealing_is_the_only_way_to_read():
    assert Secret(WORDS).reveal() == WORDS
    assert Secret(b"\x00key").reveal() == b"\x00key"


def test_equal_secrets_are_equal():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret(b"a")}) == 2


@pytest.mark.parametrize("value", [WORDS, WORDS.encode(), "pässwörd \udcff", "", b""])
def test_secrets_are_equal_to_their_like_only(value: Any) -> None:
    same, other = type(value)(value), value + value[:1] + ("x" if isinstance(value, str) else b"x")
    assert Secret(value) == Secret(same)
    assert hash(Secret(value)) == hash(Secret(same))
    assert Secret(value) != Secret(other)
    assert Secret(value) != value
    assert Secret("a") != Secret(b"a")


def test_nothing_secret_is_compared_in_a_time_that_tells_of_it() -> None:
    """What is revealed, signed or digested under a key goes into `hmac.compare_digest`, never into `==`."""
    found = [
        f"{path}:{node.lineno}"
        for path in Path(statera.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare) and any(isinstance(one, ast.Eq | ast.NotEq) for one in node.ops)
        if any(_is_secret(part) for part in (node.left, *node.comparators))
    ]
    assert found == []


def _is_secret(part: ast.expr) -> bool:
    if isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id == "len":
        return False
    calls = [ast.unparse(one.func) for one in ast.walk(part) if isinstance(one, ast.Call)]
    return any(name.endswith(".reveal") or name.startswith("hmac.") for name in calls)


SECRET_NAME = re.compile(r"(^|_)(keys?|payloads?|password|passphrase|secret|token|headers|contents?|url)$|^body$")
PLAIN = {
    "key": "Of a rule: the name of a header or a cookie. Of a collection: its name in JSON.",
    "insert_headers": "Names of headers and true.",
    "redirect_url": "Where clients are sent: all of them see it.",
    "public_url": "Told to everybody who is refused.",
    "auth_url": "Keystone has credentials of its own.",
    "barbican_url": "So has Barbican, the same.",
    "url": "Of a request, and of an agent, which knows callers by their certificate.",
    "headers": "Of an answer, or of a request that a tenant wants to be explained.",
    "body": "What kind of body an operation takes.",
}
"""Fields that may print, with the reason."""
PLAIN_OF = {
    "key": {
        "L7Rule",
        "L7RuleShown",
        "L7RuleCreate",
        "L7RuleUpdate",
        "NewL7Rule",
        "L7RuleWanted",
        "L7RuleSpec",
        "Collection",
    },
    "url": {"Call", "HostSettings"},
    "headers": {"Answer", "Request", "RequestGiven"},
    "body": {"Route"},
}
"""Whose they are, where other structs could have one of that name that is secret."""


def _structs(base: type[msgspec.Struct] = msgspec.Struct) -> Iterator[type[msgspec.Struct]]:
    for kind in base.__subclasses__():
        yield from _structs(kind)
        if kind.__module__.startswith("statera."):
            yield kind


def _import_all() -> None:
    for module in pkgutil.walk_packages(statera.__path__, "statera."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _holds_plain(hint: Any) -> bool:
    if get_origin(hint) in (Secret, type):
        return False
    parts = get_args(hint)[1:] if get_origin(hint) in (dict, Mapping) else get_args(hint)
    return hint in (str, bytes, Any) or any(map(_holds_plain, parts))


def test_no_struct_prints_what_is_called_a_secret() -> None:
    """A key, a password, a payload, a URL that may hold one: a `Secret`, or a field that a `Discreet` struct hides."""
    _import_all()
    printable = {
        f"{kind.__module__}.{kind.__qualname__}.{name}"
        for kind in _structs()
        for name, hint in get_type_hints(kind).items()
        if name in kind.__struct_fields__ and SECRET_NAME.search(name) and _holds_plain(hint)
        if not (issubclass(kind, Discreet) and name in kind.unprinted)
        if not (name in PLAIN and kind.__name__ in PLAIN_OF.get(name, {kind.__name__}))
    }
    assert printable == set()


def test_a_url_that_is_none_of_a_database_does_not_print() -> None:
    with pytest.raises(BadSettings) as raised:
        convert_settings({"database": {"url": f"mysql://u:{WORDS}@h/d"}}, source="the test")
    assert raised.value.sentence.startswith("Option database.url in the test is wrong: ")
    assert "correct" not in raised.value.sentence


def test_what_a_struct_hides_is_a_field_of_it() -> None:
    _import_all()
    hiding = [kind for kind in _structs() if issubclass(kind, Discreet)]
    assert {"SandboxRequest", "ConfigurationRequest", "NewSecret", "Call"} <= {kind.__name__ for kind in hiding}
    for kind in hiding:
        assert kind.unprinted
        assert kind.unprinted <= set(kind.__struct_fields__), kind


@pytest.mark.parametrize(
    "holder",
    [
        NewSecret(name="web", payload=WORDS),
        ConfigurationRequest(generation=1, epoch=1, haproxy=None, contents={"digest": WORDS.encode()}),
    ],
)
def test_what_passes_through_as_plain_text_does_not_print(holder: msgspec.Struct) -> None:
    forms = [repr(holder), str(holder), f"{[holder]}", pretty_repr(holder), pretty_repr({"a": holder}, expand_all=True)]
    assert all("correct" not in form and "[redacted]" in form for form in forms), forms
    assert b"correct" in msgspec.json.encode(holder, enc_hook=str) or isinstance(holder, ConfigurationRequest)


@pytest.mark.parametrize(
    "database",
    [
        convert_settings({"database": {"url": f"postgresql://u:{WORDS}@h/d"}}, source="the test").database,
        convert_settings({"database": {"direct_url": f"postgresql:///d?password={WORDS}"}}, source="the test").database,
    ],
)
def test_the_url_of_a_database_does_not_print(database: DatabaseSettings) -> None:
    parts = [database, database.url, database.direct_url]
    forms = [text for one in parts for text in (repr(one), str(one), f"{one}", pretty_repr(one, expand_all=True))]
    assert all("correct" not in form and "[redacted]" in form for form in forms), forms
    with pytest.raises(TypeError):
        msgspec.json.encode(database)


def test_an_empty_field_is_seen_to_be_empty() -> None:
    assert "payload=None" in repr(NewSecret(name="web"))
