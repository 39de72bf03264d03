"""TLS of listeners and pools as `render/` reads it: references become digests of what they lead to."""

from collections.abc import Iterator, Mapping

from statera.base.errors import Lasting
from statera.model.document import FileKind
from statera.model.enums import ClientAuthentication, ListenerProtocol
from statera.model.spec import ListenerTlsSpec, PoolTlsSpec
from statera.model.tree import Listener, Pool

VERSIONS = ("TLSv1.2", "TLSv1.3")
"""For an object that says none: it is older than the defaults of the API."""


def list_own_references(owner: Listener | Pool) -> Iterator[tuple[str, FileKind]]:
    """Yield each reference that an object's TLS needs, with the kind of content it leads to."""
    if isinstance(owner, Pool):
        if owner.tls_enabled:
            if owner.tls_container_ref:
                yield owner.tls_container_ref, "certificate"
            yield from _list_authority(owner.ca_tls_container_ref, owner.crl_container_ref)
        return
    if not _ends_tls(owner):
        return
    for ref in _list_certificates(owner):
        yield ref, "certificate"
    if owner.client_authentication != ClientAuthentication.NONE:
        yield from _list_authority(owner.client_ca_tls_container_ref, owner.client_crl_container_ref)


def _list_authority(authority: str | None, revocations: str | None) -> Iterator[tuple[str, FileKind]]:
    if authority:
        yield authority, "authorities"
        if revocations:
            yield revocations, "revocations"


def _list_certificates(listener: Listener) -> tuple[str, ...]:
    """Return the references of a listener's certificates, the default one first, each once."""
    first = (listener.default_tls_container_ref,) if listener.default_tls_container_ref else ()
    return tuple(dict.fromkeys((*first, *listener.sni_container_refs)))


def _ends_tls(listener: Listener) -> bool:
    if listener.protocol == ListenerProtocol.PROMETHEUS:
        return bool(_list_certificates(listener))
    return listener.protocol == ListenerProtocol.TERMINATED_HTTPS


def lacks_certificates(listener: Listener) -> bool:
    """Say whether a listener would have to end TLS with nothing to show."""
    return listener.protocol == ListenerProtocol.TERMINATED_HTTPS and not _list_certificates(listener)


def decide_listener_tls(listener: Listener, digests: Mapping[str, str]) -> ListenerTlsSpec | None:
    """Return how a listener speaks TLS, None for one that does not end it. Raises `Lasting`."""
    if not _ends_tls(listener):
        return None
    return ListenerTlsSpec(
        certificates=tuple(_find(ref, digests) for ref in _list_certificates(listener)),
        client_authentication=listener.client_authentication,
        authorities=_find_some(listener.client_ca_tls_container_ref, digests)
        if listener.client_authentication != ClientAuthentication.NONE
        else None,
        revocations=_find_some(listener.client_crl_container_ref, digests)
        if listener.client_authentication != ClientAuthentication.NONE
        else None,
        versions=listener.tls_versions or VERSIONS,
        ciphers=listener.tls_ciphers or "",
        alpn_protocols=listener.alpn_protocols or (),
        hsts=_decide_hsts(listener),
    )


def _decide_hsts(listener: Listener) -> str | None:
    if listener.hsts_max_age is None:
        return None
    more = " includeSubDomains;" if listener.hsts_include_subdomains else ""
    return f"max-age={listener.hsts_max_age};{more}" + (" preload;" if listener.hsts_preload else "")


def decide_pool_tls(pool: Pool, digests: Mapping[str, str]) -> PoolTlsSpec | None:
    """Return how a pool's members are spoken to, None for no TLS. Raises `Lasting`."""
    if not pool.tls_enabled:
        return None
    return PoolTlsSpec(
        certificate=_find_some(pool.tls_container_ref, digests),
        authorities=_find_some(pool.ca_tls_container_ref, digests),
        revocations=_find_some(pool.crl_container_ref, digests),
        versions=pool.tls_versions or VERSIONS,
        ciphers=pool.tls_ciphers or "",
        alpn_protocols=pool.alpn_protocols or (),
    )


def _find_some(ref: str | None, digests: Mapping[str, str]) -> str | None:
    return _find(ref, digests) if ref else None


def _find(ref: str, digests: Mapping[str, str]) -> str:
    digest = digests.get(ref)
    if digest is None:
        raise Lasting("secret-not-found", f"Nothing is known of what {ref} leads to.")
    return digest
