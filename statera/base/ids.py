"""Identifiers: random ones for what a tenant makes, derived ones for what must be found again by its name."""

import re
import uuid

_NAMESPACE = uuid.UUID("6f7d2c52-3f43-4f4e-9d0b-5a3d5f9f2a11")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}")
"""Not left to `uuid.UUID`: it takes signs, spaces, digits of any script, braces and a `urn:` prefix."""


def new_id() -> str:
    """Return a random UUID in canonical text form."""
    return str(uuid.uuid4())


def derive_id(*parts: str) -> str:
    """Return the same UUID for the same parts, on every machine and at every start."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))


def is_uuid(text: str) -> bool:
    """Say whether `text` is a UUID, with or without dashes."""
    return _UUID.fullmatch(text) is not None
