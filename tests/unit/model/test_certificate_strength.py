"""Certificates that can be read and that HAProxy would not load, or clients not verify."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from statera.base.secret import Secret
from statera.model.certificate_strength import check_chain, check_strength
from statera.model.certificates import BadCertificate, read_certificate
from statera.model.secrets import SecretParts
from tests.fixtures.certificates import make_authority

ROOT = make_authority("Root", kind="rsa")
LOWER = ROOT.issue("Lower", is_authority=True)
WWW = LOWER.issue("www.example.test")
FIELD = "default_tls_container_ref"


def whole(payload: bytes) -> SecretParts:
    return SecretParts(payload=Secret(payload))


def openssl(*words: str) -> None:
    done = subprocess.run(["openssl", *words], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def issue(folder: Path, *signing: str, key: Sequence[str]) -> bytes:
    """Return a bundle of a certificate that the root issued, made by openssl, which makes weak ones, too."""
    root, key_file, request, out = (folder / name for name in ("root", "key", "request", "out"))
    root.write_bytes(ROOT.pem + ROOT.key_pem())
    openssl("genpkey", *key, "-out", str(key_file))
    openssl("req", "-new", "-key", str(key_file), "-subj", "/CN=weak.test", "-out", str(request))
    authority = ("-CA", str(root), "-CAkey", str(root), "-set_serial", "7")
    openssl("x509", "-req", "-in", str(request), *authority, "-days", "9", *signing, "-out", str(out))
    return out.read_bytes() + key_file.read_bytes()


RSA_KEY = ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")


@pytest.mark.parametrize(
    ("signing", "key", "words"),
    [
        (("-sha1",), RSA_KEY, "the certificate of CN=weak.test is signed with SHA1"),
        (("-md5",), RSA_KEY, "is signed with MD5"),
        (("-sha256",), ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime192v1"), "key of 192 bits; 224 are"),
        (("-sha256",), ("-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"), "RSA-PSS only"),
        (("-sha256",), RSA_KEY, ""),
        (("-sha224",), ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp224r1"), ""),
    ],
)
def test_weak_ones(tmp_path: Path, signing: tuple[str, ...], key: tuple[str, ...], words: str) -> None:
    bundle = read_certificate(whole(issue(tmp_path, *signing, key=key)), FIELD)
    if not words:
        check_strength(bundle, FIELD)
        return
    with pytest.raises(BadCertificate) as told:
        check_strength(bundle, FIELD)
    assert words in told.value.sentence
    assert FIELD in told.value.sentence


def test_a_weak_authority_of_the_chain() -> None:
    weak = ROOT.issue("Weak", kind="weak", is_authority=True)
    with pytest.raises(BadCertificate, match="the certificate of CN=Weak has an RSA key of 1024 bits; 2048 are"):
        check_strength(read_certificate(whole(weak.issue("www.test").bundle_pem), FIELD), FIELD)


@pytest.mark.parametrize("beside", [b"", LOWER.pem, LOWER.pem + ROOT.pem, ROOT.pem + LOWER.pem, WWW.pem])
def test_chains(beside: bytes) -> None:
    found = whole(WWW.pem + WWW.key_pem() + beside)
    check_chain(found, read_certificate(found, FIELD), FIELD)


def test_a_chain_of_somebody_else() -> None:
    parts = {"certificate": WWW.pem, "private_key": WWW.key_pem(), "intermediates": ROOT.pem}
    for found in (whole(WWW.bundle_pem.replace(LOWER.pem, ROOT.pem)), SecretParts(parts=_seal(parts))):
        with pytest.raises(BadCertificate, match="default_tls_container_ref: the certificate is issued by CN=Lower"):
            check_chain(found, read_certificate(found, FIELD), FIELD)


def _seal(parts: dict[str, bytes]) -> dict[str, Secret[bytes]]:
    return {name: Secret(payload) for name, payload in parts.items()}
