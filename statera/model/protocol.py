"""What controllers and agents of different versions may say to each other; `docs/design/protocol.md` has the rules.

Attributes are only added, with defaults, and each says since which protocol there is one. Who does not know one ignores
it; what would be lost then and matters is not sent, and is refused with words that name it.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, get_type_hints

import msgspec
from msgspec import Meta

from statera.base.digits import read_digits

PROTOCOL = 4
"""Of this version. Raised whenever a message of the wire gets an attribute or an enum on it gets a value."""
FIRST_PROTOCOL = 1
"""Of whoever does not tell."""
PROTOCOL_HEADER = "x-statera-protocol"
"""In every request of a controller and in every answer of an agent."""

_SINCE, _FEATURE = "since", "feature"


def since(protocol: int, feature: str = "") -> Meta:
    """Mark an attribute that older protocols do not know.

    `feature` are the words for a tenant when the attribute is more than its default and the other side does not know
    it; "" when nothing is lost by ignoring it.
    """
    return Meta(extra={_SINCE: protocol, _FEATURE: feature})


def list_unknown(message: Any, protocol: int) -> Iterator[str]:
    """Yield what a message asks for that a side with this protocol would ignore, in words, some maybe twice."""
    if protocol >= PROTOCOL:
        return
    if isinstance(message, msgspec.Struct):
        late = _list_late(type(message))
        for field in msgspec.structs.fields(message):
            value = getattr(message, field.name)
            if field.name in late and late[field.name][0] > protocol:
                if late[field.name][1] and value != field.default:
                    yield late[field.name][1]
            else:
                yield from list_unknown(value, protocol)
    elif isinstance(message, tuple | list):
        for one in message:
            yield from list_unknown(one, protocol)
    elif isinstance(message, dict):
        yield from list_unknown(list(message.values()), protocol)


@cache
def _list_late(kind: type[msgspec.Struct]) -> dict[str, tuple[int, str]]:
    """Return since when there are the attributes of a struct that there have not always been, and their words."""
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        for mark in getattr(hint, "__metadata__", ()):
            if isinstance(mark, Meta) and mark.extra and _SINCE in mark.extra:
                found[name] = (int(mark.extra[_SINCE]), str(mark.extra[_FEATURE]))
    return found


def read_protocol(text: str | None) -> int:
    """Return the protocol that a header names; the first one for none, or for what is no number."""
    number = read_digits(text, 5) if text else None
    return FIRST_PROTOCOL if number is None else number
