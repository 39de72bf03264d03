"""Certificates of our own: how they are made, and when it is time for others. No files here."""

import contextlib
import datetime as dt
import enum
import ipaddress
from collections.abc import Sequence

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

from statera.model.own_certificates import CertificateEnd, Kind

BACKDATED = dt.timedelta(hours=1)
"""A host whose clock is behind must accept a certificate that was just made."""
DUE_AT = 2 / 3
"""Of a lifetime: then another certificate is made, or another authority."""
LATEST_AT = 5 / 6
"""Of an authority's lifetime: then the next one signs, even if some host could not be told of it."""
OVERLAP = 1 / 24
"""Of an authority's lifetime: so long the next one is trusted at least before it signs."""

DAMAGED = (ValueError, OverflowError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
"""What reading a certificate, a request or a key may raise: for bytes that are none, a date without a next hour, a kind
of key or signature that is not known."""


class Issuer(msgspec.Struct, frozen=True):
    """An authority that can sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def age(certificate: x509.Certificate, now: dt.datetime) -> float:
    """Return how much of its lifetime is over: 0 when it is new, 1 at its end."""
    begin = certificate.not_valid_before_utc + BACKDATED
    return (now - begin) / max(certificate.not_valid_after_utc - begin, dt.timedelta(seconds=1))


def is_due(certificate: x509.Certificate, signing: x509.Certificate, now: dt.datetime) -> bool:
    """Say whether a certificate is to be replaced: most of its time is over, or its authority signs no more."""
    with contextlib.suppress(Exception):
        certificate.verify_directly_issued_by(signing)
        return age(certificate, now) >= DUE_AT
    return True


def describe_end(kind: Kind, certificate: x509.Certificate) -> CertificateEnd:
    """Return whose certificate it is, and its lifetime. Raises one of `DAMAGED`."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1:
        raise ValueError("it does not say whose it is")
    begin = certificate.not_valid_before_utc + BACKDATED
    end = certificate.not_valid_after_utc
    return CertificateEnd(kind=kind, name=str(names[0].value), begin=begin, end=end)


class Turn(enum.Enum):
    """What an authority does next."""

    KEEP = "keep"
    PREPARE = "prepare"
    """Make the next one, which is trusted from now on and does not sign yet."""
    SWITCH = "switch"
    """Let the next one sign. The former one stays trusted until its end, and its key goes."""


def decide_turn(
    signing: x509.Certificate, following: x509.Certificate | None, *, is_known: bool, now: dt.datetime
) -> Turn:
    """Return what is next. `is_known`: every host trusts the following one."""
    if following is None:
        return Turn.PREPARE if age(signing, now) >= DUE_AT else Turn.KEEP
    lifetime = signing.not_valid_after_utc - signing.not_valid_before_utc - BACKDATED
    trusted_for = now - following.not_valid_before_utc - BACKDATED
    if age(signing, now) >= LATEST_AT or (is_known and trusted_for >= lifetime * OVERLAP):
        return Turn.SWITCH
    return Turn.KEEP


def make_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def make_authority(key: ec.EllipticCurvePrivateKey, now: dt.datetime, lifetime_s: float) -> x509.Certificate:
    """Return a certificate of an authority, signed by itself."""
    serial = x509.random_serial_number()
    # A name of its own: nobody takes one authority for the other while both are trusted.
    name = _name(f"Statera CA {serial:040x}"[:20])
    return (
        _builder(name, name, key.public_key(), serial, now, now + dt.timedelta(seconds=lifetime_s))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def make_leaf(
    issuer: Issuer,
    public_key: CertificatePublicKeyTypes,
    name: str,
    usage: x509.ObjectIdentifier,
    now: dt.datetime,
    lifetime_s: float,
) -> x509.Certificate:
    """Return a certificate for servers only or for clients only. It does not outlive its authority."""
    end = min(now + dt.timedelta(seconds=lifetime_s), issuer.certificate.not_valid_after_utc)
    authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    serial = x509.random_serial_number()
    return (
        _builder(_name(name), issuer.certificate.subject, public_key, serial, now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
        .add_extension(x509.SubjectAlternativeName([_alternative(name)]), critical=False)
        .add_extension(authority_key, critical=False)
        .sign(issuer.key, hashes.SHA256())
    )


def write_certificates(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return them in PEM, one after the other."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)


def write_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a key in PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host))
    return x509.DNSName(host)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificatePublicKeyTypes,
    serial: int,
    now: dt.datetime,
    end: dt.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
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
