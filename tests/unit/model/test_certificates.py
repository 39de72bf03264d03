"""Certificates in every form that tenants bring them come out in one; what cannot be used is refused by its field."""

import base64
import datetime as dt
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from statera.base.secret import Secret
from statera.model.certificates import (
    BadCertificate,
    check_period,
    check_revocations,
    read_authorities,
    read_certificate,
    read_revocations,
)
from statera.model.secrets import SecretParts, parse_reference
from tests.fixtures.certificates import DAY, Issued, make_authority

ROOT = make_authority("Root")
MIDDLE = ROOT.issue("Middle", is_authority=True)
LOWER = MIDDLE.issue("Lower", is_authority=True)
WWW = LOWER.issue("www.example.test", names=["www.example.test", "example.test"])
RSA = LOWER.issue("rsa.example.test", kind="rsa")
NOW = dt.datetime.now(dt.UTC)


def whole(payload: bytes) -> SecretParts:
    return SecretParts(payload=Secret(payload))


def parts(**given: bytes) -> SecretParts:
    return SecretParts(parts={name: Secret(payload) for name, payload in given.items()})


def subjects(content: bytes) -> list[str]:
    return [one.subject.rfc4514_string() for one in x509.load_pem_x509_certificates(content)]


ORDERED = ["CN=www.example.test", "CN=Lower", "CN=Middle"]


@pytest.mark.parametrize(
    "found",
    [
        whole(WWW.pkcs12()),
        whole(WWW.bundle_pem),
        whole(WWW.key_pem() + MIDDLE.pem + ROOT.pem + LOWER.pem + WWW.pem),
        whole(WWW.pem + WWW.chain_pem + WWW.key_pem(traditional=True)),
        parts(certificate=WWW.pem, private_key=WWW.key_pem(), intermediates=WWW.chain_pem),
        parts(certificate=WWW.pem, private_key=WWW.key_pem(), intermediates=ROOT.pem + MIDDLE.pem + LOWER.pem),
        parts(certificate=WWW.pem + WWW.chain_pem, private_key=WWW.key_pem()),
        parts(
            certificate=WWW.pem,
            private_key=WWW.key_pem(b"word"),
            private_key_passphrase=b"word\n",
            intermediates=WWW.chain_pem,
        ),
        parts(certificate=WWW.pkcs12(b"word"), private_key_passphrase=b"word"),
        parts(certificate=WWW.pkcs12(b"word", legacy=True), private_key_passphrase=b"word"),
    ],
)
def test_all_forms_come_out_as_one(found: SecretParts) -> None:
    bundle = read_certificate(found, "default_tls_container_ref")
    content = bundle.content.reveal()
    assert subjects(content) == ORDERED
    key = serialization.load_pem_private_key(content[content.index(b"-----BEGIN PRIVATE KEY") :], None)
    assert key.public_key() == WWW.key.public_key()
    assert bundle.names == ("www.example.test", "example.test")
    assert bundle.digest == read_certificate(whole(WWW.bundle_pem), "x").digest
    assert b"\n\n" not in content, "an empty line would end it on the runtime socket"


def test_rsa() -> None:
    assert subjects(read_certificate(whole(RSA.pkcs12()), "x").content.reveal())[0] == "CN=rsa.example.test"


def test_an_old_bundle_without_a_pass_phrase(tmp_path: Path) -> None:
    pem, out = tmp_path / "in.pem", tmp_path / "out.p12"
    pem.write_bytes(WWW.bundle_pem)
    command = ["openssl", "pkcs12", "-export", "-legacy", "-in", str(pem), "-out", str(out), "-passout", "pass:"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("this openssl has no legacy ciphers")
    assert subjects(read_certificate(whole(out.read_bytes()), "x").content.reveal()) == ORDERED


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (whole(WWW.pem), "no private key"),
        (whole(WWW.pem + RSA.key_pem()), "does not belong to the certificate"),
        (parts(certificate=WWW.pem, private_key=RSA.key_pem()), "does not belong to the certificate"),
        (whole(b"rubbish"), "The PKCS12 bundle is unreadable. Please check the PKCS12 bundle validity"),
        (whole(b"rubbish"), "it is neither PKCS#12 nor PEM, or it is damaged"),
        (whole(WWW.pkcs12(b"word")), "it needs a pass phrase, or it is damaged"),
        (whole(WWW.key_pem()), "no PEM block of it is a CERTIFICATE"),
        (whole(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "block of a CERTIFICATE is damaged"),
        (parts(certificate=WWW.pem, private_key=WWW.key_pem(), intermediates=b"x"), "Error: it is not PEM"),
        (whole(b"-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n"), "certificate is unreadable"),
        (whole(WWW.pkcs12(b"word")), "make sure it does not require a pass phrase"),
        (parts(certificate=WWW.pkcs12(b"word"), private_key_passphrase=b"other"), "another pass phrase"),
        (parts(certificate=WWW.pem, private_key=WWW.key_pem(b"word")), "another pass phrase"),
        (
            parts(certificate=WWW.pem, private_key=WWW.key_pem(b"word"), private_key_passphrase=b"other"),
            "another pass phrase",
        ),
        (parts(private_key=WWW.key_pem()), "no part `certificate`"),
        (whole(ROOT.issue("weak.test", kind="weak").bundle_pem), "the RSA key has 1024 bits; 2048 are the least"),
        (whole(ROOT.issue("", names=()).bundle_pem), "No CN or DNSName"),
    ],
)
def test_what_is_refused(found: SecretParts, words: str) -> None:
    with pytest.raises(BadCertificate) as told:
        read_certificate(found, "default_tls_container_ref")
    assert words in told.value.sentence
    assert "default_tls_container_ref" in told.value.sentence


def spoil_names(payload: bytes) -> bytes:
    """Make the names in a PEM text something that is no UTF-8."""
    blocks = payload.split(b"-----END")
    for n, block in enumerate(blocks[:-1]):
        head, _, text = block.partition(b"-----\n")
        body = base64.b64decode(text.replace(b"\n", b"")).replace(b"Lower", b"\xff\xff\xff\xff\xff")
        blocks[n] = head + b"-----\n" + base64.encodebytes(body)
    return b"-----END".join(blocks)


def test_names_that_cannot_be_read() -> None:
    spoilt = spoil_names(WWW.pem)
    with pytest.raises(BadCertificate, match="sni_container_refs: the certificate is unreadable"):
        read_certificate(whole(WWW.key_pem() + spoilt), "sni_container_refs")
    with pytest.raises(BadCertificate, match="The pool CA certificate is invalid"):
        read_authorities(whole(spoilt), "ca_tls_container_ref")
    with pytest.raises(BadCertificate, match="The pool certificate revocation list is invalid"):
        read_revocations(whole(spoil_names(LOWER.revoke(WWW))), "crl_container_ref")


def test_a_version_that_does_not_exist() -> None:
    version = b"\xa0\x03\x02\x01"
    der = x509.load_pem_x509_certificate(WWW.pem).public_bytes(serialization.Encoding.DER)
    text = base64.encodebytes(der.replace(version + b"\x02", version + b"\x09", 1))
    odd = b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"
    with pytest.raises(BadCertificate, match="a PEM block of a CERTIFICATE is damaged"):
        read_certificate(whole(odd + WWW.key_pem()), "default_tls_container_ref")


def test_no_refusal_repeats_what_was_given() -> None:
    key = WWW.key_pem()
    broken = WWW.pem + key[: len(key) // 2] + b"\n-----END PRIVATE KEY-----\n"
    with pytest.raises(BadCertificate) as told:
        read_certificate(whole(broken), "default_tls_container_ref")
    for line in key.splitlines()[1:-1]:
        assert line.decode() not in told.value.sentence


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (ROOT.issue("old.test", begins=-9 * DAY, ends=-DAY), "expired at"),
        (ROOT.issue("new.test", begins=DAY), "not valid before"),
    ],
)
def test_periods(one: Issued, words: str) -> None:
    bundle = read_certificate(whole(one.bundle_pem), "sni_container_refs")
    with pytest.raises(BadCertificate, match=words):
        check_period(bundle, NOW, "sni_container_refs")
    check_period(read_certificate(whole(WWW.bundle_pem), "x"), NOW, "x")


def test_a_client_certificate_needs_no_name() -> None:
    nameless = ROOT.issue("", names=())
    assert read_certificate(whole(nameless.bundle_pem), "tls_container_ref", needs_names=False).names == ()


def test_authorities_and_revocations() -> None:
    both = read_authorities(whole(ROOT.pem + MIDDLE.pem), "client_ca_tls_container_ref")
    assert subjects(both.content.reveal()) == ["CN=Root", "CN=Middle"]
    lists = ROOT.revoke(MIDDLE) + MIDDLE.revoke(LOWER)
    assert read_revocations(whole(lists), "client_crl_container_ref").content.reveal() == lists
    fields = ("client_crl_container_ref", "client_ca_tls_container_ref")
    check_revocations(whole(lists), whole(ROOT.pem + MIDDLE.pem), *fields)
    with pytest.raises(BadCertificate, match="The CRL specified is not valid for client certificate authority"):
        check_revocations(whole(lists), whole(ROOT.pem), *fields)
    with pytest.raises(BadCertificate, match="The client authentication certificate revocation list is invalid"):
        check_revocations(whole(b"rubbish"), whole(ROOT.pem), *fields)
    with pytest.raises(BadCertificate, match="The client authentication CA certificate is invalid"):
        read_authorities(whole(b"rubbish"), "client_ca_tls_container_ref")


def test_a_list_of_revocations_has_a_period() -> None:
    field, what = "client_crl_container_ref", "list of revocations"
    both = ROOT.revoke() + MIDDLE.revoke(ends=DAY)
    bundle = read_revocations(whole(both), field)
    assert bundle.not_after is not None
    assert abs(bundle.not_after - NOW - DAY) < dt.timedelta(hours=1)
    check_period(bundle, NOW, field, what)
    for late, words in (
        (2 * DAY, "the list of revocations expired at"),
        (-2 * DAY, "list of revocations is not valid b"),
    ):
        with pytest.raises(BadCertificate, match=words) as told:
            check_period(bundle, NOW + late, field, what)
        assert field in told.value.sentence


def test_nothing_prints() -> None:
    bundle = read_certificate(whole(WWW.bundle_pem), "x")
    assert "[redacted]" in repr(bundle)
    assert "PRIVATE" not in repr(bundle) + repr(whole(WWW.bundle_pem))


@pytest.mark.parametrize(
    ("ref", "parsed"),
    [
        ("http://h/key-manager/v1/secrets/8F0E4BDE-0A12-4a7e-9a4e-8f4f1f2d3c4b", "secrets"),
        ("https://h:9311/v1/containers/8f0e4bde-0a12-4a7e-9a4e-8f4f1f2d3c4b/", "containers"),
        ("8f0e4bde-0a12-4a7e-9a4e-8f4f1f2d3c4b", ""),
        ("http://h/v1/secrets/x", ""),
        ("http://h/v1/secrets/8f0e4bde-0a12-4a7e-9a4e-8f4f1f2d3c4b/payload", ""),
    ],
)
def test_references(ref: str, parsed: str) -> None:
    assert (parse_reference(ref) or ("",))[0] == parsed
