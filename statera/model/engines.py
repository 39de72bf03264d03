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
NEEDS = {
    ListenerProtocol.UDP: "nginx with its stream module, or IPVS in the kernel and keepalived",
    ListenerProtocol.SCTP: "IPVS in the kernel and keepalived, and SCTP in the kernel",
}
"""What a host must have for datagrams."""
COMMON_ENGINES = (EngineName.HAPROXY, EngineName.NGINX, EXPORTER)
"""Of a host as the installation leaves it."""


def choose_engine(protocol: ListenerProtocol, engines: Collection[str]) -> EngineName | Reason:
    """Return the engine for a listener on a host that has these, or the reason why there is none."""
    if protocol not in DATAGRAM_PROTOCOLS:
        return EngineName.HAPROXY
    able = (EngineName.LVS, EngineName.NGINX) if protocol == ListenerProtocol.UDP else (EngineName.LVS,)
    engine = next((engine for engine in able if engine in engines), None)
    if engine is not None and (protocol != ListenerProtocol.SCTP or SCTP in engines):
        return engine
    article = "A" if protocol == ListenerProtocol.UDP else "An"
    sentence = f"{article} {protocol} listener needs {NEEDS[protocol]}. The host lacks it."
    return Reason(slug="engine-missing", sentence=sentence)
