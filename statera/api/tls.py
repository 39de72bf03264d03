"""TLS options of listeners and pools: what goes with what, and the certificates that references lead to.

Two kinds of checks. Those of `check_listener_tls` and `check_pool_tls` see the whole wanted object and nothing else;
those of `check_listener_secrets` and `check_pool_secrets` fetch what a request refers to and read it.
"""

import asyncio
import re
import ssl
from collections.abc import Iterable, Mapping
from typing import cast

import msgspec
from msgspec import UNSET

from statera.api.call import Call
from statera.api.keymanager import reader_of
from statera.api.unsupported import refuse_option
from statera.api.wire import Wire
from statera.base.errors import Refusal, Refused
from statera.base.settings import TlsSettings
from statera.model.certificate_strength import check_chain, check_strength
from statera.model.certificates import (
    check_period,
    check_revocations,
    read_authorities,
    read_certificate,
    read_revocations,
)
from statera.model.enums import TLS_VERSIONS, ClientAuthentication, ListenerProtocol
from statera.model.secrets import SecretParts
from statera.model.tree import Listener, Pool

ALPN_PROTOCOLS = ("h2", "http/1.1", "http/1.0")
TERMS = ("tls_ciphers", "tls_versions", "alpn_protocols")
_CIPHER_CHARACTERS = re.compile(r"[A-Za-z0-9\-+!:@=_.]+")
_SUITES = frozenset(
    {
        "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_CCM_SHA256",
        "TLS_AES_128_CCM_8_SHA256",
    }
)  # fmt: skip
"""All of TLS 1.3."""
_USUAL_SUITES = ("TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256")


# Whole objects


def fill_listener_terms(listener: Listener, settings: TlsSettings) -> Listener:
    """Return the listener with the defaults of what it does not say."""
    if listener.protocol != ListenerProtocol.TERMINATED_HTTPS and not _is_scraped_with_tls(listener):
        return listener
    return msgspec.structs.replace(
        listener,
        tls_ciphers=listener.tls_ciphers or settings.listener_ciphers,
        tls_versions=settings.listener_versions if listener.tls_versions is None else listener.tls_versions,
        alpn_protocols=settings.listener_alpn_protocols if listener.alpn_protocols is None else listener.alpn_protocols,
    )


def fill_pool_terms(pool: Pool, settings: TlsSettings, *, keeps_alpn: bool = False) -> Pool:
    """Return the pool with the defaults of what it does not say; `keeps_alpn`: it said that it wants none."""
    if not pool.tls_enabled:
        return pool
    alpn = settings.pool_alpn_protocols if pool.alpn_protocols is None and not keeps_alpn else pool.alpn_protocols
    return msgspec.structs.replace(
        pool,
        tls_ciphers=pool.tls_ciphers or settings.pool_ciphers,
        tls_versions=settings.pool_versions if pool.tls_versions is None else pool.tls_versions,
        alpn_protocols=alpn,
    )


def check_listener_tls(listener: Listener, settings: TlsSettings) -> None:
    """Refuse (INVALID, UNSUPPORTED) options that do not go together."""
    if listener.protocol == ListenerProtocol.TERMINATED_HTTPS and not settings.allow_terminated_listeners:
        raise Refused(
            Refusal.INVALID,
            f"The selected protocol is not allowed in this deployment: {ListenerProtocol.TERMINATED_HTTPS}",
        )
    if listener.protocol == ListenerProtocol.TERMINATED_HTTPS or _is_scraped_with_tls(listener):
        _check_certificates(listener)
        _check_client_authentication(listener)
    _check_terms(listener, settings)
    if listener.hsts_max_age is not None and listener.protocol != ListenerProtocol.TERMINATED_HTTPS:
        raise _invalid("The HSTS feature can only be used for listeners using the TERMINATED_HTTPS protocol.")


def check_hsts(wire: Wire, listener: Listener, *, is_new: bool) -> None:
    """Refuse (INVALID) options of HSTS that are asked for without it."""
    asked = any(getattr(wire, name) is True for name in ("hsts_include_subdomains", "hsts_preload"))
    if asked and listener.hsts_max_age is None:
        raise _invalid(
            "HSTS configuration options hsts_include_subdomains and hsts_preload only make sense if hsts_max_age is "
            "set as well."
            if is_new
            else "Cannot enable hsts_include_subdomains or hsts_preload if hsts_max_age was not set as well."
        )


def _is_scraped_with_tls(listener: Listener) -> bool:
    """Say whether a PROMETHEUS listener is asked to end TLS: with it that is a choice."""
    asked = (
        listener.default_tls_container_ref,
        listener.sni_container_refs,
        listener.client_ca_tls_container_ref,
        listener.client_crl_container_ref,
        listener.client_authentication != ClientAuthentication.NONE,
    )
    return listener.protocol == ListenerProtocol.PROMETHEUS and any(asked)


def _check_certificates(listener: Listener) -> None:
    if listener.default_tls_container_ref or listener.sni_container_refs:
        return
    if listener.client_ca_tls_container_ref:
        raise _invalid(
            "An SNI or default certificate container reference must be provided with a client CA container reference."
        )
    raise _invalid(
        "An SNI or default certificate container reference must be provided for "
        f"{listener.protocol}{' with TLS' if listener.protocol == ListenerProtocol.PROMETHEUS else ''} protocol "
        "listeners."
    )


def _check_client_authentication(listener: Listener) -> None:
    has_authority = bool(listener.client_ca_tls_container_ref)
    if listener.client_authentication != ClientAuthentication.NONE and not has_authority:
        raise _invalid(
            f"Client authentication setting {listener.client_authentication} requires a client CA container reference."
        )
    if listener.client_crl_container_ref and not has_authority:
        raise _invalid(
            "A client authentication CA reference is required to specify a client authentication revocation list."
        )


def check_pool_tls(pool: Pool, settings: TlsSettings, *, is_new: bool) -> None:
    """Refuse (INVALID, UNSUPPORTED) options that do not go together."""
    if pool.crl_container_ref and not pool.ca_tls_container_ref:
        raise _invalid(
            "A CA certificate reference is required to specify a revocation list."
            if is_new
            else "A CA reference is required to specify a certificate revocation list."
        )
    _check_terms(pool, settings)


def check_authority_stays(before: Pool, after: Pool) -> None:
    """Refuse (INVALID) to take the CA from a pool whose revocations need it."""
    if before.ca_tls_container_ref and not after.ca_tls_container_ref and after.crl_container_ref:
        raise _invalid("A CA reference cannot be removed when a certificate revocation list is present.")


def _check_terms(wanted: Listener | Pool, settings: TlsSettings) -> None:
    _check_ciphers(wanted, settings)
    _check_versions(wanted.tls_versions, settings)
    if wanted.alpn_protocols is not None:
        if not wanted.alpn_protocols:
            raise _invalid(
                "Empty ALPN protocol list. Name at least one protocol, or leave the list out to have the default."
            )
        unknown = [name for name in wanted.alpn_protocols if name not in ALPN_PROTOCOLS]
        if unknown:
            raise refuse_option(f"alpn_protocols {unknown}")


def _check_ciphers(wanted: Listener | Pool, settings: TlsSettings) -> None:
    ciphers = wanted.tls_ciphers
    if not ciphers:
        return
    if not _CIPHER_CHARACTERS.fullmatch(ciphers):
        raise _invalid(
            "Invalid characters in cipher string. Only alphanumeric, -, +, !, :, @, =, _, and . are allowed."
        )
    names = [name for name in ciphers.split(":") if name]
    suites = [name for name in names if name.startswith("TLS_")]
    others = [name for name in names if not name.startswith("TLS_")]
    known = _list_known(":".join(others)) if others else []
    is_unknown = bool(others) and not known
    if not suites and "TLSv1.3" in (wanted.tls_versions or ()):
        # Who names none of TLS 1.3 has what OpenSSL takes then.
        known += _USUAL_SUITES
    prohibited = [name for name in dict.fromkeys((*names, *known)) if name in settings.cipher_prohibit_list]
    if prohibited:
        raise _invalid(f"The following ciphers have been prohibited by an administrator: {', '.join(prohibited)}")
    if any(name not in _SUITES for name in suites) or is_unknown or not names:
        raise Refused(Refusal.INVALID, f"{ciphers} is not a valid option for tls_ciphers")


def _list_known(ciphers: str) -> list[str]:
    """Return what OpenSSL makes of a list before TLS 1.3, by the full names; nothing when it knows none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        return []
    return [str(one["name"]) for one in context.get_ciphers() if not str(one["name"]).startswith("TLS_")]


def _check_versions(versions: tuple[str, ...] | None, settings: TlsSettings) -> None:
    if versions is None:
        return
    if not versions:
        raise _invalid("Empty TLS version list. Name at least one version, or leave the list out to have the default.")
    unknown = [name for name in versions if name not in TLS_VERSIONS]
    if unknown:
        raise _invalid(f"Invalid TLS versions: {', '.join(unknown)}")
    least = TLS_VERSIONS.index(settings.minimum_version)
    low = [name for name in versions if TLS_VERSIONS.index(name) < least]
    if low:
        raise _invalid(
            f"Requested TLS versions are less than the minimum: {', '.join(low)} < {settings.minimum_version}"
        )
    places = sorted({TLS_VERSIONS.index(name) for name in versions})
    if places != list(range(places[0], places[-1] + 1)):
        # HAProxy takes a range; one without the gap would allow what was left out.
        raise refuse_option("tls_versions with a gap between them")


# What references lead to


async def check_listener_secrets(call: Call, wire: Wire, stored: Listener | None = None) -> None:
    """Fetch and read what a request's references lead to. Refuses (INVALID) naming the reference or the field."""
    servers = [(name, ref) for name, ref in _list_refs(wire, ("default_tls_container_ref",))]
    servers += [("sni_container_refs", ref) for ref in getattr(wire, "sni_container_refs", None) or ()]
    fields = ("client_ca_tls_container_ref", "client_crl_container_ref")
    await _check(call, wire, stored, servers, *fields)


async def check_pool_secrets(call: Call, wire: Wire, stored: Pool | None = None) -> None:
    """Likewise for a pool, whose certificate is a client's and needs no name."""
    clients = list(_list_refs(wire, ("tls_container_ref",)))
    await _check(call, wire, stored, clients, "ca_tls_container_ref", "crl_container_ref", needs_names=False)


def names_authority(wire: Wire, *fields: str) -> bool:
    """Say whether a request names a CA or revocations, which must go with what is stored."""
    return any(bool(getattr(wire, name, None)) for name in fields)


async def _check(
    call: Call,
    wire: Wire,
    stored: Listener | Pool | None,
    certificates: list[tuple[str, str]],
    authority: str,
    revocations: str,
    *,
    needs_names: bool = True,
) -> None:
    named = dict(_list_refs(wire, (authority, revocations)))
    given = [ref for _, ref in certificates] + list(named.values())
    if not given:
        return
    # A new list must be of the authority that stays, and one that stays of a new authority.
    unsaid = [name for name in (authority, revocations) if getattr(wire, name, UNSET) is UNSET]
    kept = {name: getattr(stored, name) for name in unsaid if stored is not None}
    both = named | {name: ref for name, ref in kept.items() if ref and named}
    found = await _fetch(call, [*given, *both.values()], given)
    now = call.room.clock.now()
    for field, ref in certificates:
        certificate = read_certificate(found[ref], field, needs_names=needs_names)
        check_period(certificate, now, field)
        check_strength(certificate, field)
        check_chain(found[ref], certificate, field)
    if authority in both:
        bundle = read_authorities(found[both[authority]], authority)
        if authority in named:
            check_period(bundle, now, authority)
        if revocations in both:
            check_revocations(found[both[revocations]], found[both[authority]], revocations, authority)
            if revocations in named:
                lists = read_revocations(found[both[revocations]], revocations)
                check_period(lists, now, revocations, "list of revocations")


def _list_refs(wire: Wire, fields: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in fields:
        ref = getattr(wire, name, UNSET)
        if ref:
            yield name, cast(str, ref)


async def _fetch(call: Call, refs: Iterable[str], granted: list[str]) -> Mapping[str, SecretParts]:
    secrets = call.room.secrets
    if secrets is None:
        raise refuse_option("certificates: this installation has no store of secrets")
    reader, wanted = reader_of(call), list(dict.fromkeys(refs))
    # What stays was let in before, perhaps by somebody else.
    asked = [secrets.observe_secret(ref, reader if ref in granted else None) for ref in wanted]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    missing = [ref for ref, answer in zip(wanted, answers, strict=True) if isinstance(answer, Refused)]
    if missing:
        raise Refused(Refusal.INVALID, f"Could not retrieve certificate: {missing}", slug="secret-not-found")
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    await secrets.ensure_access(list(dict.fromkeys(granted)), reader)
    return dict(zip(wanted, cast(list[SecretParts], answers), strict=True))


def _invalid(detail: str) -> Refused:
    return Refused(Refusal.INVALID, f"Validation failure: {detail}")
