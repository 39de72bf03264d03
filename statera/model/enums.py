"""Enumerations of the Load Balancer API v2, with its spelling. Source: `contract/enums.json`."""

import enum


class ProvisioningStatus(enum.StrEnum):
    """How far what is wanted has been applied."""

    ACTIVE = "ACTIVE"
    DELETED = "DELETED"
    ERROR = "ERROR"
    PENDING_CREATE = "PENDING_CREATE"
    PENDING_UPDATE = "PENDING_UPDATE"
    PENDING_DELETE = "PENDING_DELETE"


class OperatingStatus(enum.StrEnum):
    """How it fares in traffic."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    DEGRADED = "DEGRADED"
    ERROR = "ERROR"
    DRAINING = "DRAINING"
    NO_MONITOR = "NO_MONITOR"


class ListenerProtocol(enum.StrEnum):
    HTTP = "HTTP"
    HTTPS = "HTTPS"
    PROMETHEUS = "PROMETHEUS"
    SCTP = "SCTP"
    TCP = "TCP"
    TERMINATED_HTTPS = "TERMINATED_HTTPS"
    UDP = "UDP"


class PoolProtocol(enum.StrEnum):
    HTTP = "HTTP"
    HTTPS = "HTTPS"
    PROXY = "PROXY"
    PROXYV2 = "PROXYV2"
    SCTP = "SCTP"
    TCP = "TCP"
    UDP = "UDP"


class Algorithm(enum.StrEnum):
    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_CONNECTIONS = "LEAST_CONNECTIONS"
    SOURCE_IP = "SOURCE_IP"
    SOURCE_IP_PORT = "SOURCE_IP_PORT"


class PersistenceType(enum.StrEnum):
    SOURCE_IP = "SOURCE_IP"
    HTTP_COOKIE = "HTTP_COOKIE"
    APP_COOKIE = "APP_COOKIE"


class MonitorType(enum.StrEnum):
    HTTP = "HTTP"
    HTTPS = "HTTPS"
    PING = "PING"
    TCP = "TCP"
    TLS_HELLO = "TLS-HELLO"
    UDP_CONNECT = "UDP-CONNECT"
    SCTP = "SCTP"


class HttpMethod(enum.StrEnum):
    GET = "GET"
    HEAD = "HEAD"
    POST = "POST"
    PUT = "PUT"
    DELETE = "DELETE"
    TRACE = "TRACE"
    OPTIONS = "OPTIONS"
    CONNECT = "CONNECT"
    PATCH = "PATCH"


class L7Action(enum.StrEnum):
    """What happens to a request that meets a policy."""

    REJECT = "REJECT"
    REDIRECT_TO_URL = "REDIRECT_TO_URL"
    REDIRECT_TO_POOL = "REDIRECT_TO_POOL"
    REDIRECT_PREFIX = "REDIRECT_PREFIX"


class L7RuleType(enum.StrEnum):
    """What of a request a rule looks at."""

    HOST_NAME = "HOST_NAME"
    PATH = "PATH"
    FILE_TYPE = "FILE_TYPE"
    HEADER = "HEADER"
    COOKIE = "COOKIE"
    SSL_CONN_HAS_CERT = "SSL_CONN_HAS_CERT"
    SSL_VERIFY_RESULT = "SSL_VERIFY_RESULT"
    SSL_DN_FIELD = "SSL_DN_FIELD"


class L7CompareType(enum.StrEnum):
    REGEX = "REGEX"
    STARTS_WITH = "STARTS_WITH"
    ENDS_WITH = "ENDS_WITH"
    CONTAINS = "CONTAINS"
    EQUAL_TO = "EQUAL_TO"


class ClientAuthentication(enum.StrEnum):
    """What a listener that ends TLS asks of its clients."""

    NONE = "NONE"
    OPTIONAL = "OPTIONAL"
    MANDATORY = "MANDATORY"


class AmphoraStatus(enum.StrEnum):
    BOOTING = "BOOTING"
    ALLOCATED = "ALLOCATED"
    READY = "READY"
    PENDING_CREATE = "PENDING_CREATE"
    PENDING_UPDATE = "PENDING_UPDATE"
    PENDING_DELETE = "PENDING_DELETE"
    DELETED = "DELETED"
    ERROR = "ERROR"
    FAILOVER_STOPPED = "FAILOVER_STOPPED"


class AmphoraRole(enum.StrEnum):
    STANDALONE = "STANDALONE"
    MASTER = "MASTER"
    BACKUP = "BACKUP"


class Topology(enum.StrEnum):
    SINGLE = "SINGLE"
    ACTIVE_STANDBY = "ACTIVE_STANDBY"


L4_TRANSPORT: dict[ListenerProtocol, str] = {
    ListenerProtocol.HTTP: "TCP",
    ListenerProtocol.HTTPS: "TCP",
    ListenerProtocol.PROMETHEUS: "TCP",
    ListenerProtocol.SCTP: "SCTP",
    ListenerProtocol.TCP: "TCP",
    ListenerProtocol.TERMINATED_HTTPS: "TCP",
    ListenerProtocol.UDP: "UDP",
}
"""Listener ports are unique per layer 4 transport (rules.md section 13)."""

DATAGRAM_POOL_PROTOCOLS = (PoolProtocol.UDP, PoolProtocol.SCTP)
_PROXY = (PoolProtocol.PROXY, PoolProtocol.PROXYV2)

POOL_PROTOCOLS_OF_LISTENER: dict[ListenerProtocol, tuple[PoolProtocol, ...]] = {
    ListenerProtocol.HTTP: (PoolProtocol.HTTP, *_PROXY),
    ListenerProtocol.HTTPS: (PoolProtocol.HTTPS, *_PROXY, PoolProtocol.TCP),
    ListenerProtocol.PROMETHEUS: (),
    ListenerProtocol.SCTP: (PoolProtocol.SCTP,),
    ListenerProtocol.TCP: (PoolProtocol.HTTP, PoolProtocol.HTTPS, *_PROXY, PoolProtocol.TCP),
    ListenerProtocol.TERMINATED_HTTPS: (PoolProtocol.HTTP, *_PROXY),
    ListenerProtocol.UDP: (PoolProtocol.UDP,),
}

_STREAM_MONITORS = (
    MonitorType.HTTP, MonitorType.HTTPS, MonitorType.PING, MonitorType.TCP, MonitorType.TLS_HELLO,
)  # fmt: skip
_DATAGRAM_MONITORS = (MonitorType.HTTP, MonitorType.SCTP, MonitorType.TCP, MonitorType.UDP_CONNECT)

MONITOR_TYPES_OF_POOL: dict[PoolProtocol, tuple[MonitorType, ...]] = {
    protocol: _DATAGRAM_MONITORS if protocol in DATAGRAM_POOL_PROTOCOLS else _STREAM_MONITORS
    for protocol in PoolProtocol
}

MONITOR_TYPES_WITH_HTTP_FIELDS = (MonitorType.HTTP, MonitorType.HTTPS)

REDIRECT_HTTP_CODES = (301, 302, 303, 307, 308)
L7_LISTENER_PROTOCOLS = (ListenerProtocol.HTTP, ListenerProtocol.TERMINATED_HTTPS)
"""Elsewhere no request can be seen (rules.md section 18)."""

_ALL_COMPARES = tuple(L7CompareType)
COMPARES_OF_L7RULE: dict[L7RuleType, tuple[L7CompareType, ...]] = {
    L7RuleType.HOST_NAME: _ALL_COMPARES,
    L7RuleType.PATH: _ALL_COMPARES,
    L7RuleType.FILE_TYPE: (L7CompareType.EQUAL_TO, L7CompareType.REGEX),
    L7RuleType.HEADER: _ALL_COMPARES,
    L7RuleType.COOKIE: _ALL_COMPARES,
    L7RuleType.SSL_CONN_HAS_CERT: (L7CompareType.EQUAL_TO,),
    L7RuleType.SSL_VERIFY_RESULT: (L7CompareType.EQUAL_TO,),
    L7RuleType.SSL_DN_FIELD: _ALL_COMPARES,
}

TLS_VERSIONS = ("SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
"""Oldest first."""
