"""Keeps Statera's own certificates fresh while it runs, on every host. Only where the authority's key is.

Entry: `CertificateKeeper.run`. A round may be cut off anywhere and done again. The order is what keeps every call
possible: first all trust the next authority, then it signs. docs/design/certificates.md says more.
"""

import asyncio
import contextlib
import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from statera.base.clock import Clock
from statera.base.errors import Lasting, StateraError, Transient
from statera.base.files import locked
from statera.base.logging import get_logger
from statera.base.metrics import gauge
from statera.base.reason import Reason
from statera.model.own_certificates import CertificateEnd, CertificateFacts, CertificateGrant, CertificateUnusable

log = get_logger("control")

LOOKS_PER_LIFETIME = 30
LOOK_MOST_S = 60.0
LOOK_LEAST_S = 0.2
TELL_EVERY_S = 20.0

Tell = Callable[[float, Reason | None], Awaitable[None]]
"""Takes in how many seconds it is until the next word, and what failed. May raise `Transient`."""

END = gauge(
    "statera_certificate_end_timestamp_seconds", "When the first of Statera's own certificates of a kind ends.", "kind"
)


class Authority(Protocol):
    """Where certificates of our own come from."""

    @property
    def can_sign(self) -> bool: ...

    def ensure(self, hosts: Sequence[str], now: dt.datetime, *, is_known: bool = False) -> None: ...

    def sign_host(self, host: str, request: str, now: dt.datetime) -> str: ...

    def is_due(self, host: str, certificate: str, now: dt.datetime) -> bool: ...

    def load_bundle(self) -> str: ...

    def list_ends(self) -> list[CertificateEnd]: ...

    def describe_agent(self, host: str, certificate: str) -> CertificateEnd: ...


class CertifiedHosts(Protocol):
    """Hosts that have such certificates. Each method raises `Transient` for one that does not answer."""

    async def observe_certificate(self, host: str) -> CertificateFacts: ...

    async def request_certificate(self, host: str) -> str: ...

    async def install_certificate(self, host: str, grant: CertificateGrant) -> None: ...


class CertificateKeeper:
    """Renews what is due. Any number of processes of one machine may run it; `lock` lets one of them work at a time.

    `tell` hears now and then that it is done here.
    """

    def __init__(
        self,
        authority: Authority,
        hosts: CertifiedHosts,
        names: Sequence[str],
        clock: Clock,
        lock: Path,
        lifetime_s: float,
        tell: Tell | None = None,
    ) -> None:
        self._tell = tell
        self._told_at = float("-inf")
        self._authority = authority
        self._hosts = hosts
        self._names = names
        self._clock = clock
        self._lock = lock
        self._look_s = max(LOOK_LEAST_S, min(LOOK_MOST_S, lifetime_s / LOOKS_PER_LIFETIME))
        self._ends: dict[str, CertificateEnd] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Keep them fresh until `stop` is set."""
        while not stop.is_set():
            try:
                if self._authority.can_sign:
                    await self._keep_alone()
                self._show_ends()
            except Exception as error:
                # The edge of the loop: a full disk, say. Most of a lifetime is left to try again.
                log.exception("own certificates not renewed")
                await self._tell_now(_explain(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._look_s)

    async def _keep_alone(self) -> None:
        with locked(self._lock) as is_alone:
            if is_alone:
                await self.keep()
                if asyncio.get_running_loop().time() - self._told_at >= TELL_EVERY_S:
                    await self._tell_now(None)

    async def _tell_now(self, reason: Reason | None) -> None:
        if self._tell is None:
            return
        self._told_at = asyncio.get_running_loop().time()
        # Certificates are kept fresh without the database, too.
        with contextlib.suppress(Transient):
            await self._tell(max(self._look_s, TELL_EVERY_S), reason)

    async def keep(self) -> None:
        """Renew what is due, here and on every host that answers. Raises `Lasting`.

        Every host has had its turn when it returns or raises: nobody else gets the lock while one is at work.
        """
        await asyncio.to_thread(self._authority.ensure, self._names, self._clock.now())
        asked = (self._keep_host(name) for name in self._names)
        known = await asyncio.gather(*asked, return_exceptions=True)
        for one in known:
            if isinstance(one, BaseException):
                raise one
        if all(known):
            await asyncio.to_thread(self._authority.ensure, self._names, self._clock.now(), is_known=True)

    async def _keep_host(self, host: str) -> bool:
        """Return whether the host now trusts whom we trust."""
        try:
            facts = await self._hosts.observe_certificate(host)
            bundle = self._authority.load_bundle()
            if facts.authorities != bundle:
                await self._hosts.install_certificate(host, CertificateGrant(authorities=bundle))
            if self._authority.is_due(host, facts.certificate, self._clock.now()):
                facts = await self._renew(host, bundle)
            self._ends[host] = self._authority.describe_agent(host, facts.certificate)
        except Transient as error:
            log.info("host's certificate not seen", host=host, slug=error.reason.slug, sentence=error.sentence)
            return False
        except Lasting as error:
            log.warning("host's certificate not renewed", host=host, slug=error.reason.slug, sentence=error.sentence)
            return False
        return True

    async def _renew(self, host: str, bundle: str) -> CertificateFacts:
        request = await self._hosts.request_certificate(host)
        certificate = await asyncio.to_thread(self._authority.sign_host, host, request, self._clock.now())
        await self._hosts.install_certificate(host, CertificateGrant(authorities=bundle, certificate=certificate))
        log.info("host's certificate renewed", host=host)
        return CertificateFacts(certificate=certificate, authorities=bundle)

    def _show_ends(self) -> None:
        first: dict[str, float] = {}
        for one in (*self._authority.list_ends(), *self._ends.values()):
            first[one.kind] = min(one.end.timestamp(), first.get(one.kind, float("inf")))
        for kind, end in first.items():
            END.labels(kind).set(end)


def _explain(error: Exception) -> Reason:
    if isinstance(error, StateraError):
        return error.reason
    return Reason(slug="internal-fault", sentence=f"Statera itself failed ({type(error).__name__}).")


Seen = CertificateEnd | CertificateUnusable


async def observe_ends(authority: Authority, hosts: CertifiedHosts, names: Sequence[str]) -> list[Seen]:
    """Return the lifetimes of all certificates that can be seen now, and which of them are of no use."""
    seen = list_own_ends(authority)
    for name in names:
        try:
            facts = await hosts.observe_certificate(name)
        except (Transient, Lasting):
            continue  # Whoever does not answer, or is too old to, is told of where agents are.
        seen.append(judge_agent(authority, name, facts.certificate))
    return seen


def judge_agent(authority: Authority, host: str, certificate: str) -> Seen:
    """Return the lifetime of an agent's certificate, in PEM, or why it is of no use."""
    try:
        return authority.describe_agent(host, certificate)
    except Lasting as error:
        return CertificateUnusable(kind="agent", name=host, sentence=error.sentence)


def list_own_ends(authority: Authority) -> list[Seen]:
    """Return the lifetimes of this machine's certificates, or which file is of no use."""
    try:
        return [*authority.list_ends()]
    except Lasting as error:
        return [CertificateUnusable(kind="authority", name="here", sentence=error.sentence)]
