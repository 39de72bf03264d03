"""Secrets in Statera's own database, sealed with a key that is not there: AES-256-GCM, one nonce per payload.

The key file holds a line of base64 for each key of 32 bytes. The first seals, all of them open: to change the key, put
a new line before the old one. What is sealed is bound to its secret's id: rows cannot be exchanged for one another.
"""

import asyncio
import base64
import binascii
import hashlib
import os
from collections.abc import Collection, Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from statera.base.errors import Lasting, Refusal, Refused
from statera.base.secret import Secret
from statera.model.secrets import ContainerRow, SecretBook, SecretParts, SecretReader, SecretRow, parse_reference

KEY_BYTES, NONCE_BYTES, MARK_BYTES = 32, 12, 4


class SealingKeys:
    """The keys of one file, read when they are first needed."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._keys: list[Secret[bytes]] = []

    def ensure(self) -> None:
        """Make the file with a new key when there is none."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(descriptor)

    def seal(self, payload: bytes, owner: str) -> bytes:
        """Return the payload sealed for its owner."""
        key, nonce = self._load()[0], os.urandom(NONCE_BYTES)
        return _mark(key) + nonce + AESGCM(key.reveal()).encrypt(nonce, payload, owner.encode())

    def open(self, sealed: bytes, owner: str) -> bytes:
        """Return the payload. Raises `Lasting` (slug `secret-unreadable`) when no key opens it."""
        mark, nonce = sealed[:MARK_BYTES], sealed[MARK_BYTES : MARK_BYTES + NONCE_BYTES]
        for key in self._load():
            if _mark(key) == mark:
                try:
                    opener = AESGCM(key.reveal())
                    return opener.decrypt(nonce, sealed[MARK_BYTES + NONCE_BYTES :], owner.encode())
                except InvalidTag:
                    break
        raise Lasting("secret-unreadable", f"Secret {owner} cannot be opened with the keys in {self.file}.")

    def _load(self) -> list[Secret[bytes]]:
        if not self._keys:
            try:
                lines = [line.strip() for line in self.file.read_text(encoding="ascii").splitlines()]
                keys = [base64.b64decode(line, validate=True) for line in lines if line]
            except (OSError, ValueError, binascii.Error):
                keys = []
            if not keys or any(len(key) != KEY_BYTES for key in keys):
                sentence = (
                    f"There is no usable key in {self.file}. `statera up` makes it; copy it to other controllers."
                )
                raise Lasting("secrets-key-missing", sentence)
            self._keys = [Secret(key) for key in keys]
        return self._keys


def _mark(key: Secret[bytes]) -> bytes:
    """Return what tells keys apart and nothing of them."""
    return hashlib.sha256(b"statera sealing key" + key.reveal()).digest()[:MARK_BYTES]


class LocalSecrets:
    """`SecretsKeeper` over a book of rows."""

    def __init__(self, book: SecretBook, keys: SealingKeys) -> None:
        self._book = book
        self._keys = keys

    async def close(self) -> None:
        """Do nothing: the book is somebody else's."""

    # Reading by reference

    async def observe_secret(self, ref: str, reader: SecretReader | None = None) -> SecretParts:
        """Return what stands behind a reference. See `SecretsDriver`."""
        parsed = parse_reference(ref)
        if parsed is None:
            raise not_found(ref)
        kind, object_id = parsed
        if kind == "containers":
            container = await self._book.load_container(object_id)
            if container is None or not may_read(container.project_id, reader):
                raise not_found(ref)
            names = container.secret_ids.items()
            payloads = await asyncio.gather(*(self._read(secret_id, ref, reader) for _, secret_id in names))
            return SecretParts(parts=dict(zip(container.secret_ids, payloads, strict=True)))
        return SecretParts(payload=await self._read(object_id, ref, reader))

    async def _read(self, secret_id: str, ref: str, reader: SecretReader | None) -> Secret[bytes]:
        found = await self._book.load_secret(secret_id)
        if found is None or not may_read(found[0].project_id, reader) or found[1] is None:
            raise not_found(ref)
        return Secret(self._keys.open(found[1], secret_id))

    async def ensure_access(self, refs: Collection[str], reader: SecretReader) -> None:
        """Check that all of them may be read; Statera itself reads its own store anyway."""
        for ref in refs:
            await self.observe_secret(ref, reader)

    # Keeping

    async def ensure_secret(self, row: SecretRow, payload: Secret[bytes] | None) -> None:
        sealed = None if payload is None else self._keys.seal(payload.reveal(), row.id)
        await self._book.save_secret(row, sealed)

    async def ensure_container(self, row: ContainerRow) -> None:
        await self._book.save_container(row)

    async def find_secret(self, secret_id: str) -> SecretRow | None:
        found = await self._book.load_secret(secret_id)
        return None if found is None else found[0]

    async def find_container(self, container_id: str) -> ContainerRow | None:
        return await self._book.load_container(container_id)

    async def load_payload(self, row: SecretRow) -> Secret[bytes] | None:
        """Return the payload. Raises `Lasting` (slug `secret-unreadable`)."""
        found = await self._book.load_secret(row.id)
        return None if found is None or found[1] is None else Secret(self._keys.open(found[1], row.id))

    async def list_secrets(
        self, project_id: str, wanted: Mapping[str, str | int], *, limit: int, offset: int
    ) -> tuple[tuple[SecretRow, ...], int]:
        return await self._book.list_secrets(project_id, wanted, limit=limit, offset=offset)

    async def list_containers(
        self, project_id: str, wanted: Mapping[str, str | int], *, limit: int, offset: int
    ) -> tuple[tuple[ContainerRow, ...], int]:
        return await self._book.list_containers(project_id, wanted, limit=limit, offset=offset)

    async def remove_secret(self, secret_id: str) -> None:
        await self._book.remove_secret(secret_id)

    async def remove_container(self, container_id: str) -> None:
        await self._book.remove_container(container_id)


def may_read(project_id: str, reader: SecretReader | None) -> bool:
    """Say whether a reader may read what belongs to a project; None, which is Statera itself, reads all."""
    return reader is None or reader.is_admin or reader.project_id == project_id


def not_found(ref: str) -> Refused:
    return Refused(Refusal.INVALID, f"Could not retrieve certificate: {ref}", slug="secret-not-found")
