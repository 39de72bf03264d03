"""A store of secrets without an outside: behind every reference stands the same made-up material.

For conformance runs of the API and developers of clients, with the other drivers that touch nothing. One PEM text holds
a certificate that is its own authority, its key and an empty revocation list, so any reference serves anywhere.
"""

import datetime as dt
from collections.abc import Collection
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from statera.base.clock import Clock
from statera.base.secret import Secret
from statera.model.secrets import SecretParts, SecretReader

VALID_FOR = dt.timedelta(days=3650)
NAME = "noop.invalid"


class NoopSecrets:
    """`SecretsDriver` that finds anything and lets anybody read it; each process makes material of its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def observe_secret(self, ref: str, reader: SecretReader | None = None) -> SecretParts:
        return SecretParts(payload=self._material)

    async def ensure_access(self, refs: Collection[str], reader: SecretReader) -> None:
        """Everybody may read everything already."""

    async def close(self) -> None:
        """Nothing is open."""

    @cached_property
    def _material(self) -> Secret[bytes]:
        now = self._clock.now()
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + VALID_FOR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        revoked = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name)
            .last_update(now - dt.timedelta(hours=1))
            .next_update(now + VALID_FOR)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Secret(certificate.public_bytes(pem) + plain + revoked.public_bytes(pem))
