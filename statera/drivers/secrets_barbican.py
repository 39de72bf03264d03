"""Secrets in Barbican (Key Manager API v1), read with the user's token when a user refers to them, else with our own.

Whoever refers to a secret lets Statera's service user read it, by the secret's access control list: so the worker reads
it later, when no user is there. A reference only gives kind and id; where Barbican is, the configuration alone says.
"""

import asyncio
import datetime as dt
import ssl
from collections.abc import Collection
from typing import Any, TypeVar

import httpx
import msgspec

from statera.base.clock import Clock
from statera.base.errors import Refusal, Refused, Transient
from statera.base.secret import Secret
from statera.base.settings import BadSettings, KeystoneSettings, SecretsSettings
from statera.base.unreadable import UNREADABLE
from statera.model.secrets import MOST_PAYLOAD_BYTES, SecretParts, SecretReader, parse_reference

T = TypeVar("T")

EARLY_S = 60.0
"""Our own token is renewed so long before its end."""
TEXT = "text/plain"


class _User(msgspec.Struct, frozen=True):
    id: str


class _Told(msgspec.Struct, frozen=True):
    user: _User
    expires_at: dt.datetime


class _Answer(msgspec.Struct, frozen=True):
    token: _Told


class _Own(msgspec.Struct, frozen=True):
    token: Secret[str]
    user_id: str
    expires_at: dt.datetime


class _Metadata(msgspec.Struct, frozen=True):
    content_types: dict[str, str] | None = None


class _Part(msgspec.Struct, frozen=True):
    name: str
    secret_ref: str


class _Container(msgspec.Struct, frozen=True):
    secret_refs: tuple[_Part, ...] = ()


class _Readers(msgspec.Struct, frozen=True, rename="kebab"):
    users: tuple[str, ...] = ()
    project_access: bool = True


class _Access(msgspec.Struct, frozen=True):
    read: _Readers = _Readers()


class BarbicanSecrets:
    """`SecretsDriver` over Barbican."""

    def __init__(self, settings: SecretsSettings, keystone: KeystoneSettings, clock: Clock) -> None:
        """Connect nothing yet. Raises `BadSettings` naming the option that is missing."""
        self._base = f"{_find_url(settings.barbican_url, 'secrets.barbican_url').removesuffix('/v1')}/v1"
        self._identity = f"{_find_url(keystone.auth_url, 'identity.keystone.auth_url').removesuffix('/v3')}/v3"
        self._keystone = keystone
        self._clock = clock
        self._own: _Own | None = None
        self._renewing = asyncio.Lock()
        self._client = httpx.AsyncClient(
            timeout=settings.barbican_timeout_s, trust_env=False, verify=_find_authorities(settings.barbican_ca_file)
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def observe_secret(self, ref: str, reader: SecretReader | None = None) -> SecretParts:
        """Return what stands behind a reference. See `SecretsDriver`."""
        token = await self._choose_token(ref, reader)
        kind, object_id = _parse(ref)
        if kind == "secrets":
            return SecretParts(payload=await self._read_payload(object_id, ref, token))
        container = await self._get(f"/containers/{object_id}", ref, token, _Container)
        payloads = await asyncio.gather(
            *(self._read_payload(_parse_secret(part.secret_ref, ref), ref, token) for part in container.secret_refs)
        )
        return SecretParts(parts={part.name: one for part, one in zip(container.secret_refs, payloads, strict=True)})

    async def _read_payload(self, secret_id: str, ref: str, token: Secret[str]) -> Secret[bytes]:
        known = await self._get(f"/secrets/{secret_id}", ref, token, _Metadata)
        content_type = (known.content_types or {}).get("default", TEXT)
        answer = await self._ask("GET", f"/secrets/{secret_id}/payload", ref, token, headers={"Accept": content_type})
        if len(answer.content) > MOST_PAYLOAD_BYTES:
            raise _not_found(ref)
        return Secret(answer.content)

    async def ensure_access(self, refs: Collection[str], reader: SecretReader) -> None:
        """Let our own user read what the reader may read, and leave everybody else's access as it is."""
        own = await self._find_own()
        for ref in refs:
            token = await self._choose_token(ref, reader)
            kind, object_id = _parse(ref)
            if kind == "containers":
                container = await self._get(f"/containers/{object_id}", ref, token, _Container)
                for part in container.secret_refs:
                    await self._let_in(f"/secrets/{_parse_secret(part.secret_ref, ref)}/acl", ref, token, own)
            await self._let_in(f"/{kind}/{object_id}/acl", ref, token, own)

    async def _let_in(self, path: str, ref: str, token: Secret[str], own: _Own) -> None:
        access = await self._get(path, ref, token, _Access)
        if own.user_id not in access.read.users:
            users = [*access.read.users, own.user_id]
            body = {"read": {"users": users, "project-access": access.read.project_access}}
            await self._ask("PUT", path, ref, token, json=body)

    # Requests

    async def _choose_token(self, ref: str, reader: SecretReader | None) -> Secret[str]:
        if reader is None:
            return (await self._find_own()).token
        if reader.token is None:
            # Without it nobody could tell what the user may read; what we may read is not the user's.
            raise _not_found(ref)
        return reader.token

    async def _get(self, path: str, ref: str, token: Secret[str], kind: type[T]) -> T:
        answer = await self._ask("GET", path, ref, token, headers={"Accept": "application/json"})
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except UNREADABLE as error:
            raise _unavailable("It answers what cannot be read.") from error

    async def _ask(self, method: str, path: str, ref: str, token: Secret[str], **more: Any) -> httpx.Response:
        headers = more.pop("headers", {}) | {"X-Auth-Token": token.reveal()}
        try:
            answer = await self._client.request(method, f"{self._base}{path}", headers=headers, **more)
        except httpx.HTTPError as error:
            raise _unavailable(f"{type(error).__name__}.") from None
        if answer.status_code >= 500 or answer.status_code == 429:
            raise _unavailable(f"It answers {answer.status_code}.")
        if answer.status_code == 401 and self._own is not None and token == self._own.token:
            self._own = None
            raise _unavailable("It does not take our own token.")
        if not answer.is_success:
            raise _not_found(ref)
        return answer

    # Our own token

    async def _find_own(self) -> _Own:
        async with self._renewing:
            now = self._clock.now()
            if self._own is None or self._own.expires_at - now < dt.timedelta(seconds=EARLY_S):
                self._own = await self._log_in()
            return self._own

    async def _log_in(self) -> _Own:
        try:
            answer = await self._client.post(f"{self._identity}/auth/tokens", json=_credentials(self._keystone))
            if answer.status_code != 201:
                raise _unavailable(f"Keystone answers {answer.status_code} when we ask for our own token.")
            told = msgspec.json.decode(answer.content, type=_Answer).token
            return _Own(Secret(answer.headers["X-Subject-Token"]), told.user.id, told.expires_at)
        except (httpx.HTTPError, KeyError, *UNREADABLE) as error:
            raise _unavailable(f"Asking Keystone for our own token failed: {type(error).__name__}.") from None


def _find_url(url: str, option: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise BadSettings(f"Option {option} is missing or no http URL: secrets.driver is `barbican`.")
    return url.rstrip("/")


def _find_authorities(file: str) -> Any:
    return ssl.create_default_context(cafile=file) if file else True


def _credentials(keystone: KeystoneSettings) -> dict[str, Any]:
    if keystone.application_credential_id:
        secret = keystone.application_credential_secret.reveal()
        given = {"id": keystone.application_credential_id, "secret": secret}
        return {"auth": {"identity": {"methods": ["application_credential"], "application_credential": given}}}
    user = {
        "name": keystone.username,
        "domain": {"name": keystone.user_domain_name},
        "password": keystone.password.reveal(),
    }
    identity = {"methods": ["password"], "password": {"user": user}}
    project = {"name": keystone.project_name, "domain": {"name": keystone.project_domain_name}}
    scope = {"project": project} if keystone.project_name else {"system": {"all": True}}
    return {"auth": {"identity": identity, "scope": scope}}


def _parse(ref: str) -> tuple[str, str]:
    parsed = parse_reference(ref)
    if parsed is None:
        raise _not_found(ref)
    return parsed


def _parse_secret(secret_ref: str, ref: str) -> str:
    kind, secret_id = parse_reference(secret_ref) or ("", "")
    if kind != "secrets":
        raise _not_found(ref)
    return secret_id


def _not_found(ref: str) -> Refused:
    return Refused(Refusal.INVALID, f"Could not retrieve certificate: {ref}", slug="secret-not-found")


def _unavailable(why: str) -> Transient:
    return Transient("secrets-unavailable", f"Barbican does not give what it keeps: {why}", retry_after_s=2.0)
