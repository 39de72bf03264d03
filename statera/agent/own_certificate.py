"""This host's own certificate. A controller that may sign asks for a request, signs it and gives the certificate back.

The key is made here and never leaves. Nothing is restarted: the server takes the files as they are at each handshake.
"""

import contextlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from statera.base.credentials import Credentials
from statera.base.errors import Lasting, Transient
from statera.base.files import locked, write_whole
from statera.base.logging import get_logger
from statera.model.own_certificates import CertificateFacts, CertificateGrant, CertificateRequest

log = get_logger("agent")

MOST_KEYS = 4
"""Keys that wait for their certificate: one for each controller that asks at the same time."""


class OwnCertificate:
    """The files of this host's certificate, and keys that wait for another one."""

    def __init__(self, files: Credentials, host: str) -> None:
        self._files = files
        self._host = host
        self._waiting: list[ec.EllipticCurvePrivateKey] = []

    def describe(self) -> CertificateFacts:
        return CertificateFacts(
            certificate=self._files.certificate.read_text(encoding="ascii"),
            authorities=self._files.authority.read_text(encoding="ascii"),
        )

    def make_request(self) -> CertificateRequest:
        """Make a key and return what a certificate for it is asked with."""
        key = ec.generate_private_key(ec.SECP256R1())
        self._waiting = [*self._waiting, key][-MOST_KEYS:]
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._host)])
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
        return CertificateRequest(request=request.public_bytes(serialization.Encoding.PEM).decode())

    def install(self, grant: CertificateGrant) -> None:
        """Trust these authorities from now on, and show this certificate.

        Raises `Lasting` (slug `own-certificate-unusable`) for what would cut this host off, and `Transient` for a
        certificate whose key is not here any more.
        """
        authorities = _read(grant.authorities)
        shown = _read(grant.certificate or self.describe().certificate)[0]
        if not any(_is_signed_by(shown, one) for one in authorities):
            raise _unusable("No authority that came with it has signed it.")
        key = self._find_key(shown) if grant.certificate else None
        with locked(self._files.certificate.parent / "lock", waits=True):
            # Whom to trust first: where controllers share the folder, it may be the very file that they sign by.
            if self._files.authority.read_text(encoding="ascii") != grant.authorities:
                write_whole(self._files.authority, grant.authorities.encode(), 0o644)
            if key is not None:
                write_whole(self._files.key, _write(key), 0o600)
                write_whole(self._files.certificate, grant.certificate.encode(), 0o644)
        self._waiting = [one for one in self._waiting if one is not key]
        log.info("own certificates installed", certificate=key is not None, end=shown.not_valid_after_utc.isoformat())

    def _find_key(self, certificate: x509.Certificate) -> ec.EllipticCurvePrivateKey:
        with contextlib.suppress(x509.ExtensionNotFound):
            usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
                raise _unusable("It is not one for servers.")
        for key in self._waiting:
            if key.public_key() == certificate.public_key():
                return key
        raise Transient("own-certificate-late", f"Host {self._host} has not the key of this certificate any more.")


def _is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:
        # Whatever is wrong, and the library raises many kinds: it is not signed by this one.
        return False
    return True


def _read(text: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise _unusable("It cannot be read.") from error


def _unusable(why: str) -> Lasting:
    return Lasting("own-certificate-unusable", f"The certificate for this host is refused: {why}")


def _write(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
