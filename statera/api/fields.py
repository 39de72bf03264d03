"""Kinds of fields in request bodies: each reads one JSON value and describes itself for the OpenAPI document.

A value that is not of the kind raises `BadValue` with the contract's words (rules.md section 5). null never gets here.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from statera.base.ids import is_uuid

Schema = dict[str, Any]

TRUE_WORDS = frozenset({"true", "1", "yes", "on", "t", "y"})
FALSE_WORDS = frozenset({"false", "0", "no", "off", "f", "n"})
MOST_INTEGER = 2**31 - 1
"""What the columns and HAProxy's numbers hold."""


class BadValue(Exception):
    """Not a value of the field; `str()` says why."""


class Misread(BadValue):
    """Not even of the right JSON type; the contract blames the whole argument for it."""


class Field(Protocol):
    """One kind of field."""

    def read(self, value: Any) -> Any:
        """Return the model's value. Raises `BadValue`."""
        ...

    def schema(self) -> Schema: ...


class Text:
    def __init__(self, most: int = 255, *, least: int = 0, pattern: str | None = None) -> None:
        self._most, self._least, self._pattern = most, least, pattern
        self._matcher = None if pattern is None else re.compile(pattern)

    def read(self, value: Any) -> str:
        if not isinstance(value, str):
            raise BadValue("Value should be string")
        if len(value) > self._most:
            raise BadValue(f"Value should have a maximum character requirement of {self._most}")
        if len(value) < self._least:
            raise BadValue(f"Value should have a minimum character requirement of {self._least}")
        if "\x00" in value:
            raise BadValue("Value should not contain NUL")
        # `$` in a pattern of the contract also matches before a newline at the end; nothing may follow here.
        if self._matcher is not None and (self._matcher.search(value) is None or value.endswith("\n")):
            raise BadValue(f"Value should match the pattern {self._pattern}")
        return value

    def schema(self) -> Schema:
        return {"type": "string", "maxLength": self._most} | ({"pattern": self._pattern} if self._pattern else {})


class Flag:
    def read(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower() if isinstance(value, str | int) else ""
        if word in TRUE_WORDS:
            return True
        if word in FALSE_WORDS:
            return False
        raise Misread(f"Value not an unambiguous boolean: {value}")

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Integer:
    def __init__(self, least: int, most: int = MOST_INTEGER) -> None:
        self._least, self._most = least, most

    def read(self, value: Any) -> int:
        number = _read_integer(value)
        if number < self._least:
            raise BadValue(f"Value should be greater or equal to {self._least}")
        if number > self._most:
            raise BadValue(f"Value should be lower or equal to {self._most}")
        return number

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self._least, "maximum": self._most}


_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)


def _read_integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    raise Misread(f"invalid literal for int() with base 10: {str(value)!r}")


class Uuid:
    def read(self, value: Any) -> str:
        if not isinstance(value, str) or not is_uuid(value):
            raise BadValue("Value should be UUID format")
        # Braces and a `urn:` prefix are no UUIDs of ours; dashes may lack.
        digits = value.replace("-", "").lower()
        if len(digits) != 32:
            raise BadValue("Value should be UUID format")
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

    def schema(self) -> Schema:
        return {"type": "string", "format": "uuid"}


class Address:
    """An IP address, kept in its canonical spelling, so that two spellings are one address."""

    def read(self, value: Any) -> str:
        # A zone such as `%eth0` would be any text at all.
        if not isinstance(value, str) or "%" in value:
            raise BadValue("Value should be IPv4 or IPv6 format")
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise BadValue("Value should be IPv4 or IPv6 format") from None

    def schema(self) -> Schema:
        return {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}


class Cidr:
    """A range as network and prefix length; bits of a host are dropped."""

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or "%" in value:
            raise BadValue("Value should be IPv4 or IPv6 CIDR format")
        try:
            return str(ipaddress.ip_network(value, strict=False))
        except ValueError:
            raise BadValue("Value should be IPv4 or IPv6 CIDR format") from None

    def schema(self) -> Schema:
        return {"type": "string", "examples": ["192.0.2.0/24"]}


class Choice:
    def __init__(self, kind: type[StrEnum]) -> None:
        self._kind = kind

    def read(self, value: Any) -> StrEnum:
        try:
            return self._kind(value)
        except ValueError:
            raise BadValue(f"Value should be one of: {', '.join(self._kind)}") from None

    def schema(self) -> Schema:
        return {"type": "string", "enum": [str(choice) for choice in self._kind]}


class HttpVersion:
    def read(self, value: Any) -> float:
        try:
            number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else 0.0
        except ValueError:
            number = 0.0
        if number not in (1.0, 1.1):
            raise BadValue("Value should be one of: 1.0, 1.1")
        return number

    def schema(self) -> Schema:
        return {"type": "number", "enum": [1.0, 1.1]}


class UrlPath:
    """An absolute path with an optional query, in the characters of RFC 3986."""

    _allowed = re.compile(r"/(?!/)(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*", re.ASCII)

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or len(value) > 2048 or self._allowed.fullmatch(value) is None:
            raise BadValue("Value must be a valid URL Path string")
        return value

    def schema(self) -> Schema:
        return {"type": "string", "maxLength": 2048, "examples": ["/health"]}


class OneOf:
    """One of a few numbers."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = tuple(numbers)

    def read(self, value: Any) -> int:
        try:
            number = _read_integer(value)
        except Misread:
            number = None
        if number not in self._numbers:
            raise BadValue(f"Value should be one of: {', '.join(map(str, self._numbers))}")
        return number

    def schema(self) -> Schema:
        return {"type": "integer", "enum": list(self._numbers)}


class Url:
    """An absolute URL of http or https, in the characters of RFC 3986."""

    _allowed = re.compile(
        r"https?://(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2}|\[[0-9A-Fa-f:.]+\])+"
        r"(?:[/?#](?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?#]|%[0-9A-Fa-f]{2})*)?",
        re.ASCII | re.IGNORECASE,
    )

    def __init__(self, most: int) -> None:
        self._most = most

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or self._allowed.fullmatch(value) is None:
            raise BadValue("Value must be a valid URL string")
        if len(value) > self._most:
            raise BadValue(f"Value should have a maximum character requirement of {self._most}")
        return value

    def schema(self) -> Schema:
        return {"type": "string", "format": "uri", "maxLength": self._most}


class Several:
    """A list of one kind of field; `unique` drops repetitions."""

    def __init__(self, item: Field, *, unique: bool = False) -> None:
        self.item, self._unique = item, unique

    def read(self, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Misread(f"Value not a valid list: {value}")
        items = [self.item.read(item) for item in value]
        return tuple(dict.fromkeys(items)) if self._unique else tuple(items)

    def schema(self) -> Schema:
        return {"type": "array", "items": self.item.schema()}


class Texts:
    """An object whose values are text."""

    _text = Text()

    def read(self, value: Any) -> dict[str, str]:
        if not isinstance(value, Mapping):
            raise BadValue("Value should be an object")
        return {self._text.read(name): self._text.read(text) for name, text in value.items()}

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": {"type": "string", "maxLength": 255}}
