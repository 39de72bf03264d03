"""Words of a configuration: what they let through and what they refuse. `tests/property` fuzzes them."""

from collections.abc import Callable

import pytest

from statera.base.errors import Lasting
from statera.render import tokens


def quoted(text: str) -> str:
    return tokens.quoted(text, "field")


def quoted_url(text: str) -> str:
    return tokens.quoted_url(text, "field")


def format_literal(text: str) -> str:
    return tokens.format_literal(text, "field")


@pytest.mark.parametrize(
    ("token", "text", "made"),
    [
        (tokens.name, "a-b_c.d:E9", "a-b_c.d:E9"),
        (tokens.status_codes, "200", "200"),
        (tokens.status_codes, " 200 ,\t204\n", "200,204"),
        (tokens.status_codes, "200-204", "200-204"),
        (tokens.status_codes, "204-200", "200-204"),
        (quoted, 'it\'s $HOME \\ "#"', "'it'\\''s $HOME \\ \"#\"'"),
        (quoted_url, "/a%20b?c", "'/a%20b?c'"),
        (format_literal, "100%{x}", "'100%%{x}'"),
        (tokens.cookie_name, "JSESSIONID", '"JSESSIONID"'),
        (tokens.cookie_name, "a'$#`b", '"a\'$#`b"'),
        (tokens.address, "2001:DB8:0:0::1", "2001:db8::1"),
        (tokens.address, "192.0.2.1", "192.0.2.1"),
        (tokens.network, "10.1.2.3/8", "10.0.0.0/8"),
        (tokens.network, "192.0.2.1", "192.0.2.1/32"),
        (tokens.network, "::/0", "::/0"),
    ],
)
def test_made(token: Callable[[str], str], text: str, made: str):
    assert token(text) == made


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (tokens.name, ""),
        (tokens.name, "a b"),
        (tokens.name, "a\n"),
        (tokens.name, "ä"),
        (tokens.name, "x" * 129),
        (tokens.status_codes, ""),
        (tokens.status_codes, "20x"),
        (tokens.status_codes, "200;"),
        (tokens.status_codes, "٢٠٠"),
        (quoted, ""),
        (quoted, "a\nb"),
        (quoted, "a\x00b"),
        (quoted, "a\x7f"),
        (quoted, "ä"),
        (quoted_url, "/a b"),
        (format_literal, "a\tb"),
        (tokens.cookie_name, ""),
        (tokens.cookie_name, 'a"b'),
        (tokens.cookie_name, "a\\b"),
        (tokens.cookie_name, "a,b"),
        (tokens.cookie_name, "a)b"),
        (tokens.cookie_name, "x" * 256),
        (tokens.address, "example.org"),
        (tokens.address, "192.0.2.1 check"),
        (tokens.address, "fe80::1%eth0"),
        (tokens.address, "fe80::1%x\n    server evil 203.0.113.66:80"),
        (tokens.network, "10.0.0.0/33"),
        (tokens.network, "fe80::%x\n    acl allowed src 0.0.0.0/0"),
    ],
)
def test_refused(token: Callable[[str], str], text: str):
    with pytest.raises(tokens.BadToken) as raised:
        token(text)
    assert isinstance(raised.value, Lasting)
    assert raised.value.reason.slug == "text-not-renderable"
    assert text not in raised.value.sentence or not text


def test_the_sentence_names_the_field():
    with pytest.raises(tokens.BadToken, match="The value of url_path has characters"):
        tokens.quoted("\n", "url_path")


def test_numbers():
    assert tokens.number(0) == "0"
    with pytest.raises(tokens.BadToken):
        tokens.number(-1)
