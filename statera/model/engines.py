"""Which program serves which listener. Pure: from the protocol and from what the host says that it has."""

import enum
from collections.abc import Collection

from statera.base.reason import Reason
from statera.model.enums import ListenerProtocol


class EngineName(enum.StrEnum):
    """The programs that carry traffic, as a host names them among its versions."""

    HAPROXY = "haproxy"
    NGINX = "nginx"
    LVS = "ipvs"


SCTP = "sctp"
"""Named among the versions of a host whose kernel speaks it."""
EXPORTER = "prometheus-exporter"
"""Named among the versions of a host whose HAProxy was built with it."""
DATAGRAM_PROTOCOLS = (ListenerProtocol.UDP, ListenerProtocol.SCTP)
COMMON_ENGINES = (EngineName.HAPROXY, EngineName.NGINX, EXPORTER)
"""Of a host as the installation leaves it."""


def choose_engine(protocol: ListenerProtocol, engines: Collection[str]) -> EngineName | Reason:
    """Return the engine for a listener on a host that has these, or the reason why there is none."""
    if protocol not in DATAGRAM_PROTOCOLS:
        return EngineName.HAPROXY
    if protocol == ListenerProtocol.UDP:
        for engine in (EngineName.LVS, EngineName.NGINX):
            if engine in engines:
                return engine
        return _missing("A UDP listener needs nginx with its stream module, or IPVS in the kernel and keepalived.")
    if EngineName.LVS not in engines:
        return _missing("An SCTP listener needs IPVS in the kernel and keepalived.")
    if SCTP not in engines:
        return _missing("An SCTP listener needs SCTP in the kernel.")
    return EngineName.LVS


def _missing(sentence: str) -> Reason:
    return Reason(slug="engine-missing", sentence=f"{sentence} The host lacks it.")
