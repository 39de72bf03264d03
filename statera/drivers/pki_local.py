"""Statera's own certificate authority: a folder with the CA, a certificate for the controllers and one per host.

Agents have certificates for servers only and controllers for clients only (RFC 5280, extended key usage), so an agent
that is broken into cannot speak to another agent.

`ca.pem` holds every authority that is trusted, `ca.key` the key of the one that signs. Towards its end there is
`ca-next.key`, too: that one is trusted already, so that everybody knows it before anything signed by it is shown.
How they follow each other: docs/design/certificates.md.
"""

import contextlib
import datetime as dt
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from statera.base.credentials import Credentials
from statera.base.errors import Lasting
from statera.base.files import locked, write_whole
from statera.drivers.pki_x509 import (
    DAMAGED,
    Issuer,
    Turn,
    decide_turn,
    describe_end,
    is_due,
    make_authority,
    make_key,
    make_leaf,
    write_certificates,
    write_key,
)
from statera.model.own_certificates import CertificateEnd

YEAR_S = 365 * 86_400.0
TOLD_LENGTH = 200
"""Characters of the library's words that a sentence repeats."""


class LocalAuthority:
    """The CA of one deployment, in a folder that only its owner may read."""

    def __init__(self, folder: Path, *, lifetime_s: float = YEAR_S, authority_lifetime_s: float = 10 * YEAR_S) -> None:
        self._folder = folder
        self._lifetime_s = lifetime_s
        self._authority_lifetime_s = authority_lifetime_s
        self._bundle = folder / "ca.pem"
        self._key = folder / "ca.key"
        self._next_key = folder / "ca-next.key"

    def find_controller(self) -> Credentials:
        return self._files("controller")

    def find_agent(self, host: str) -> Credentials:
        return self._files(f"agent-{host}")

    def _files(self, name: str) -> Credentials:
        return Credentials(
            authority=self._bundle, certificate=self._folder / f"{name}.pem", key=self._folder / f"{name}.key"
        )

    @property
    def can_sign(self) -> bool:
        """Whether the authority's key is here and ours to use, or there is no authority yet."""
        is_ours = os.access(self._key, os.R_OK) and os.access(self._folder, os.W_OK)
        return is_ours or not self._bundle.exists()

    def ensure(self, hosts: Sequence[str], now: dt.datetime, *, is_known: bool = False) -> None:
        """Make what is missing and renew what is due; several processes may call it at once.

        `is_known`: every host trusts all that `load_bundle` returns. Raises `Lasting` (slug `certificate-missing`) when
        the authority's key, which that needs, is kept elsewhere.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        with locked(self._folder / "lock", waits=True):
            if not self.can_sign:
                self._check_given(now)
                return
            issuer = self._ensure_authority(now, is_known=is_known)
            self._ensure_leaf("controller", "controller", issuer, ExtendedKeyUsageOID.CLIENT_AUTH, now)
            for host in hosts:
                self._ensure_leaf(f"agent-{host}", host, issuer, ExtendedKeyUsageOID.SERVER_AUTH, now)

    def sign_host(self, host: str, request: str, now: dt.datetime) -> str:
        """Return a certificate in PEM for a host that keeps its key to itself; `request` is PKCS #10 in PEM.

        Whatever name it has, the certificate has the host's. Raises `Lasting` (slug `own-certificate-unusable`).
        """
        with _refusing(f"What host {host} asked a certificate with"):
            wanted = x509.load_pem_x509_csr(request.encode())
            if not wanted.is_signature_valid:
                raise ValueError("its signature is wrong")
            public_key = wanted.public_key()
        with locked(self._folder / "lock", waits=True):
            issuer = Issuer(self._find(_load_key(self._key)), _load_key(self._key))
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        leaf = make_leaf(issuer, public_key, host, usage, now, self._lifetime_s)
        return write_certificates([leaf]).decode()

    def is_due(self, host: str, certificate: str, now: dt.datetime) -> bool:
        """Say whether a host's certificate, in PEM, is to be replaced. Raises as `describe_agent`."""
        shown = _read_shown(host, certificate)
        signing = self._find(_load_key(self._key))
        return is_due(shown, signing, now)

    def load_bundle(self) -> str:
        """Return all trusted authorities in PEM."""
        return self._bundle.read_text(encoding="ascii")

    def list_ends(self) -> list[CertificateEnd]:
        """Return what is known of each trusted authority and of the controllers' certificate. Raises `Lasting`."""
        controller = self.find_controller().certificate
        with _refusing(f"What is in {self._folder}"):
            found = [describe_end("authority", one) for one in _load_all(self._bundle)]
            return found + [describe_end("controller", one) for one in _load_all(controller)]

    def describe_agent(self, host: str, certificate: str) -> CertificateEnd:
        """Return what is known of a certificate of a host, in PEM. An agent that was taken over may send anything.

        Raises `Lasting` (slug `own-certificate-unusable`) for what is no certificate of that host.
        """
        shown = _read_shown(host, certificate)
        with _refusing(_shown_by(host)):
            found = describe_end("agent", shown)
            if found.name != host:
                raise ValueError("it has another name")
        return found

    # The authority

    def _ensure_authority(self, now: dt.datetime, *, is_known: bool) -> Issuer:
        if not self._key.exists():
            write_whole(self._key, write_key(make_key()), 0o600)
        key = _load_key(self._key)
        self._ensure_trusted(key, now)
        if self._next_key.exists():
            if self._next_key.read_bytes() == self._key.read_bytes():
                self._next_key.unlink()  # A switch was cut off after its first half.
            else:
                self._ensure_trusted(_load_key(self._next_key), now)
        while (turn := self._decide_turn(now, is_known=is_known)) is not Turn.KEEP:
            if turn is Turn.PREPARE:
                write_whole(self._next_key, write_key(make_key()), 0o600)
                self._ensure_trusted(_load_key(self._next_key), now)
            else:
                write_whole(self._key, self._next_key.read_bytes(), 0o600)
                self._next_key.unlink()
        self._forget_ended(now)
        key = _load_key(self._key)
        return Issuer(self._find(key), key)

    def _decide_turn(self, now: dt.datetime, *, is_known: bool) -> Turn:
        following = self._find(_load_key(self._next_key)) if self._next_key.exists() else None
        return decide_turn(self._find(_load_key(self._key)), following, is_known=is_known, now=now)

    def _ensure_trusted(self, key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> None:
        there = _load_all(self._bundle)
        if not any(one.public_key() == key.public_key() for one in there):
            made = make_authority(key, now, self._authority_lifetime_s)
            write_whole(self._bundle, write_certificates([*there, made]), 0o644)

    def _forget_ended(self, now: dt.datetime) -> None:
        there = _load_all(self._bundle)
        # A certificate does not outlive its authority: with the end of this one the last that it signed has ended.
        kept = [one for one in there if one.not_valid_after_utc > now]
        if len(kept) < len(there):
            write_whole(self._bundle, write_certificates(kept), 0o644)

    def _find(self, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        for one in _load_all(self._bundle):
            if one.public_key() == key.public_key():
                return one
        raise Lasting("own-certificate-unusable", f"{self._key} belongs to no certificate in {self._bundle}.")

    # What it signs

    def _ensure_leaf(
        self, file: str, name: str, issuer: Issuer, usage: x509.ObjectIdentifier, now: dt.datetime
    ) -> None:
        files = self._files(file)
        there = _load_all(files.certificate) if files.key.exists() else []
        if there and not is_due(there[0], issuer.certificate, now):
            return
        key = make_key()
        leaf = make_leaf(issuer, key.public_key(), name, usage, now, self._lifetime_s)
        write_whole(files.key, write_key(key), 0o600)
        write_whole(files.certificate, write_certificates([leaf]), 0o644)

    def _check_given(self, now: dt.datetime) -> None:
        # Copied from another controller, which keeps the key: here certificates are used, not made.
        files = self.find_controller()
        there = _load_all(files.certificate) if files.key.exists() else []
        if not there or there[0].not_valid_after_utc <= now:
            sentence = f"{files.certificate} is missing or has ended. Copy a new one and its key from where ca.key is."
            raise Lasting("certificate-missing", sentence)


def _load_all(path: Path) -> list[x509.Certificate]:
    with _refusing(str(path)):
        return x509.load_pem_x509_certificates(path.read_bytes()) if path.exists() else []


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    with _refusing(str(path)):
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise Lasting("own-certificate-unusable", f"{path} is not a key that Statera made.")
    return key


def _read_shown(host: str, certificate: str) -> x509.Certificate:
    with _refusing(_shown_by(host)):
        return x509.load_pem_x509_certificate(certificate.encode())


def _shown_by(host: str) -> str:
    return f"The certificate that host {host} shows"


@contextlib.contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Turn what reading it may raise into `Lasting` (slug `own-certificate-unusable`)."""
    try:
        yield
    except DAMAGED as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise Lasting("own-certificate-unusable", f"{what} cannot be used: {why[:TOLD_LENGTH].rstrip('.')}.") from error
