"""Tokens of OpenStack's identity service, checked by asking it (Identity API v3, `GET /v3/auth/tokens`).

A valid token is remembered for `cache_s` seconds, never beyond its end: so late is it noticed that one was revoked.
A token that Keystone refuses is remembered for `REFUSED_S`: who sends it again and again does not flood Keystone.
keystoneauth keeps our own token fresh; it blocks, so it works in threads of its own, few enough not to flood Keystone.
What it logs of requests is switched off.
"""

import asyncio
import datetime as dt
import hmac
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import requests
from keystoneauth1.exceptions import ClientException
from keystoneauth1.identity import v3
from keystoneauth1.session import Session

from statera.base.clock import Clock
from statera.base.errors import Transient
from statera.base.logging import get_logger
from statera.base.recent import remember
from statera.base.secret import Secret
from statera.base.settings import BadSettings, KeystoneSettings
from statera.base.unreadable import UNREADABLE
from statera.model.token import Token

log = get_logger("drivers")

THREADS = 8
REMEMBERED = 10_000
"""Tokens, and as many that were refused."""
REFUSED_S = 5.0
"""Short: a token that is just being made may not be known to every Keystone yet."""
LONGEST_TOKEN = 16_384
"""Characters. Fernet tokens have a few hundred, signed ones some thousand."""
UNAVAILABLE = "The Keystone service is temporarily unavailable."


class _Named(msgspec.Struct, frozen=True):
    id: str
    name: str = ""


class _Told(msgspec.Struct, frozen=True):
    user: _Named
    expires_at: dt.datetime
    roles: tuple[_Named, ...] = ()
    project: _Named | None = None
    system: dict[str, bool] | None = None


class _Answer(msgspec.Struct, frozen=True):
    token: _Told


class KeystoneTokens:
    """`TokenDriver` over Keystone."""

    def __init__(self, settings: KeystoneSettings, clock: Clock) -> None:
        """Connect nothing yet. Raises `BadSettings` naming the option that is missing."""
        self._clock = clock
        self._timeout_s = settings.timeout_s
        self._cache_s = settings.cache_s
        self._base = find_base(settings)
        self._session = _open_session(settings, self._base)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="keystone")
        # Digests under a key that dies with the process: memory holds no token longer than a request.
        self._key = os.urandom(32)
        self._known: dict[bytes, tuple[Token, dt.datetime]] = {}
        self._refused: dict[bytes, dt.datetime] = {}
        self._asking: dict[bytes, asyncio.Task[Token | None]] = {}

    async def close(self) -> None:
        """End the threads; what they wait for is given up."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def observe_token(self, token: Secret[str]) -> Token | None:
        """Return whom the token stands for, None when it is not valid. Raises `Transient`."""
        if not _may_be_token(token):
            return None
        digest = self._digest(token)
        known = self._recall(digest)
        if known is not None:
            return known
        if self._is_refused(digest):
            return None
        asking = self._asking.get(digest)
        if asking is None:
            asking = asyncio.create_task(self._ask(digest, token))
            self._asking[digest] = asking
            asking.add_done_callback(lambda done: self._end(digest, done))
        # Whoever gives up waiting must not end it for the others with the same token.
        return await asyncio.shield(asking)

    def knows(self, token: Secret[str]) -> bool:
        """Say whether it is answered without another question to Keystone."""
        if not _may_be_token(token):
            return True
        digest = self._digest(token)
        return self._recall(digest) is not None or self._is_refused(digest) or digest in self._asking

    def _digest(self, token: Secret[str]) -> bytes:
        return hmac.digest(self._key, token.reveal().encode(), "sha256")

    def _recall(self, digest: bytes) -> Token | None:
        known = self._known.get(digest)
        if known is not None and known[1] <= self._clock.now():
            del self._known[digest]
            return None
        return known[0] if known is not None else None

    def _is_refused(self, digest: bytes) -> bool:
        """Say whether Keystone has just refused it. A clock that was set back does not make it longer."""
        refused_at = self._refused.get(digest)
        age = None if refused_at is None else self._clock.now() - refused_at
        return age is not None and dt.timedelta(0) <= age < dt.timedelta(seconds=REFUSED_S)

    def _end(self, digest: bytes, asking: "asyncio.Task[Token | None]") -> None:
        self._asking.pop(digest, None)
        if not asking.cancelled():
            # Seen, even if nobody waits any more.
            asking.exception()

    async def _ask(self, digest: bytes, subject: Secret[str]) -> Token | None:
        asked_at = self._clock.now()
        try:
            async with asyncio.timeout(self._timeout_s):
                text = await asyncio.get_running_loop().run_in_executor(self._threads, self._fetch, subject)
        except TimeoutError as error:
            raise _unavailable("It did not answer in time.") from error
        token = None if text is None else _read(text)
        if token is None or token.expires_at <= asked_at:
            remember(self._refused, digest, asked_at, REMEMBERED)
            return None
        until = min(asked_at + dt.timedelta(seconds=self._cache_s), token.expires_at)
        remember(self._known, digest, (token, until), REMEMBERED)
        return token

    def _fetch(self, subject: Secret[str]) -> bytes | None:
        """Return Keystone's answer, None when it does not know the token. Runs in a thread."""
        headers = {"X-Subject-Token": subject.reveal(), "Accept": "application/json"}
        try:
            answer = self._session.get(
                f"{self._base}/auth/tokens?nocatalog", headers=headers, raise_exc=False, log=False, connect_retries=1
            )
        except ClientException as error:
            raise _unavailable(f"Asking for our own token or for another one failed: {type(error).__name__}.") from None
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise _unavailable(f"It answers {answer.status_code} when it is to validate a token for the service user.")
        return answer.content


def _may_be_token(token: Secret[str]) -> bool:
    text = token.reveal()
    return 0 < len(text) <= LONGEST_TOKEN and text.isascii() and text.isprintable() and " " not in text


def find_base(settings: KeystoneSettings) -> str:
    """Return the URL of the Identity API v3, whether or not the option names the version."""
    base = settings.auth_url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise BadSettings("Option identity.keystone.auth_url is missing or no http URL: identity.mode is `keystone`.")
    return base if base.endswith("/v3") else f"{base}/v3"


def _open_session(settings: KeystoneSettings, base: str) -> Session:
    if settings.ca_file and not Path(settings.ca_file).is_file():
        raise BadSettings(f"Option identity.keystone.ca_file is wrong: there is no file {settings.ca_file}.")
    plain = requests.Session()
    # Neither proxies nor passwords of the environment are meant for this.
    plain.trust_env = False
    return Session(
        auth=_make_auth(settings, base),
        session=plain,
        verify=settings.ca_file or True,
        timeout=settings.timeout_s,
        app_name="statera",
    )


def _make_auth(settings: KeystoneSettings, base: str) -> v3.Auth:
    credential_secret = settings.application_credential_secret.reveal()
    if settings.application_credential_id:
        if not credential_secret:
            raise BadSettings("Option identity.keystone.application_credential_secret is missing.")
        return v3.ApplicationCredential(
            base, credential_secret, application_credential_id=settings.application_credential_id, include_catalog=False
        )
    password = settings.password.reveal()
    if not settings.username or not password:
        raise BadSettings("Option identity.keystone.username or .password is missing: identity.mode is `keystone`.")
    return v3.Password(
        base,
        password,
        username=settings.username,
        user_domain_name=settings.user_domain_name,
        project_name=settings.project_name or None,
        project_domain_name=settings.project_domain_name if settings.project_name else None,
        system_scope=None if settings.project_name else "all",
        include_catalog=False,
    )


def _read(text: bytes) -> Token:
    try:
        told = msgspec.json.decode(text, type=_Answer).token
    except UNREADABLE as error:
        raise _unavailable("It answers what cannot be read.") from error
    return Token(
        user_id=told.user.id,
        user_name=told.user.name or told.user.id,
        project_id=told.project.id if told.project is not None else None,
        roles=frozenset(role.name.lower() for role in told.roles),
        is_system=bool(told.system),
        expires_at=told.expires_at,
    )


def _unavailable(why: str) -> Transient:
    # Clients are told the contract's sentence; the operator finds the cause in the log.
    log.error("keystone not usable", why=why)
    return Transient("identity-unavailable", UNAVAILABLE)
