"""Who sent a request: `none` takes everybody for an admin, `basic` asks an htpasswd file, `keystone` checks a token.

Every identity is an `Identity`; `make_identity` chooses by the settings.
"""

import asyncio
import base64
import hmac
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import bcrypt

from statera.api.errors import TooManyTries
from statera.api.logins import FailedLogins, find_place
from statera.api.policy import Caller
from statera.base.errors import Refusal, Refused, Transient
from statera.base.logging import get_logger
from statera.base.recent import remember
from statera.base.secret import Secret
from statera.base.settings import BadSettings, IdentitySettings, UserSettings
from statera.model.ports import TokenDriver
from statera.model.token import Token

log = get_logger("api")

CHECKS_AT_ONCE = 2
"""A bcrypt check takes tens of milliseconds of a core: guessing must not take them all."""
REMEMBERED = 1024
"""Passwords found right that are not checked again, by a keyed digest that dies with the process."""
_IMPLIED = {"admin": {"member", "reader"}, "member": {"reader"}}
_DUMMY_HASH = b"$2b$%02d$CwTycUXWue0Thq9StjUM0uJ8Dq0rQAmtfSlQyqCq9p8CGn0n2SCra"
"""Checked for unknown users, at the cost of known ones: the time of the answer does not tell who exists."""
DUMMY_COST = 10


class Identity(Protocol):
    """Tells who sent a request."""

    challenge: str
    """The `WWW-Authenticate` header of a 401."""

    async def identify(self, headers: Mapping[str, str], address: str) -> Caller:
        """Return the caller, who is at `address`.

        Raises `Refused` (UNAUTHENTICATED), `TooManyTries`, `Transient` when it cannot be found out.
        """
        ...


class NoIdentity:
    """Everybody is admin, in the default project or the one that the header `X-Project-Id` names."""

    challenge = ""

    def __init__(self, default_project_id: str) -> None:
        self._default = default_project_id

    async def identify(self, headers: Mapping[str, str], address: str) -> Caller:
        project_id = headers.get("x-project-id", "")
        is_usable = 0 < len(project_id) <= 36 and project_id.isprintable()
        return Caller(name="anonymous", project_id=project_id if is_usable else self._default, is_admin=True)


class BasicIdentity:
    """HTTP basic authentication against `user:bcrypt-hash` lines; the file is read again when it changes."""

    challenge = 'Basic realm="statera", charset="UTF-8"'

    def __init__(self, htpasswd_file: Path, users: Mapping[str, UserSettings], most_failures: int) -> None:
        """`most_failures`: wrong passwords of one user that are looked at in a minute."""
        self._file = htpasswd_file
        self._users = users
        self._hashes: dict[str, bytes] = {}
        self._dummy = _DUMMY_HASH % DUMMY_COST
        self._read_at: tuple[int, int] | None = None
        self._key = os.urandom(32)
        self._proven: dict[bytes, None] = {}
        self._turns = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._failed = FailedLogins(most_failures, time.monotonic)
        self._refresh()

    async def identify(self, headers: Mapping[str, str], address: str) -> Caller:
        name, password = _read_basic(headers.get("authorization", ""))
        self._refresh()
        if not await self._is_right(name, password):
            raise _unauthenticated()
        user = self._users.get(name)
        if user is None:
            return Caller(name=name, project_id=None)
        roles = frozenset(user.roles).union(*(_IMPLIED.get(role, set()) for role in user.roles))
        return Caller(name=name, project_id=user.project_id or None, roles=roles)

    async def _is_right(self, name: str, password: Secret[bytes]) -> bool:
        stored = self._hashes.get(name)
        proven = b"\0".join((name.encode(), stored or b"", password.reveal()))
        proof = hmac.digest(self._key, proven, "sha256")
        if stored is not None and proof in self._proven:
            return True
        async with self._turns:
            # Asked in turn: many guesses that arrive at once are not looked at before the first have failed.
            wait_s = self._failed.wait_s(name)
            if wait_s > 0:
                raise TooManyTries(wait_s, "of this user")
            is_right = await asyncio.to_thread(_check_password, password, stored or self._dummy)
            if not is_right or stored is None:
                self._failed.note(name)
                return False
        remember(self._proven, proof, None, REMEMBERED)
        return True

    def _refresh(self) -> None:
        try:
            seen = self._file.stat()
            version = (seen.st_mtime_ns, seen.st_size)
            if version != self._read_at:
                self._hashes = _read_htpasswd(self._file)
                self._dummy = _DUMMY_HASH % find_cost(self._hashes.values())
                self._read_at = version
        except OSError as error:
            raise Transient("identity-unavailable", f"The file of users cannot be read: {error.strerror}.") from error


class KeystoneIdentity:
    """Tokens in `X-Auth-Token`. `X-Service-Token` is not looked at: it can neither help nor harm."""

    def __init__(self, tokens: TokenDriver, public_url: str, most_refused: int) -> None:
        """`most_refused`: tokens from one place that the identity service refuses in a minute."""
        self._tokens = tokens
        self._failed = FailedLogins(most_refused, time.monotonic)
        self.challenge = f'Keystone uri="{public_url}"'

    async def identify(self, headers: Mapping[str, str], address: str) -> Caller:
        subject = Secret(headers.get("x-auth-token", "").strip())
        known = self._tokens.knows(subject)
        token = await (self._tokens.observe_token(subject) if known else self._ask(subject, find_place(address)))
        if token is None:
            raise _unauthenticated()
        return Caller(
            name=token.user_name,
            project_id=token.project_id,
            roles=token.roles,
            user_id=token.user_id,
            is_system=token.is_system,
        )

    async def _ask(self, subject: Secret[str], place: str) -> Token | None:
        wait_s = self._failed.wait_s(place)
        if wait_s > 0:
            raise TooManyTries(wait_s, "from this address")
        # Before it is known to be one: of many that come at once no more are asked for.
        self._failed.note(place)
        try:
            token = await self._tokens.observe_token(subject)
        except Transient:
            self._failed.take_back(place)
            raise
        if token is not None:
            self._failed.take_back(place)
        return token


def make_identity(settings: IdentitySettings, tokens: TokenDriver | None = None) -> Identity:
    """Return the identity of the settings. Raises `BadSettings` for a file that cannot be used."""
    if settings.mode == "none":
        return NoIdentity(settings.default_project_id)
    if settings.mode == "keystone":
        if tokens is None:
            raise BadSettings("Option identity.mode is `keystone`, but nothing is there to check tokens.")
        keystone = settings.keystone
        return KeystoneIdentity(tokens, keystone.public_url or keystone.auth_url, keystone.refused_per_minute)
    if not settings.htpasswd_file:
        raise BadSettings("Option identity.htpasswd_file is missing: identity.mode `basic` needs it.")
    try:
        return BasicIdentity(Path(settings.htpasswd_file), settings.users, settings.failed_logins_per_minute)
    except Transient as error:
        raise BadSettings(f"Option identity.htpasswd_file is wrong: {error.sentence}") from error


def _read_basic(header: str) -> tuple[str, Secret[bytes]]:
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        raise _unauthenticated()
    try:
        name, colon, password = base64.b64decode(text.strip(), validate=True).partition(b":")
        if not colon:
            raise _unauthenticated()
        return name.decode(), Secret(password)
    except ValueError:  # Not base64, not ASCII, not UTF-8.
        raise _unauthenticated() from None


def _unauthenticated() -> Refused:
    return Refused(Refusal.UNAUTHENTICATED, "The request you have made requires authentication.")


def _check_password(password: Secret[bytes], stored: bytes) -> bool:
    text = password.reveal()
    if b"\0" in text:
        return False
    try:
        # bcrypt reads 72 bytes and refuses more; so does htpasswd when it makes the hash.
        return bcrypt.checkpw(text[:72], stored)
    except ValueError:
        return False


def find_cost(hashes: Iterable[bytes]) -> int:
    """Return the cost that most bcrypt hashes have."""
    costs = [int(found[1]) for one in hashes if (found := re.match(rb"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$", one))]
    return max(set(costs), key=costs.count, default=DUMMY_COST)


def _read_htpasswd(file: Path) -> dict[str, bytes]:
    hashes: dict[str, bytes] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        name, colon, stored = line.strip().partition(":")
        if not name or name.startswith("#"):
            continue
        if not colon or not stored.startswith(("$2y$", "$2b$", "$2a$")):
            log.warning("user ignored: not a bcrypt hash", file=str(file), line=number)
            continue
        hashes[name] = stored.encode()
    return hashes
