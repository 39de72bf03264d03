"""What tenants keep in a secret store: secrets, containers of them, and references to both.

A reference is a URL that ends with `/v1/secrets/<id>` or `/v1/containers/<id>`. Payloads do not print.
"""

import datetime as dt
import re
from collections.abc import Mapping
from typing import Protocol

import msgspec

from statera.base.ids import is_uuid
from statera.base.secret import Secret

MOST_PAYLOAD_BYTES = 64 * 1024
"""A bundle with a chain has about 10 KiB; a list of revocations may have more."""


class SecretReader(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a secret is read."""

    project_id: str | None
    is_admin: bool = False
    token: Secret[str] | None = None
    """The user's token, for a store that asks the identity service itself."""


class SecretParts(msgspec.Struct, frozen=True, kw_only=True):
    """What stands behind a reference: one payload, or the named payloads of a container."""

    payload: Secret[bytes] | None = None
    parts: Mapping[str, Secret[bytes]] = {}


class SecretRow(msgspec.Struct, frozen=True, kw_only=True):
    """One secret as the built-in store keeps it; the payload is sealed and stands elsewhere."""

    id: str
    project_id: str
    name: str = ""
    secret_type: str = "opaque"  # noqa: S105 -- the name of a kind, no secret
    algorithm: str | None = None
    bit_length: int | None = None
    mode: str | None = None
    content_type: str | None = None
    """None until there is a payload."""
    expiration: dt.datetime | None = None
    creator: str = ""
    created_at: dt.datetime
    updated_at: dt.datetime


class ContainerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One container of the built-in store."""

    id: str
    project_id: str
    name: str = ""
    type: str = "generic"
    secret_ids: dict[str, str] = {}
    """By the name that each secret has in it."""
    creator: str = ""
    created_at: dt.datetime
    updated_at: dt.datetime


_REFERENCE = re.compile(r"(?:^|/)(secrets|containers)/([0-9a-fA-F-]{36})/?$")


def parse_reference(ref: str) -> tuple[str, str] | None:
    """Return (`secrets` or `containers`, id) of a reference, None for a text that is none."""
    found = _REFERENCE.search(ref)
    return (found[1], found[2].lower()) if found is not None and is_uuid(found[2]) else None


class SecretBook(Protocol):
    """Where the built-in store keeps its rows; `store/secrets.py` does it."""

    async def save_secret(self, row: SecretRow, sealed: bytes | None) -> None: ...

    async def save_container(self, row: ContainerRow) -> None: ...

    async def load_secret(self, secret_id: str) -> tuple[SecretRow, bytes | None] | None: ...

    async def load_container(self, container_id: str) -> ContainerRow | None: ...

    async def list_secrets(
        self, project_id: str, wanted: Mapping[str, str | int], *, limit: int, offset: int
    ) -> tuple[tuple[SecretRow, ...], int]: ...

    async def list_containers(
        self, project_id: str, wanted: Mapping[str, str | int], *, limit: int, offset: int
    ) -> tuple[tuple[ContainerRow, ...], int]: ...

    async def remove_secret(self, secret_id: str) -> None: ...

    async def remove_container(self, container_id: str) -> None: ...
