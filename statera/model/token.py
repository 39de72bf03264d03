"""What an identity service says of a token."""

import datetime as dt

import msgspec


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a valid token stands for, and in which project. Roles are in lower case, implied ones among them."""

    user_id: str
    user_name: str
    project_id: str | None
    """None for a token of the whole system, of a domain, or of nothing."""
    roles: frozenset[str]
    is_system: bool = False
    expires_at: dt.datetime
