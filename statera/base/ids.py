"""Identifiers: random ones for what a tenant makes, derived ones for what must be found again by its name."""

import uuid

_NAMESPACE = uuid.UUID("6f7d2c52-3f43-4f4e-9d0b-5a3d5f9f2a11")


def new_id() -> str:
    """Return a random UUID in canonical text form."""
    return str(uuid.uuid4())


def derive_id(*parts: str) -> str:
    """Return the same UUID for the same parts, on every machine and at every start."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))


def is_uuid(text: str) -> bool:
    """Say whether `text` is a UUID, with or without dashes."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
