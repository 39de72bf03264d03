"""What a message is to a side of an older protocol: without all that came later."""

import json
from typing import Any, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from statera.model.protocol import FIRST_PROTOCOL
from tests.upgrade import protocol_1


def read_since(kind: type[Any], name: str) -> int | None:
    """Return the protocol that an attribute is marked with, None for one without a mark."""
    marks = getattr(get_type_hints(kind, include_extras=True)[name], "__metadata__", ())
    return next((mark.extra["since"] for mark in marks if isinstance(mark, Meta) and mark.extra), None)


def forget(body: bytes, kind: Any, protocol: int) -> bytes:
    """Return a message of today's `kind` as one that knows the attributes of a protocol only would write it again.

    The first protocol's structs are kept as they were; of those since, the marks tell what they had.
    """
    first = _find_first(kind) if protocol == FIRST_PROTOCOL else None
    if first is not None:
        return msgspec.json.encode(msgspec.json.decode(body, type=first))
    return forget_marked(body, kind, protocol)


def forget_marked(body: bytes, kind: Any, protocol: int) -> bytes:
    """Do the same by the marks alone."""
    message = msgspec.json.decode(body, type=kind)
    return json.dumps(_strip(json.loads(msgspec.json.encode(message)), message, protocol)).encode()


def _find_first(kind: Any) -> Any:
    if get_origin(kind) is tuple:
        # Of all messages the one that is a list.
        return tuple[protocol_1.AmphoraObserved, ...]
    return getattr(protocol_1, kind.__name__, None)


def _strip(told: Any, message: Any, protocol: int) -> Any:
    if isinstance(message, msgspec.Struct) and isinstance(told, dict):
        names = {field.encode_name: field.name for field in msgspec.structs.fields(message)}
        late = {one for one, name in names.items() if (read_since(type(message), name) or FIRST_PROTOCOL) > protocol}
        # What is no attribute is the tag.
        return {
            key: _strip(value, getattr(message, names[key]), protocol) if key in names else value
            for key, value in told.items()
            if key not in late
        }
    if isinstance(message, dict) and isinstance(told, dict):
        return {key: _strip(value, message[key], protocol) for key, value in told.items()}
    if isinstance(message, list | tuple) and isinstance(told, list):
        return [_strip(one, other, protocol) for one, other in zip(told, message, strict=True)]
    return told
