"""The TLS words of a document, for clients and for members, and the files that they name.

A listener's certificates are the files of a folder, which HAProxy reads in the order of their names: the first serves
names that no other has. Files are named by their place, not by their content: one that is replaced keeps its name, so
that HAProxy can take the new content while it runs.
"""

from collections.abc import Iterable, Iterator, Sequence

from statera.model.document import FilePart
from statera.model.enums import TLS_VERSIONS, ClientAuthentication
from statera.model.spec import ListenerSpec, ListenerTlsSpec, PoolSpec, PoolTlsSpec
from statera.render import tokens
from statera.render.paths import HaproxyPaths

ALPN_PROTOCOLS = ("h2", "http/1.1", "http/1.0")
SUITE = "TLS_"
"""Names of ciphers of TLS 1.3 begin so; HAProxy has a keyword of their own for them."""
_NOT_BEFORE_1_3 = "TLSv1.3"

CLIENT_HEADERS = {
    "X-SSL-Client-Verify": "%[ssl_c_verify]",
    "X-SSL-Client-Has-Cert": "%[ssl_c_used]",
    "X-SSL-Client-DN": "%{+Q}[ssl_c_s_dn]",
    "X-SSL-Client-CN": "%{+Q}[ssl_c_s_dn(cn)]",
    "X-SSL-Issuer": "%{+Q}[ssl_c_i_dn]",
    "X-SSL-Client-SHA1": "%{+Q}[ssl_c_sha1,hex]",
    "X-SSL-Client-Not-Before": "%{+Q}[ssl_c_notbefore]",
    "X-SSL-Client-Not-After": "%{+Q}[ssl_c_notafter]",
}
"""What members are told of the client's certificate (`contract/enums.json`, insert_headers)."""


# Clients


def list_bind_words(listener: ListenerSpec, paths: HaproxyPaths) -> Iterator[str]:
    """Yield what follows the address on a `bind` line; nothing for a listener that does not end TLS."""
    tls = listener.tls
    if tls is None:
        return
    yield f"ssl crt {paths.tls_file(str(tokens.name(listener.id)))}/"
    if tls.client_authentication != ClientAuthentication.NONE and tls.authorities is not None:
        yield f"ca-file {paths.tls_file(_authorities(listener.id))}"
        if tls.revocations is not None:
            yield f"crl-file {paths.tls_file(_revocations(listener.id))}"
        yield "verify required" if tls.client_authentication == ClientAuthentication.MANDATORY else "verify optional"
        yield "no-tls-tickets"
    yield from _term_words(tls, tls.alpn_protocols)


def list_session_lines(listeners: Iterable[ListenerSpec]) -> Iterator[str]:
    """Yield the lines of the global section that keep sessions from being resumed where clients are verified.

    A session that is resumed is not verified again: who was revoked would come back for minutes (tune.ssl.lifetime).
    Tickets are a bind line's, the cache of sessions, which few clients use, is the process's.
    """
    verified = (one.tls for one in listeners if one.tls is not None and one.tls.authorities is not None)
    if any(tls.client_authentication != ClientAuthentication.NONE for tls in verified):
        yield "    tune.ssl.cachesize 0"


def list_response_lines(listener: ListenerSpec) -> Iterator[str]:
    """Yield the lines of a frontend that add to answers."""
    if listener.tls is not None and listener.tls.hsts is not None:
        # Also to those that HAProxy gives itself.
        value = tokens.format_literal(listener.tls.hsts, "hsts")
        yield f"    http-after-response set-header Strict-Transport-Security {value}"


def list_client_lines(listener: ListenerSpec) -> Iterator[str]:
    """Yield the lines of a backend that tell members of the client's certificate."""
    if listener.tls is not None:
        for name, value in CLIENT_HEADERS.items():
            if name in listener.insert_headers:
                yield f"    http-request set-header {name} {value}"


def list_listener_files(listener: ListenerSpec) -> Iterator[FilePart]:
    """Yield the files that a listener's bind lines name."""
    tls = listener.tls
    if tls is None:
        return
    folder = str(tokens.name(listener.id))
    for number, digest in enumerate(tls.certificates):
        yield FilePart(name=f"{folder}/{number:04}.pem", digest=digest)
    if tls.client_authentication != ClientAuthentication.NONE and tls.authorities is not None:
        yield FilePart(name=_authorities(listener.id), digest=tls.authorities, kind="authorities")
        if tls.revocations is not None:
            yield FilePart(name=_revocations(listener.id), digest=tls.revocations, kind="revocations")


# Members


def list_server_words(pool: PoolSpec, paths: HaproxyPaths, *, is_http: bool) -> Iterator[str]:
    """Yield the words of `server` lines; nothing for a pool without TLS."""
    tls = pool.tls
    if tls is None:
        return
    yield "ssl"
    if tls.authorities is None:
        yield "verify none"
    else:
        yield f"verify required ca-file {paths.tls_file(_authorities(pool.id))}"
        if tls.revocations is not None:
            yield f"crl-file {paths.tls_file(_revocations(pool.id))}"
    if tls.certificate is not None:
        yield f"crt {paths.tls_file(_certificate(pool.id))}"
    # In a stream the protocol is the client's choice: nobody here could speak another one with the member.
    yield from _term_words(tls, tls.alpn_protocols if is_http else ())


def list_pool_files(pool: PoolSpec) -> Iterator[FilePart]:
    """Yield the files that a pool's servers name."""
    tls = pool.tls
    if tls is None:
        return
    if tls.certificate is not None:
        yield FilePart(name=_certificate(pool.id), digest=tls.certificate)
    if tls.authorities is not None:
        yield FilePart(name=_authorities(pool.id), digest=tls.authorities, kind="authorities")
        if tls.revocations is not None:
            yield FilePart(name=_revocations(pool.id), digest=tls.revocations, kind="revocations")


# Both


def _term_words(tls: ListenerTlsSpec | PoolTlsSpec, alpn: Sequence[str]) -> Iterator[str]:
    suites, ciphers = _split_ciphers(tls.ciphers)
    versions = [tokens.one_of(name, TLS_VERSIONS, "tls_versions") for name in tls.versions]
    if suites and not ciphers:
        # Nothing that was asked for is spoken before it.
        versions = [name for name in versions if name == _NOT_BEFORE_1_3] or versions
    if versions:
        ordered = sorted(versions, key=TLS_VERSIONS.index)
        yield f"ssl-min-ver {ordered[0]} ssl-max-ver {ordered[-1]}"
    if ciphers:
        yield f"ciphers {tokens.ciphers(ciphers)}"
    if suites:
        yield f"ciphersuites {tokens.ciphers(suites)}"
    if alpn:
        yield "alpn " + ",".join(tokens.one_of(name, ALPN_PROTOCOLS, "alpn_protocols") for name in alpn)


def _split_ciphers(ciphers: str) -> tuple[str, str]:
    """Return those of TLS 1.3, and the rest."""
    names = [name for name in ciphers.split(":") if name]
    suites = [name for name in names if name.startswith(SUITE)]
    return ":".join(suites), ":".join(name for name in names if not name.startswith(SUITE))


def _certificate(owner_id: str) -> str:
    return f"{tokens.name(owner_id)}.pem"


def _authorities(owner_id: str) -> str:
    return f"{tokens.name(owner_id)}.ca.pem"


def _revocations(owner_id: str) -> str:
    return f"{tokens.name(owner_id)}.crl.pem"
