"""Certificates, keys, CAs and revocations that load balancers refer to, read from the store of secrets for each pass.

What was read is remembered, in memory only: while the store does not answer, edits go on with what it said last.
"""

import asyncio
import hashlib
from collections.abc import Mapping

import msgspec

from statera.base.errors import Lasting, Refused, Transient
from statera.base.recent import remember
from statera.model.certificates import Bundle, read_authorities, read_certificate, read_revocations
from statera.model.document import FileKind
from statera.model.ports import SecretsDriver
from statera.model.secrets import SecretParts

REMEMBERED = 2_000
"""References; some 10 KiB each."""


class _Known(msgspec.Struct, frozen=True):
    fingerprint: bytes
    bundle: Bundle


class CertificateBook:
    """Reads what references lead to. One per worker."""

    def __init__(self, secrets: SecretsDriver | None) -> None:
        self._secrets = secrets
        self._known: dict[tuple[str, FileKind], _Known] = {}

    async def load(self, references: Mapping[str, FileKind]) -> dict[str, Bundle]:
        """Return what each reference leads to.

        Raises `Lasting` (slugs `secret-not-found`, `certificate-unusable`), and `Transient` when the store does not
        answer and has never been asked for it.
        """
        found = await asyncio.gather(*(self._load(ref, kind) for ref, kind in references.items()))
        return dict(zip(references, found, strict=True))

    async def _load(self, ref: str, kind: FileKind) -> Bundle:
        known = self._known.get((ref, kind))
        if self._secrets is None:
            raise Lasting("secret-not-found", f"There is no store of secrets to look for {ref} in.")
        try:
            found = await self._secrets.observe_secret(ref)
        except Transient:
            if known is None:
                raise
            return known.bundle
        except Refused as error:
            raise Lasting("secret-not-found", f"What {ref} leads to cannot be read: {error.sentence}") from error
        fingerprint = _fingerprint(found)
        if known is not None and known.fingerprint == fingerprint:
            return known.bundle
        try:
            bundle = await asyncio.to_thread(_read, found, kind, ref)
        except Refused as error:
            raise Lasting("certificate-unusable", error.sentence.removeprefix("Validation failure: ")) from error
        remember(self._known, (ref, kind), _Known(fingerprint, bundle), REMEMBERED)
        return bundle


def _read(found: SecretParts, kind: FileKind, ref: str) -> Bundle:
    match kind:
        case "certificate":
            return read_certificate(found, ref, needs_names=False)
        case "authorities":
            return read_authorities(found, ref)
        case "revocations":
            return read_revocations(found, ref)


def _fingerprint(found: SecretParts) -> bytes:
    """Return what tells two contents apart, without keeping either."""
    digest = hashlib.sha256()
    parts = found.parts if found.payload is None else {"": found.payload}
    for name, payload in sorted(parts.items()):
        for text in (name.encode(), payload.reveal()):
            digest.update(len(text).to_bytes(8) + text)
    return digest.digest()
