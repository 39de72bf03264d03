"""Words of a configuration file. Text from outside gets in only as one of these, and each has a small alphabet.

A token that holds a newline, NUL, space, quote, comment sign or expansion sign cannot be made, so whatever a tenant
types stays one word of one line.
"""

import ipaddress
import re
from collections.abc import Collection
from typing import NewType

from statera.base.errors import Lasting

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_CODES = re.compile(r"[0-9]{3}(,[0-9]{3})*|[0-9]{3}-[0-9]{3}")
_QUOTED = re.compile(r"[ -~]{1,4096}")
_CIPHERS = re.compile(r"[A-Za-z0-9+!:@=_.-]{1,2048}")
_COOKIE = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,255}")
_ARGUMENT = re.compile(r"[A-Za-z0-9!#$%&'*+,.^_`|~-]{1,255}")
_ADDRESS = re.compile(r"[0-9A-Fa-f.:]{2,45}")
_NETWORK = re.compile(r"[0-9A-Fa-f.:]{2,45}(/[0-9.]{1,15})?")
"""Not left to `ipaddress` alone: it lets any text stand behind the `%` of a scoped IPv6 address."""


class BadToken(Lasting):
    """Text that must not become part of a configuration; the sentence names the field, not the text."""

    def __init__(self, field: str) -> None:
        super().__init__(
            "text-not-renderable", f"The value of {field} has characters that a configuration cannot hold."
        )


Token = NewType("Token", str)
"""One word, already safe. A plain text at run time, so that documents encode as they are."""


def name(text: str) -> Token:
    """Make a name of a proxy or server: letters, digits and `_ . : -`. Raises `BadToken`."""
    return _checked(_NAME, text, "name")


def status_codes(text: str) -> Token:
    """Make a list of HTTP status codes, or a range of them. Raises `BadToken`.

    White space goes, and a range that runs backwards is turned round: the API allows both, HAProxy neither.
    """
    codes = _checked(_CODES, "".join(text.split()), "expected_codes")
    low, dash, high = codes.partition("-")
    return Token(f"{high}-{low}") if dash and high < low else codes


def quoted(text: str, field: str) -> Token:
    """Make a strongly quoted word: printable ASCII; single quotes are taken out of the quotes and escaped.

    Inside single quotes HAProxy expands nothing (HAProxy manual 2.2). Raises `BadToken` naming the field.
    """
    if not _QUOTED.fullmatch(text):
        raise BadToken(field)
    return Token("'" + text.replace("'", "'\\''") + "'")


def quoted_url(text: str, field: str) -> Token:
    """Make a quoted word for a request line, in which a space would end the URL. Raises `BadToken` naming the field."""
    if " " in text:
        raise BadToken(field)
    return quoted(text, field)


def format_literal(text: str, field: str) -> Token:
    """Make a quoted word for a place that HAProxy reads as a log-format: `%` is doubled so that it stays itself."""
    return quoted(text.replace("%", "%%"), field)


def pattern(text: bytes, field: str) -> Token:
    """Make a word that says just these bytes, whatever they are but line ends and NUL. Raises `BadToken`.

    What is no printable ASCII stands outside of the quotes as `\\xHH` (HAProxy manual 2.2): the file stays ASCII.
    """
    if not text or set(text) & set(b"\0\r\n"):
        raise BadToken(field)
    parts = re.split(rb"([^ -~]+)", text)
    plain = [quoted(part.decode("ascii"), field) if part else "" for part in parts[::2]]
    coded = ["".join(f"\\x{byte:02x}" for byte in part) for part in parts[1::2]]
    return Token("".join(word for pair in zip(plain, [*coded, ""], strict=True) for word in pair))


def listed(text: bytes) -> Token | None:
    """Make a line of a file of values (HAProxy manual 7.1.2), which says just these bytes; None when no line can.

    HAProxy takes a line as it is, but for white space at its beginning and a `#`, which makes a comment of it.
    """
    try:
        line = text.decode()
    except UnicodeDecodeError:
        return None
    return Token(line) if line.isprintable() and line and line[0] not in " #" else None


def argument(text: str, field: str) -> Token:
    """Make a header's or a cookie's name as a quoted argument of a sample fetch, for use within `quoted`.

    The double quotes are those of arguments (HAProxy manual 7.3); such a name holds none, and no backslash. Raises
    `BadToken`.
    """
    return Token(f'"{_checked(_ARGUMENT, text, field)}"')


def cookie_name(text: str) -> Token:
    """Make a cookie's name (RFC 6265: a token) as such an argument. Raises `BadToken`."""
    return Token(f'"{_checked(_COOKIE, text, "cookie_name")}"')


def address(text: str) -> Token:
    """Make an IPv4 or IPv6 address in canonical text. Raises `BadToken`."""
    try:
        return Token(str(ipaddress.ip_address(_checked(_ADDRESS, text, "address"))))
    except ValueError as error:
        raise BadToken("address") from error


def network(text: str) -> Token:
    """Make a CIDR in canonical text. Raises `BadToken`."""
    try:
        return Token(str(ipaddress.ip_network(_checked(_NETWORK, text, "cidr"), strict=False)))
    except ValueError as error:
        raise BadToken("cidr") from error


def number(value: int) -> Token:
    """Make a non-negative integer. Raises `BadToken`."""
    if value < 0:
        raise BadToken("number")
    return Token(str(int(value)))


def ciphers(text: str) -> Token:
    """Make a list of ciphers as OpenSSL takes it. Raises `BadToken`."""
    return _checked(_CIPHERS, text, "tls_ciphers")


def one_of(text: str, known: Collection[str], field: str) -> Token:
    """Make one of a few words. Raises `BadToken` naming the field."""
    if text not in known:
        raise BadToken(field)
    return Token(text)


def _checked(pattern: re.Pattern[str], text: str, field: str) -> Token:
    if not pattern.fullmatch(text):
        raise BadToken(field)
    return Token(text)
