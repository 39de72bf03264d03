"""An amphora spec as the document of the engine that serves datagrams: decided and made safe, not yet a file."""

import ipaddress
from collections.abc import Sequence

from statera.model.datagrams import (
    IPV4_BITS,
    IPV6_BITS,
    Affinity,
    Balance,
    DatagramCheck,
    DatagramDocument,
    DatagramListener,
    DatagramPool,
    DatagramServer,
)
from statera.model.enums import Algorithm
from statera.model.spec import AmphoraSpec, ListenerSpec, MemberSpec, MonitorSpec, PersistenceSpec, PoolSpec
from statera.render import tokens

AFFINITY_S = 360
"""Used where the API holds none (fields.csv, `persistence_timeout`)."""
TIMEOUT_LEAST_MS, TIMEOUT_MOST_MS = 1000, 2_073_600_000
WEIGHT_MOST = 65_535
"""Of IPVS."""

_BALANCES = {
    Algorithm.ROUND_ROBIN: Balance.ROUND_ROBIN,
    Algorithm.LEAST_CONNECTIONS: Balance.LEAST_CONNECTIONS,
    Algorithm.SOURCE_IP: Balance.ADDRESS,
    Algorithm.SOURCE_IP_PORT: Balance.FLOW,
}


def render_datagrams(spec: AmphoraSpec, listeners: Sequence[ListenerSpec]) -> DatagramDocument:
    """Return what serves these listeners of the amphora, at least one, all with the same engine.

    Raises `tokens.BadToken` for text that no configuration can hold.
    """
    used = {listener.pool_id for listener in listeners}
    return DatagramDocument(
        engine=listeners[0].engine,
        load_balancer_id=str(tokens.name(spec.load_balancer_id)),
        amphora_id=str(tokens.name(spec.amphora_id)),
        max_connections=spec.limits.max_connections,
        listeners=tuple(_listener(listener) for listener in listeners),
        pools=tuple(_pool(pool) for pool in spec.pools if pool.id in used and pool.enabled),
    )


def _listener(listener: ListenerSpec) -> DatagramListener:
    longest = max(listener.timeout_client_ms, listener.timeout_server_ms)
    return DatagramListener(
        id=str(tokens.name(listener.id)),
        protocol=str(tokens.name(listener.protocol)),
        port=int(tokens.number(listener.port)),
        addresses=tuple(str(tokens.address(address)) for address in listener.addresses),
        max_connections=listener.max_connections,
        # Both directions count as life: whoever only sends, or only receives, is not idle.
        timeout_ms=min(max(longest, TIMEOUT_LEAST_MS), TIMEOUT_MOST_MS),
        allowed_cidrs=tuple(sorted({str(tokens.network(cidr)) for cidr in listener.allowed_cidrs})),
        pool_id=listener.pool_id,
    )


def _pool(pool: PoolSpec) -> DatagramPool:
    monitor = pool.monitor if pool.monitor is not None and pool.monitor.enabled else None
    return DatagramPool(
        id=str(tokens.name(pool.id)),
        balance=_BALANCES[pool.algorithm],
        affinity=_affinity(pool.persistence) if pool.persistence is not None else None,
        servers=tuple(_server(member) for member in pool.members),
        check=_check(monitor) if monitor is not None else None,
    )


def _server(member: MemberSpec) -> DatagramServer:
    return DatagramServer(
        id=str(tokens.name(member.id)),
        address=str(tokens.address(member.address)),
        port=int(tokens.number(member.port)),
        weight=min(int(tokens.number(member.weight)), WEIGHT_MOST),
        backup=member.backup,
        enabled=member.enabled,
        check_address=str(tokens.address(member.monitor_address or member.address)),
        check_port=member.monitor_port or member.port,
    )


def _affinity(persistence: PersistenceSpec) -> Affinity:
    timeout_s = AFFINITY_S if persistence.timeout_s is None else max(1, persistence.timeout_s)
    bits, bits_v6 = IPV4_BITS, IPV6_BITS
    if persistence.granularity is not None:
        mask = ipaddress.ip_address(str(tokens.address(persistence.granularity)))
        if mask.version == 4:
            bits = _count_leading(int(mask), IPV4_BITS)
        else:
            bits_v6 = _count_leading(int(mask), IPV6_BITS)
    return Affinity(timeout_s=timeout_s, bits=bits, bits_v6=bits_v6)


def _count_leading(mask: int, width: int) -> int:
    """Return how many bits a netmask has set before the first that is not."""
    return next((place for place in range(width) if not mask >> (width - 1 - place) & 1), width)


def _check(monitor: MonitorSpec) -> DatagramCheck:
    # The agent speaks these words itself; what would break a line of a request is refused all the same.
    tokens.quoted_url(monitor.url_path, "url_path")
    if monitor.domain_name:
        tokens.quoted(monitor.domain_name, "domain_name")
    return DatagramCheck(
        type=monitor.type,
        interval_ms=monitor.interval_ms,
        timeout_ms=monitor.timeout_ms,
        rise=monitor.rise,
        fall=monitor.fall,
        http_method=str(monitor.http_method),
        url_path=monitor.url_path,
        expected_codes=str(tokens.status_codes(monitor.expected_codes)),
        http_version="1.1" if monitor.http_version == 1.1 else "1.0",
        domain_name=monitor.domain_name or "",
    )
