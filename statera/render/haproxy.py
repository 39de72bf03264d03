"""An amphora spec as a HAProxy document.

Names map back to ids, so that statistics can be read again: a frontend is named after its listener; a backend
`<pool>:<listener>`, because one pool may serve listeners of different modes and timeouts; a server after its member.
Keywords are those of the HAProxy 2.6 configuration manual.
"""

import hashlib
from collections.abc import Iterator, Sequence

from statera.model.document import Document, ListPart, Part, Server, ServersPart, TextPart
from statera.model.enums import Algorithm, ListenerProtocol, MonitorType, PersistenceType, PoolProtocol
from statera.model.spec import AmphoraSpec, ListenerSpec, MemberSpec, MonitorSpec, PersistenceSpec, PoolSpec
from statera.render import tokens
from statera.render.engine import EngineCapabilities
from statera.render.l7 import list_l7_lines, list_l7_values
from statera.render.paths import HaproxyPaths
from statera.render.prometheus import list_exporter_lines, list_metrics_backend_lines, list_scrape_lines
from statera.render.tls import (
    list_bind_words,
    list_client_lines,
    list_listener_files,
    list_pool_files,
    list_response_lines,
    list_server_words,
    list_session_lines,
)

HARD_STOP_AFTER = "30m"
"""An old worker of a reload ends at the latest then, so that old ones never pile up."""
MOST_OLD_WORKERS = 30
"""One that has outlived so many reloads is ended with the next: each keeps some MiB of the sandbox's memory."""
STICK_ENTRIES = 10_000
"""About 1 MiB of memory at most, per table."""
STICK_EXPIRE = "30m"
PEERS = "own"
"""The peers that share stick tables: a worker and its successor at a reload, and the amphorae that share the VIPs
(configuration manual 2.6, section 3.5)."""
LOCAL_PEER = "statera"
PEERS_PORT = 1025
"""TCP, between the amphorae of one load balancer."""
ADDRESS_HEADERS = ("X-Forwarded-IP", "X-Client-IP", "X-Real-IP")
"""Each tells members the client's address, whatever the client said in it."""
COOKIE_NAME = "SRV"
"""The cookie of HTTP_COOKIE persistence (rules.md section 15)."""
HTTP_PROTOCOLS = (ListenerProtocol.HTTP, ListenerProtocol.TERMINATED_HTTPS, ListenerProtocol.PROMETHEUS)
SERVER_ID_MOST = 2**31 - 1
TIME_MOST_MS = 2_073_600_000
"""24 days: the largest time that the API accepts, and below HAProxy's own limit."""


def render_haproxy(spec: AmphoraSpec, engine: EngineCapabilities, paths: HaproxyPaths) -> Document:
    """Render one amphora. Raises `tokens.BadToken` for text that no configuration can hold."""
    pools = {pool.id: pool for pool in spec.pools}
    parts: list[Part] = [_global_part(spec, engine, paths)]
    for listener in spec.listeners:
        serving = [pools[pool_id] for pool_id in listener.pool_ids()]
        parts += _frontend_parts(listener, serving, paths)
        parts += list_listener_files(listener)
        if listener.allowed_cidrs:
            entries = sorted({tokens.network(cidr) for cidr in listener.allowed_cidrs})
            parts.append(ListPart(name=_cidr_list(listener), entries=tuple(map(str, entries))))
        for pool in serving:
            parts += _backend_parts(listener, pool, engine, paths)
        if listener.protocol == ListenerProtocol.PROMETHEUS:
            times = _time(listener.timeout_connect_ms), _time(listener.timeout_server_ms)
            parts.append(_text(list_metrics_backend_lines(listener, *times, paths)))
    if any(listener.protocol == ListenerProtocol.PROMETHEUS for listener in spec.listeners):
        parts.append(_text(list_exporter_lines(paths)))
    for pool in spec.pools:
        if pool.enabled:
            parts += list_pool_files(pool)
    return Document(parts=tuple(parts))


def backend_name(pool_id: str, listener_id: str) -> str:
    """Return the backend in which a pool serves a listener."""
    return f"{pool_id}:{listener_id}"


def parse_backend_name(backend: str) -> tuple[str, str] | None:
    """Return (pool id, listener id) of a backend's name, None for a proxy that is no backend of ours."""
    pool_id, colon, listener_id = backend.partition(":")
    return (pool_id, listener_id) if colon else None


def _text(lines: Iterator[str]) -> TextPart:
    return TextPart(text="".join(f"{line}\n" for line in lines))


def _global_part(spec: AmphoraSpec, engine: EngineCapabilities, paths: HaproxyPaths) -> TextPart:
    return _text(_global_lines(spec, engine, paths))


def _global_lines(spec: AmphoraSpec, engine: EngineCapabilities, paths: HaproxyPaths) -> Iterator[str]:
    pings = any(pool.monitor is not None and pool.monitor.type == MonitorType.PING for pool in spec.pools)
    has_tables = any(_uses_table(pool.persistence) for pool in spec.pools)
    yield f"# Load balancer {tokens.name(spec.load_balancer_id)}, amphora {tokens.name(spec.amphora_id)}"
    yield "global"
    yield f"    maxconn {tokens.number(spec.limits.max_connections)}"
    # One thread: a sandbox is small, and each thread has its own pools of memory.
    yield "    nbthread 1"
    yield f"    hard-stop-after {HARD_STOP_AFTER}"
    yield f"    mworker-max-reloads {tokens.number(MOST_OLD_WORKERS)}"
    yield f"    stats socket {paths.stats_socket} mode 600 level admin expose-fd listeners"
    yield "    stats timeout 1m"
    yield f"    server-state-file {paths.server_state}"
    if engine.has_http_client:
        # Nothing here uses HAProxy's own HTTP client; for it every check and start would read all CA certificates of
        # the system, which takes four times as long as the rest.
        yield "    httpclient.ssl.verify none"
    yield from list_session_lines(spec.listeners)
    if pings:
        yield "    insecure-fork-wanted"
        yield "    external-check"
    if has_tables:
        yield from _peers_lines(spec, paths)
    yield "defaults"
    yield "    load-server-state-from-file global"
    yield "    retries 3"
    yield "    option redispatch 1"
    yield "    timeout http-request 30s"
    yield "    timeout queue 5s"
    yield "    timeout tunnel 1h"


def _peers_lines(spec: AmphoraSpec, paths: HaproxyPaths) -> Iterator[str]:
    own = LOCAL_PEER if spec.peers is None else tokens.name(spec.amphora_id)
    yield f"    localpeer {own}"
    yield f"peers {PEERS}"
    if spec.peers is None:
        yield f"    bind unix@{paths.peer_socket}"
        yield f"    server {own}"
        return
    yield f"    bind {_place(spec.peers.address, PEERS_PORT)}"
    yield f"    server {own}"
    for amphora_id, address in spec.peers.others.items():
        yield f"    server {tokens.name(amphora_id)} {_place(address, PEERS_PORT)}"


def _place(address: str, port: int) -> str:
    checked = tokens.address(address)
    return f"{f'[{checked}]' if ':' in checked else checked}:{tokens.number(port)}"


def _cidr_list(listener: ListenerSpec) -> str:
    return f"cidrs-{tokens.name(listener.id)}"


def _frontend_parts(listener: ListenerSpec, serving: Sequence[PoolSpec], paths: HaproxyPaths) -> Iterator[Part]:
    yield _text(_frontend_lines(listener, serving, paths))
    if listener.l7policies:
        lines = list_l7_lines(listener, lambda pool_id: tokens.name(backend_name(pool_id, listener.id)), paths)
        yield TextPart(text="".join(f"{line}\n" for line in lines), about="l7")
        yield from list_l7_values(listener)
    for pool in serving:
        if pool.id == listener.pool_id and pool.enabled:
            yield TextPart(text=f"    default_backend {tokens.name(backend_name(pool.id, listener.id))}\n")


def _frontend_lines(listener: ListenerSpec, serving: Sequence[PoolSpec], paths: HaproxyPaths) -> Iterator[str]:
    yield f"frontend {tokens.name(listener.id)}"
    yield f"    mode {_mode(listener)}"
    yield f"    maxconn {tokens.number(listener.max_connections)}"
    if _is_http(listener):
        # Else a reload closes kept connections just when a request may be on its way. They end with their next answer,
        # or after the idle time of `timeout http-request`.
        yield "    option idle-close-on-response"
    yield f"    timeout client {_time(listener.timeout_client_ms)}"
    for address in listener.addresses:
        yield " ".join(["    bind", _place(address, listener.port), *list_bind_words(listener, paths)])
    if listener.allowed_cidrs:
        # In a file, so that they change at run time.
        yield f"    acl allowed src -f {paths.list_file(_cidr_list(listener))}"
        yield "    tcp-request connection reject unless allowed"
    if any(pool.algorithm == Algorithm.SOURCE_IP_PORT for pool in serving):
        yield "    tcp-request connection set-var(sess.port) src_port"
    if listener.timeout_tcp_inspect_ms:
        yield f"    tcp-request inspect-delay {_time(listener.timeout_tcp_inspect_ms)}"
    yield from list_response_lines(listener)
    if listener.protocol == ListenerProtocol.PROMETHEUS:
        yield from list_scrape_lines(listener)


def _mode(listener: ListenerSpec) -> str:
    return "http" if _is_http(listener) else "tcp"


def _is_http(listener: ListenerSpec) -> bool:
    return listener.protocol in HTTP_PROTOCOLS


def _time(milliseconds: int) -> str:
    return f"{tokens.number(min(milliseconds, TIME_MOST_MS))}ms"


def _backend_parts(
    listener: ListenerSpec, pool: PoolSpec, engine: EngineCapabilities, paths: HaproxyPaths
) -> Iterator[Part]:
    if not pool.enabled:
        return
    name = tokens.name(backend_name(pool.id, listener.id))
    yield _text(_backend_lines(name, listener, pool, paths))
    options = " ".join([*_server_options(pool, listener), *list_server_words(pool, paths, is_http=_is_http(listener))])
    numbers = _hash_numbers(pool)
    servers = tuple(_server(member, pool, f"{numbers.get(member.id, '')} {options}".strip()) for member in pool.members)
    yield ServersPart(
        backend=str(name),
        dynamic=engine.dynamic_servers,
        dynamic_cookies=_has_dynamic_cookies(listener, pool),
        servers=servers,
    )


def _hash_numbers(pool: PoolSpec) -> dict[str, str]:
    """Return the `id` words of each member of a pool that hashes.

    A server's place in the hash follows from its id, by default its place in the file: without one of its own, a member
    that goes would move the clients of all that stand behind it at the next reload.
    """
    if pool.algorithm not in (Algorithm.SOURCE_IP, Algorithm.SOURCE_IP_PORT):
        return {}
    taken: dict[int, str] = {}
    for member_id in sorted(member.id for member in pool.members):
        number = int.from_bytes(hashlib.sha256(member_id.encode()).digest()[:4]) % SERVER_ID_MOST + 1
        while number in taken:
            number = number % SERVER_ID_MOST + 1
        taken[number] = member_id
    return {member_id: f"id {tokens.number(number)}" for number, member_id in taken.items()}


def _has_dynamic_cookies(listener: ListenerSpec, pool: PoolSpec) -> bool:
    # Cookies cannot be seen in a stream; such a pool balances without persistence.
    kept = pool.persistence is not None and pool.persistence.type == PersistenceType.HTTP_COOKIE
    return kept and _is_http(listener)


def _backend_lines(name: str, listener: ListenerSpec, pool: PoolSpec, paths: HaproxyPaths) -> Iterator[str]:
    is_http = _is_http(listener)
    yield f"backend {name}"
    yield f"    mode {_mode(listener)}"
    yield f"    timeout connect {_time(listener.timeout_connect_ms)}"
    yield f"    timeout server {_time(listener.timeout_server_ms)}"
    yield from _balance_lines(pool.algorithm)
    yield "    option allbackups"
    if is_http:
        yield from _header_lines(listener)
    if pool.persistence is not None:
        yield from _persistence_lines(pool.persistence, pool.id, is_http=is_http)
    if pool.monitor is not None:
        yield from _monitor_lines(pool.monitor, paths)


def _balance_lines(algorithm: Algorithm) -> Iterator[str]:
    # Consistent hashes everywhere: only with them can servers come and go at run time, and few clients move.
    match algorithm:
        case Algorithm.ROUND_ROBIN:
            yield "    balance roundrobin"
        case Algorithm.LEAST_CONNECTIONS:
            yield "    balance leastconn"
        case Algorithm.SOURCE_IP:
            yield "    balance source"
            yield "    hash-type consistent"
        case Algorithm.SOURCE_IP_PORT:
            yield "    balance hash src,concat(:,sess.port)"
            yield "    hash-type consistent djb2 avalanche"


def _header_lines(listener: ListenerSpec) -> Iterator[str]:
    if "X-Forwarded-For" in listener.insert_headers:
        yield "    option forwardfor"
    for name in ADDRESS_HEADERS:
        if name in listener.insert_headers:
            yield f"    http-request set-header {name} %[src]"
    if "X-Forwarded-Port" in listener.insert_headers:
        yield "    http-request set-header X-Forwarded-Port %[dst_port]"
    if "X-Forwarded-Proto" in listener.insert_headers:
        scheme = "http" if listener.tls is None else "https"
        yield f"    http-request set-header X-Forwarded-Proto {scheme}"
    yield from list_client_lines(listener)


def _uses_table(persistence: PersistenceSpec | None) -> bool:
    return persistence is not None and persistence.type != PersistenceType.HTTP_COOKIE


def _persistence_lines(persistence: PersistenceSpec, pool_id: str, *, is_http: bool) -> Iterator[str]:
    if persistence.type == PersistenceType.SOURCE_IP:
        yield f"    stick-table type ipv6 size {STICK_ENTRIES} expire {STICK_EXPIRE} peers {PEERS}"
        yield "    stick on src"
        return
    if not is_http:
        # Cookies cannot be seen in a stream; such a pool balances without persistence.
        return
    if persistence.type == PersistenceType.HTTP_COOKIE:
        # `dynamic` makes the cookie's value from the server's address: servers added at run time take no `cookie` word.
        yield f"    cookie {COOKIE_NAME} insert indirect nocache dynamic"
        yield f"    dynamic-cookie-key {tokens.name(pool_id)}"
        return
    cookie = tokens.cookie_name(persistence.cookie_name or "")
    yield f"    stick-table type string len 64 size {STICK_ENTRIES} expire {STICK_EXPIRE} peers {PEERS}"
    yield f"    stick store-response {tokens.quoted(f'res.cook({cookie})', 'cookie_name')}"
    yield f"    stick match {tokens.quoted(f'req.cook({cookie})', 'cookie_name')}"


def _monitor_lines(monitor: MonitorSpec, paths: HaproxyPaths) -> Iterator[str]:
    yield f"    timeout check {_time(monitor.timeout_ms)}"
    match monitor.type:
        case MonitorType.HTTP | MonitorType.HTTPS:
            yield from _http_check_lines(monitor)
        case MonitorType.PING:
            yield "    option external-check"
            yield "    external-check path /usr/bin:/bin"
            yield f"    external-check command {paths.ping_command}"
        case _:
            yield "    option tcp-check"


def _http_check_lines(monitor: MonitorSpec) -> Iterator[str]:
    version = "HTTP/1.1" if monitor.http_version == 1.1 else "HTTP/1.0"
    uri = tokens.quoted_url(monitor.url_path, "url_path")
    host = f" hdr Host {tokens.format_literal(monitor.domain_name, 'domain_name')}" if monitor.domain_name else ""
    yield "    option httpchk"
    yield f"    http-check send meth {tokens.name(monitor.http_method)} uri {uri} ver {version}{host}"
    yield f"    http-check expect status {tokens.status_codes(monitor.expected_codes)}"
    if monitor.expected_body is not None:
        yield f"    http-check expect string {tokens.pattern(monitor.expected_body.encode(), 'expected_body')}"


def _server_options(pool: PoolSpec, listener: ListenerSpec) -> Iterator[str]:
    newer = "send-proxy-v2" if listener.tls is None else "send-proxy-v2-ssl-cn"
    proxied = {PoolProtocol.PROXY: "send-proxy", PoolProtocol.PROXYV2: newer}.get(pool.protocol)
    if proxied:
        yield proxied
    monitor = pool.monitor
    if monitor is None:
        return
    yield f"check inter {_time(monitor.interval_ms)} rise {tokens.number(monitor.rise)}"
    yield f"fall {tokens.number(monitor.fall)}"
    if proxied and monitor.type != MonitorType.PING:
        yield "check-send-proxy"
    if monitor.type in (MonitorType.HTTPS, MonitorType.TLS_HELLO):
        yield "check-ssl" if pool.tls is not None else "check-ssl verify none"


def _server(member: MemberSpec, pool: PoolSpec, options: str) -> Server:
    return Server(
        # Plain text: a document goes over the wire, and a token is only a step on the way.
        name=str(tokens.name(member.id)),
        address=str(tokens.address(member.address)),
        port=member.port,
        weight=member.weight,
        enabled=member.enabled,
        options=options,
        backup=member.backup,
        check_address=str(tokens.address(member.monitor_address)) if member.monitor_address and pool.monitor else None,
        check_port=member.monitor_port if pool.monitor else None,
        checked=pool.monitor is not None,
        checking=pool.monitor is None or pool.monitor.enabled,
    )
