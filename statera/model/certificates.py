"""Certificates as tenants bring them, read and put in order: what goes in may be in many forms, what comes out in one.

PKCS#12 bundles, PEM bundles of certificates and a key, and the parts of a certificate container become one PEM text:
the leaf, its chain in order, the key. Whoever reads them says which field they came from, so that a refusal names it.
"""

import datetime as dt
import hashlib
from collections.abc import Sequence
from typing import TypeAlias, cast

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from statera.base.errors import Refusal, Refused
from statera.base.secret import Secret
from statera.model.secrets import SecretParts

LEAST_RSA_BITS = 2048
"""OpenSSL refuses to serve with less."""
_PEM_MARK = b"-----BEGIN "
_DAMAGED = (ValueError, x509.InvalidVersion)
"""What the library raises for a certificate or a list that it cannot read."""

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class BadCertificate(Refused):
    """A certificate that cannot be used as it is; the sentence names the field."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Refusal.INVALID, sentence, slug="certificate-unusable")


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """One file as HAProxy reads it, and what its text says."""

    content: Secret[bytes]
    digest: str
    """Of the whole content: it tells a new certificate from the old one, and nothing of the key."""
    not_before: dt.datetime | None = None
    not_after: dt.datetime | None = None
    """The earliest end of a certificate in it, or when the first list of revocations is to be renewed."""
    names: tuple[str, ...] = ()
    """The names that the leaf is for."""


def _bundle(content: bytes, certificates: Sequence[x509.Certificate], names: tuple[str, ...] = ()) -> Bundle:
    begins = [one.not_valid_before_utc for one in certificates]
    return _dated_bundle(content, begins, [one.not_valid_after_utc for one in certificates], names)


def _dated_bundle(
    content: bytes, begins: Sequence[dt.datetime], ends: Sequence[dt.datetime], names: tuple[str, ...] = ()
) -> Bundle:
    return Bundle(
        content=Secret(content),
        digest=hashlib.sha256(content).hexdigest(),
        not_before=max(begins, default=None),
        not_after=min(ends, default=None),
        names=names,
    )


# A certificate with its key


def read_certificate(found: SecretParts, field: str, *, needs_names: bool = True) -> Bundle:
    """Return the bundle that a server or a client shows. Raises `BadCertificate`.

    `needs_names`: a server's must say which names it is for.
    """
    certificates, key = read_parts(found, field)
    if key is None:
        raise BadCertificate(f"Validation failure: {field}: there is no private key beside the certificate.")
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise BadCertificate(f"Validation failure: {field}: the private key must be an RSA or an ECDSA key.")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < LEAST_RSA_BITS:
        raise BadCertificate(
            f"Validation failure: {field}: the RSA key has {key.key_size} bits; {LEAST_RSA_BITS} are the least."
        )
    chain = _order_chain(certificates, key, field)
    names = list_names(chain[0])
    if needs_names and not names:
        raise BadCertificate(f"No CN or DNSName(s) found in certificate. The certificate is invalid. Field: {field}")
    text = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    return _bundle(text + _write_key(key), chain, names)


def check_period(bundle: Bundle, now: dt.datetime, field: str, what: str = "certificate") -> None:
    """Refuse (INVALID) a certificate, or what else has a period, that is not valid now."""
    if bundle.not_after is not None and bundle.not_after <= now:
        raise BadCertificate(f"Validation failure: {field}: the {what} expired at {_tell(bundle.not_after)}.")
    if bundle.not_before is not None and bundle.not_before > now:
        raise BadCertificate(f"Validation failure: {field}: the {what} is not valid before {_tell(bundle.not_before)}.")


def _tell(at: dt.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def list_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the common names and the DNS names of a certificate, each once."""
    names: list[str] = []
    try:
        attributes = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        names += [str(attribute.value) for attribute in attributes]
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        pass
    else:
        names += extension.value.get_values_for_type(x509.DNSName)
        names += [str(address) for address in extension.value.get_values_for_type(x509.IPAddress)]
    return tuple(dict.fromkeys(name for name in names if name))


_Read: TypeAlias = tuple[list[x509.Certificate], object]


def read_parts(found: SecretParts, field: str) -> _Read:
    """Return all certificates as they come, and the key. Raises `BadCertificate`."""
    if found.payload is not None:
        return _read_any(found.payload.reveal(), None, field)
    if "certificate" not in found.parts:
        raise BadCertificate(f"Validation failure: {field}: the container has no part `certificate`.")
    passphrase = found.parts.get("private_key_passphrase")
    word = passphrase.reveal().rstrip(b"\r\n") if passphrase is not None else None
    certificates, key = _read_any(found.parts["certificate"].reveal(), word, field)
    if "private_key" in found.parts:
        key = _read_key(found.parts["private_key"].reveal(), word, field)
    if "intermediates" in found.parts:
        certificates += _read_certificates(found.parts["intermediates"].reveal(), field)
    return certificates, key


def _read_any(payload: bytes, passphrase: bytes | None, field: str) -> _Read:
    """Read a PKCS#12 bundle, or a PEM text of certificates and perhaps a key."""
    if _PEM_MARK not in payload:
        return _read_pkcs12(payload, passphrase, field)
    has_key = any(b"PRIVATE KEY" in line for line in payload.splitlines() if line.startswith(_PEM_MARK))
    return _read_certificates(payload, field), _read_key(payload, passphrase, field) if has_key else None


def _read_pkcs12(payload: bytes, passphrase: bytes | None, field: str) -> _Read:
    # Without a pass phrase there are two ways to make a bundle: none at all, and an empty one.
    told: Exception | None = None
    for word in [passphrase] if passphrase else [None, b""]:
        try:
            bundle = pkcs12.load_pkcs12(payload, word)
            found = [bundle.cert, *bundle.additional_certs]
            return _with_names([one.certificate for one in found if one is not None]), bundle.key
        except (*_DAMAGED, TypeError, UnsupportedAlgorithm) as error:
            told = error
    why = "it is neither PKCS#12 nor PEM, or it is damaged"
    if passphrase:
        why = "it needs another pass phrase, or it is damaged"
    elif "password" in str(told):
        why = "it needs a pass phrase, or it is damaged"
    raise BadCertificate(
        "The PKCS12 bundle is unreadable. Please check the PKCS12 bundle validity. In addition, make sure it does not "
        f"require a pass phrase. Error: {field}: {why}"
    )


def _find_fault(payload: bytes, block: str) -> str:
    """Say why a text is unreadable, without the words of a library and without repeating any of it."""
    if _PEM_MARK not in payload:
        return "it is not PEM"
    if f"-----BEGIN {block}-----".encode() not in payload:
        return f"no PEM block of it is a {block}"
    return f"a PEM block of a {block} is damaged"


def _read_certificates(payload: bytes, field: str) -> list[x509.Certificate]:
    try:
        if _PEM_MARK in payload:
            return _with_names(x509.load_pem_x509_certificates(payload))
        return _with_names([x509.load_der_x509_certificate(payload)])
    except _DAMAGED:
        raise BadCertificate(
            f"Validation failure: {field}: the certificate is unreadable. Error: {_find_fault(payload, 'CERTIFICATE')}"
        ) from None


def _with_names(certificates: list[x509.Certificate]) -> list[x509.Certificate]:
    """Return them. Raises `ValueError` for a name that cannot be read, which the library only says when it is asked."""
    for one in certificates:
        _ = one.subject, one.issuer
    return certificates


def _read_key(payload: bytes, passphrase: bytes | None, field: str) -> object:
    for word in (passphrase, None) if passphrase else (None,):
        try:
            if _PEM_MARK in payload:
                return serialization.load_pem_private_key(_cut_key(payload), word)
            return serialization.load_der_private_key(payload, word)
        except TypeError:
            # A pass phrase for a key that has none, or the other way round.
            continue
        except (ValueError, UnsupportedAlgorithm):
            break
    raise BadCertificate(
        f"Validation failure: {field}: the private key is unreadable; it may need another pass phrase."
    ) from None


def _cut_key(payload: bytes) -> bytes:
    """Return the key's block of a PEM text, or the whole text when there is none."""
    lines = payload.splitlines(keepends=True)
    begin = next((n for n, line in enumerate(lines) if line.startswith(_PEM_MARK) and b"PRIVATE KEY" in line), None)
    if begin is None:
        return payload
    end = next((n for n in range(begin, len(lines)) if lines[n].startswith(b"-----END ")), len(lines) - 1)
    return b"".join(lines[begin : end + 1])


def _write_key(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _order_chain(certificates: Sequence[x509.Certificate], key: PrivateKey, field: str) -> list[x509.Certificate]:
    """Return the leaf that the key belongs to, then each issuer. Roots and what does not belong are left out."""
    wanted = _public_bytes(key.public_key())
    leaf = next((one for one in certificates if _public_bytes_of(one) == wanted), None)
    if leaf is None:
        raise BadCertificate(f"Validation failure: {field}: the private key does not belong to the certificate.")
    chain, rest = [leaf], [one for one in certificates if one != leaf]
    while issuer := next((one for one in rest if _has_issued(one, chain[-1])), None):
        rest.remove(issuer)
        if issuer.subject == issuer.issuer:
            break
        chain.append(issuer)
    return chain


def _public_bytes(key: object) -> bytes:
    public = cast(rsa.RSAPublicKey, key)
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _public_bytes_of(certificate: x509.Certificate) -> bytes:
    try:
        return _public_bytes(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        return b""


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    if certificate.issuer != issuer.subject or certificate.subject == certificate.issuer:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


# Authorities and revocations


def read_authorities(found: SecretParts, field: str) -> Bundle:
    """Return a bundle of CA certificates. Raises `BadCertificate`."""
    certificates = _read_authorities(found, field)
    return _bundle(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates), certificates[:1])


def _read_authorities(found: SecretParts, field: str) -> list[x509.Certificate]:
    payload = _read_payload(found, field)
    try:
        return _with_names(x509.load_pem_x509_certificates(payload))
    except _DAMAGED:
        raise BadCertificate(
            f"Validation failure: The {_WORDS.get(field, 'named CA')} certificate is invalid. It must be a valid x509 "
            f"PEM format certificate. Error: {field}: {_find_fault(payload, 'CERTIFICATE')}"
        ) from None


def read_revocations(found: SecretParts, field: str) -> Bundle:
    """Return lists of revocations, as they are. Raises `BadCertificate`."""
    lists = _read_lists(found, field)
    ends = [one.next_update_utc for one in lists if one.next_update_utc is not None]
    content = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in lists)
    return _dated_bundle(content, [one.last_update_utc for one in lists], ends)


def check_revocations(found: SecretParts, authorities: SecretParts, field: str, authorities_field: str) -> None:
    """Refuse (INVALID) a list of revocations that none of the authorities has signed."""
    known = _read_authorities(authorities, authorities_field)
    for one in _read_lists(found, field):
        if not any(authority.subject == one.issuer and _has_signed(authority, one) for authority in known):
            raise BadCertificate(
                "Validation failure: The CRL specified is not valid for client certificate authority reference "
                "supplied."
                if field == "client_crl_container_ref"
                else f"Validation failure: {field}: it is not signed by the authority in {authorities_field}."
            )


def _read_lists(found: SecretParts, field: str) -> list[x509.CertificateRevocationList]:
    payload = _read_payload(found, field)
    try:
        lists = [x509.load_pem_x509_crl(block) for block in _cut_lists(payload)]
        # Names are read only when they are asked for, see `_with_names`.
        _ = [one.issuer for one in lists]
        return lists
    except _DAMAGED:
        raise BadCertificate(
            f"Validation failure: The {_WORDS.get(field, 'named')} certificate revocation list is invalid. It must be "
            f"a valid x509 PEM format certificate revocation list. Error: {field}: {_find_fault(payload, 'X509 CRL')}"
        ) from None


def _cut_lists(payload: bytes) -> list[bytes]:
    """Return each block of a PEM text that may hold a list; the whole text when it has no blocks."""
    blocks = payload.split(b"-----BEGIN X509 CRL-----")
    return [b"-----BEGIN X509 CRL-----" + block for block in blocks[1:]] or [payload]


def _has_signed(authority: x509.Certificate, revocations: x509.CertificateRevocationList) -> bool:
    try:
        return revocations.is_signature_valid(cast(rsa.RSAPublicKey, authority.public_key()))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False


_WORDS = {
    "client_ca_tls_container_ref": "client authentication CA",
    "client_crl_container_ref": "client authentication",
    "ca_tls_container_ref": "pool CA",
    "crl_container_ref": "pool",
}
"""How sentences call what stands in a field (rules.md section 6)."""


def _read_payload(found: SecretParts, field: str) -> bytes:
    if found.payload is None:
        raise BadCertificate(f"Validation failure: {field}: a secret is needed here, not a container.")
    return found.payload.reveal()
