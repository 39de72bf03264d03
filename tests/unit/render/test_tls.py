"""Certificates that change: which commands bring them to a running HAProxy, and what nothing but a reload does."""

import pytest

from statera.model.document import Document, FileKind, FilePart, TextPart
from statera.model.enums import ListenerProtocol
from statera.model.spec import ListenerSpec, ListenerTlsSpec
from statera.render.change import Reload, RuntimeChange, Unchanged, decide_change
from statera.render.engine import haproxy_capabilities
from statera.render.paths import SANDBOX_PATHS
from statera.render.tls import list_bind_words
from statera.render.tokens import BadToken

ENGINE = haproxy_capabilities("2.6.12")
TLS = "/run/statera-amphora/tls"


def document(*files: FilePart, text: str = "frontend web\n") -> Document:
    return Document(parts=(TextPart(text=text), *files))


def certificate(number: int, digest: str) -> FilePart:
    return FilePart(name=f"web/{number:04}.pem", digest=digest)


def commands(live: Document, wanted: Document) -> list[str]:
    change = decide_change(live, wanted, ENGINE)
    assert isinstance(change, RuntimeChange), change
    return [f"{command.text} [{command.file}]" if command.file else command.text for command in change.commands]


def test_nothing_changes() -> None:
    assert decide_change(document(certificate(0, "a")), document(certificate(0, "a")), ENGINE) == Unchanged()


@pytest.mark.parametrize(
    ("part", "keyword"),
    [
        (certificate(0, "old"), "cert"),
        (FilePart(name="web.ca.pem", digest="old", kind="authorities"), "ca-file"),
        (FilePart(name="web.crl.pem", digest="old", kind="revocations"), "crl-file"),
        (FilePart(name="pool.pem", digest="old"), "cert"),
    ],
)
def test_a_new_content_under_the_old_name(part: FilePart, keyword: str) -> None:
    after = FilePart(name=part.name, digest="new", kind=part.kind)
    # Who has CA certificates has a certificate, too; it stays.
    beside = certificate(1, "b")
    assert commands(document(part, beside), document(after, beside)) == [
        f"set ssl {keyword} {TLS}/{part.name} [{part.name}]",
        f"commit ssl {keyword} {TLS}/{part.name}",
    ]


@pytest.mark.parametrize("kind", ["authorities", "revocations"])
def test_members_that_are_shown_no_certificate_are_verified_anew_by_a_reload(kind: FileKind) -> None:
    before, after = (FilePart(name="pool.ca.pem", digest=digest, kind=kind) for digest in ("old", "new"))
    others = (certificate(0, "a"), FilePart(name="other.pem", digest="b"))
    change = decide_change(document(before, *others), document(after, *others), ENGINE)
    assert isinstance(change, Reload)
    assert "shown no certificate" in change.why
    own = FilePart(name="pool.pem", digest="c")
    assert isinstance(decide_change(document(before, own), document(after, own), ENGINE), RuntimeChange)


def test_certificates_of_a_listener_come_and_go() -> None:
    one, two = certificate(0, "a"), certificate(1, "b")
    assert commands(document(one), document(one, two)) == [
        f"new ssl cert {TLS}/web/0001.pem",
        f"set ssl cert {TLS}/web/0001.pem [web/0001.pem]",
        f"commit ssl cert {TLS}/web/0001.pem",
        f"add ssl crt-list {TLS}/web {TLS}/web/0001.pem",
    ]
    assert commands(document(one, two), document(one)) == [
        f"del ssl crt-list {TLS}/web {TLS}/web/0001.pem",
        f"del ssl cert {TLS}/web/0001.pem",
    ]


def test_other_words_need_a_reload() -> None:
    live, wanted = document(certificate(0, "a")), document(certificate(0, "b"), text="frontend other\n")
    assert isinstance(decide_change(live, wanted, ENGINE), Reload)


def test_a_digest_tells_documents_apart() -> None:
    assert document(certificate(0, "a")).digest() != document(certificate(0, "b")).digest()


def listener(**tls: object) -> ListenerSpec:
    values = {"certificates": ("a",), "versions": ("TLSv1.2", "TLSv1.3"), "ciphers": ""} | tls
    return ListenerSpec(
        id="web",
        protocol=ListenerProtocol.TERMINATED_HTTPS,
        port=443,
        addresses=("192.0.2.1",),
        max_connections=1,
        timeout_client_ms=1,
        timeout_connect_ms=1,
        timeout_server_ms=1,
        tls=ListenerTlsSpec(**values),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("versions", "ciphers", "words"),
    [
        (("TLSv1.2",), "A:B", "ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.2 ciphers A:B"),
        (("TLSv1.3", "TLSv1.2"), "TLS_X:A", "ssl-min-ver TLSv1.2 ssl-max-ver TLSv1.3 ciphers A ciphersuites TLS_X"),
        # Without a cipher for TLS 1.2 there is no TLS 1.2: HAProxy would take its own list.
        (("TLSv1.2", "TLSv1.3"), "TLS_X", "ssl-min-ver TLSv1.3 ssl-max-ver TLSv1.3 ciphersuites TLS_X"),
    ],
)
def test_versions_and_ciphers(versions: tuple[str, ...], ciphers: str, words: str) -> None:
    told = " ".join(list_bind_words(listener(versions=versions, ciphers=ciphers), SANDBOX_PATHS))
    assert told == f"ssl crt {TLS}/web/ {words}"


@pytest.mark.parametrize(
    "tls",
    [{"ciphers": "A B"}, {"ciphers": "A\nB"}, {"versions": ("TLSv1.2 x",)}, {"alpn_protocols": ("h2 x",)}],
)
def test_no_text_gets_out_of_its_word(tls: dict[str, object]) -> None:
    with pytest.raises(BadToken):
        list(list_bind_words(listener(**tls), SANDBOX_PATHS))
