"""Statera's own certificate authority: a folder with the CA, a certificate for the controllers and one per host.

Agents have certificates for servers only and controllers for clients only (RFC 5280, extended key usage), so an agent
that is broken into cannot speak to another agent.
"""

import contextlib
import datetime as dt
import ipaddress
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from statera.base.errors import Lasting
from statera.base.files import locked, write_whole

AUTHORITY_DAYS = 3650
LEAF_DAYS = 365
RENEW_BEFORE_DAYS = 60
BACKDATED = dt.timedelta(hours=1)
"""A host whose clock is behind must accept a certificate that was just made."""


class CertificateFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Files in PEM."""

    authority: Path
    certificate: Path
    key: Path


class LocalAuthority:
    """The CA of one deployment, in a folder that only its owner may read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_controller(self) -> CertificateFiles:
        return self._files("controller")

    def find_agent(self, host: str) -> CertificateFiles:
        return self._files(f"agent-{host}")

    def _files(self, name: str) -> CertificateFiles:
        return CertificateFiles(
            authority=self._folder / "ca.pem",
            certificate=self._folder / f"{name}.pem",
            key=self._folder / f"{name}.key",
        )

    def ensure(self, hosts: Sequence[str], now: dt.datetime) -> None:
        """Make what is missing and renew what ends soon; several processes may call it at once.

        Raises `Lasting` (slug `certificate-missing`) when the authority's key, which that needs, is kept elsewhere.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        with locked(self._folder / "lock", waits=True):
            authority = self._ensure_authority(now)
            self._ensure_leaf("controller", authority, ExtendedKeyUsageOID.CLIENT_AUTH, now)
            for host in hosts:
                self._ensure_leaf(f"agent-{host}", authority, ExtendedKeyUsageOID.SERVER_AUTH, now, host)

    def list_ends(self) -> list[tuple[str, dt.datetime]]:
        """Return (file name, time of its end) of each certificate."""
        return [(path.name, _load(path).not_valid_after_utc) for path in sorted(self._folder.glob("*.pem"))]

    def _ensure_authority(self, now: dt.datetime) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey | None]:
        certificate_path, key_path = self._folder / "ca.pem", self._folder / "ca.key"
        if certificate_path.exists() and not key_path.exists():
            # Copied from another controller, which keeps the key: here certificates are used, not made.
            return _load(certificate_path), None
        if certificate_path.exists() and key_path.exists():
            key = serialization.load_pem_private_key(key_path.read_bytes(), None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return _load(certificate_path), key
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Statera CA")
        certificate = (
            _builder(name, name, key.public_key(), now, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(sign_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write_key(key_path, key)
        write_whole(certificate_path, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
        return certificate, key

    def _ensure_leaf(
        self,
        name: str,
        authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey | None],
        usage: x509.ObjectIdentifier,
        now: dt.datetime,
        host: str | None = None,
    ) -> None:
        files = self._files(name)
        issuer, issuer_key = authority
        if files.key.exists() and files.certificate.exists() and _is_fresh(_load(files.certificate), issuer, now):
            return
        if issuer_key is None:
            sentence = f"{files.certificate} is missing or ends soon. Copy a new one and its key from where ca.key is."
            raise Lasting("certificate-missing", sentence)
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(host or name), issuer.subject, key.public_key(), now, LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
            .add_extension(x509.SubjectAlternativeName([_alternative(host or name)]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        _write_key(files.key, key)
        certificate = builder.sign(issuer_key, hashes.SHA256())
        write_whole(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _is_fresh(certificate: x509.Certificate, issuer: x509.Certificate, now: dt.datetime) -> bool:
    with contextlib.suppress(Exception):
        certificate.verify_directly_issued_by(issuer)
        return certificate.not_valid_after_utc - now > dt.timedelta(days=RENEW_BEFORE_DAYS)
    return False


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_whole(path, pem, 0o600)
