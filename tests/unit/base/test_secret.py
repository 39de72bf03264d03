"""A secret does not print, in whatever way it is written out."""

import ast
import copy
import json
import logging
import pickle
import traceback
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

import statera
from statera.base.secret import Secret

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
