"""What the contract knows and a protocol cannot have, or this provider does not do yet.

Asked with the values that mean "not wanted", they are accepted: clients send those.
"""

from typing import Any

from msgspec import UNSET

from statera.api.wire import Wire
from statera.base.errors import Refusal, Refused
from statera.model.enums import ClientAuthentication, ListenerProtocol, Topology

SERVED_TOPOLOGIES = (Topology.SINGLE, Topology.ACTIVE_STANDBY)
TLS_OFFLOAD = (ListenerProtocol.TERMINATED_HTTPS, ListenerProtocol.PROMETHEUS)
_CERTIFICATES = ("default_tls_container_ref", "sni_container_refs", "client_ca_tls_container_ref")
_NOT_WANTED: tuple[Any, ...] = (UNSET, None, (), False, "NONE", {})


def refuse_option(why: str) -> Refused:
    """Return the refusal (501) of an option."""
    return Refused(Refusal.UNSUPPORTED, why)


def check_listener_options(wire: Wire, protocol: ListenerProtocol, *, is_new: bool) -> None:
    """Refuse (INVALID) what this protocol cannot have."""
    if protocol not in TLS_OFFLOAD:
        _check_plain_listener(wire, protocol, is_new=is_new)


def _check_plain_listener(wire: Wire, protocol: ListenerProtocol, *, is_new: bool) -> None:
    if any(getattr(wire, name, UNSET) not in _NOT_WANTED for name in _CERTIFICATES):
        if protocol in (ListenerProtocol.UDP, ListenerProtocol.SCTP):
            more = "" if is_new else " or header insertion"
            raise _invalid(f"{protocol} protocol listener does not support TLS{more}.")
        raise _invalid(f"Certificate container references are not allowed on {protocol} protocol listeners.")
    mode = getattr(wire, "client_authentication", UNSET)
    if mode not in _NOT_WANTED:
        raise _invalid(f"Client authentication setting {mode} requires a client CA container reference.")
    if getattr(wire, "client_crl_container_ref", UNSET) not in _NOT_WANTED:
        raise _invalid(
            "A client authentication CA reference is required to specify a client authentication revocation list."
        )
    if any(
        getattr(wire, f"hsts_{name}", UNSET) not in _NOT_WANTED for name in ("max_age", "include_subdomains", "preload")
    ):
        raise _invalid("The HSTS feature can only be used for listeners using the TERMINATED_HTTPS protocol.")


def _invalid(detail: str) -> Refused:
    return Refused(Refusal.INVALID, f"Validation failure: {detail}")


LISTENER_NULLS: dict[str, Any] = {
    "sni_container_refs": (),
    "client_authentication": ClientAuthentication.NONE,
    "hsts_include_subdomains": False,
    "hsts_preload": False,
}
"""What null means for the TLS attributes that have no null."""
