"""A store of tenants' certificates that fails, hangs, answers late, loses some and has others renewed."""

import asyncio
import datetime as dt
import functools
import hashlib
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

from statera.base.errors import Refusal, Refused, Transient
from statera.base.secret import Secret
from statera.base.settings import HealthSettings
from statera.model.enums import ListenerProtocol
from statera.model.expiry import EXPIRED, EXPIRES
from statera.model.secrets import SecretParts, SecretReader
from statera.model.tree import Listener, Tree
from tests.simulation.outside import CALL_MOST_S
from tests.simulation.processes import Process
from tests.simulation.story import EPOCH

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation

VALID_DAYS = (400.0, 300.0, 10.0, 0.001, -1.0)
"""From the beginning of a run: for long, twice; not for long; until a minute and a half later; no more."""
WARN_DAYS = HealthSettings().certificate_warning_days
LATE_S = (0.5, 8.0)
AWAY_S = (1.0, 30.0)
LOST_S = (5.0, 60.0)
LOST_FOR_EVER = 0.3
TLS_PORT = 443


class Material(msgspec.Struct, frozen=True):
    """A certificate with its key as one text, which is how HAProxy gets it."""

    content: bytes
    digest: str
    end: dt.datetime


@functools.cache
def make_materials() -> tuple[Material, ...]:
    """Return the same ones always: signatures of this kind have no chance in them."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulation.invalid")])
    signing, pem = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)), serialization.Encoding.PEM
    found = []
    for number, days in enumerate(VALID_DAYS, start=1):
        key, end = ec.derive_private_key(number, ec.SECP256R1()), EPOCH + dt.timedelta(days=days)
        end = end.replace(microsecond=0)
        builder = x509.CertificateBuilder(name, name, key.public_key(), number, EPOCH - dt.timedelta(days=9), end)
        plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        content = builder.sign(signing, None).public_bytes(pem) + plain
        found.append(Material(content, hashlib.sha256(content).hexdigest(), end))
    return tuple(found)


def list_used(tree: Tree) -> Iterator[tuple[Listener, str]]:
    """Yield the references that a load balancer is served with, each with its listener."""
    for one in tree.listeners:
        if tree.load_balancer.admin_state_up and one.admin_state_up and not one.deleting:
            yield from ((one, ref) for ref in list_certificates(one))


def list_certificates(listener: Listener) -> tuple[str, ...]:
    if listener.protocol != ListenerProtocol.TERMINATED_HTTPS:
        return ()
    assert listener.default_tls_container_ref is not None
    return (listener.default_tls_container_ref, *listener.sni_container_refs)


class Vault:
    """What truly stands behind each reference; nothing where it was lost."""

    def __init__(self, world: "Simulation") -> None:
        self._world = world
        self._faults = world.faults
        self._behind: dict[str, Material | None] = {}
        self.is_away = False

    def add(self) -> str:
        """Put something behind a new reference."""
        ref = f"https://secrets.invalid/v1/containers/{self._world.make_uuid()}"
        self._behind[ref] = self._world.rng.choice(make_materials())
        return ref

    def find(self, ref: str) -> Material | None:
        return self._behind[ref]

    def is_lost(self, tree: Tree) -> bool:
        """Say whether a load balancer needs what is not there."""
        return any(self._behind[ref] is None for _, ref in list_used(tree))

    # What must be, once nothing is lost any more

    def list_digests(self, tree: Tree) -> set[str]:
        """Return the digests of what a load balancer is to show."""
        return {one.digest for _, _, one in self._list_shown(tree)}

    def list_ends(self, tree: Tree) -> dict[str, dt.datetime]:
        return {ref: one.end for _, ref, one in self._list_shown(tree)}

    def judge(self, tree: Tree) -> dict[str, str]:
        """Return by listener that shows certificates the slug of what is to be told of them, "" for nothing."""
        now, ends = self._world.now(), dict[str, dt.datetime]()
        for listener, _, one in self._list_shown(tree):
            ends[listener.id] = min(one.end, ends.get(listener.id, one.end))
        return {listener_id: _judge(end - now) for listener_id, end in ends.items()}

    def _list_shown(self, tree: Tree) -> Iterator[tuple[Listener, str, Material]]:
        for listener, ref in list_used(tree):
            if (found := self._behind[ref]) is not None:
                yield listener, ref, found

    # What befalls it

    async def disturb(self) -> None:
        """Be away, lose what is needed and renew it until the faults are over; then all is there that will ever be."""
        faults, story = self._faults, self._world.story
        while not faults.over:
            await asyncio.sleep(faults.draw_s(5.0, 40.0))
            used = self._list_used()
            if used and faults.comes("secret-renewed", 0.8):
                ref = self._world.rng.choice(used)
                self._behind[ref] = self._world.rng.choice(make_materials())
                story.tell("the secrets", f"have another certificate behind {ref[-12:]}")
            if faults.comes("secrets-away", 0.5):
                seconds, self.is_away = faults.draw_s(*AWAY_S), True
                story.tell("the secrets", f"are away for {seconds:.1f} s")
                await asyncio.sleep(seconds)
                self.is_away = False
            used = self._list_used()
            if used and faults.comes("secret-lost", 0.4):
                await self._lose(self._world.rng.choice(used))

    def _list_used(self) -> list[str]:
        """Return the references that something is served with and that lead to something."""
        trees = self._world.database.list_balancers()
        return [ref for tree in trees for _, ref in list_used(tree) if self._behind[ref] is not None]

    async def _lose(self, ref: str) -> None:
        lost, self._behind[ref] = self._behind[ref], None
        self._world.story.tell("the secrets", f"have lost {ref[-12:]}")
        await asyncio.sleep(self._faults.draw_s(*LOST_S))
        if self._world.rng.random() >= LOST_FOR_EVER:
            self._behind[ref] = lost
            self._world.story.tell("the secrets", f"have {ref[-12:]} again")


class SimSecrets:
    """`SecretsDriver` of one process."""

    def __init__(self, vault: Vault, process: Process) -> None:
        self._vault = vault
        self._process = process

    async def observe_secret(self, ref: str, reader: SecretReader | None = None) -> SecretParts:
        process = self._process
        await process.point("asking for a secret")
        if self._vault.is_away or process.strikes("secrets-refuse"):
            raise _unavailable()
        if process.strikes("secrets-hang"):
            process.disturb(CALL_MOST_S)
            await asyncio.sleep(CALL_MOST_S)
            raise _unavailable()
        found = self._vault.find(ref)
        if process.strikes("secrets-late"):
            # What is told then was true when it was asked for.
            seconds = process.faults.draw_s(*LATE_S)
            process.disturb(seconds)
            await asyncio.sleep(seconds)
        await process.point("the answer about a secret")
        if found is None:
            raise Refused(Refusal.INVALID, "There is no such container.", slug="secret-not-found")
        return SecretParts(payload=Secret(found.content))

    async def ensure_access(self, refs: Collection[str], reader: SecretReader) -> None:
        """Everything may be read."""

    async def close(self) -> None: ...


def _judge(left: dt.timedelta) -> str:
    if left <= dt.timedelta():
        return EXPIRED
    return EXPIRES if left <= dt.timedelta(days=WARN_DAYS) else ""


def _unavailable() -> Transient:
    return Transient("secrets-unavailable", "The store of secrets does not answer.")
