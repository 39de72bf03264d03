"""A document of datagrams as nginx's configuration: the stream module, which relays each flow to one member.

A flow is what comes from one address and port of a client. It ends when it is idle. Another nginx takes over with each
new configuration: the client's next datagram then begins a new flow, so none is sent to a member that is no more.
Directives are those of nginx 1.18 and later, modules `core`, `stream_core`, `stream_proxy`, `stream_upstream`,
`stream_access`, `stream_limit_conn`, `stream_map`, `stream_return`.
"""

from collections.abc import Iterator

from statera.model.datagrams import (
    IPV4_BITS,
    IPV6_BITS,
    Affinity,
    Balance,
    DatagramDocument,
    DatagramListener,
    DatagramPool,
    DatagramServer,
    Failing,
    list_serving,
)
from statera.model.network import endpoint
from statera.render.paths import HaproxyPaths

CONNECTIONS_PER_FLOW = 2
CONNECTIONS_KEPT = 64
BUFFER = "64k"
"""The largest datagram. It is taken per flow, but the kernel gives memory only for what is touched."""
NOBODY = "127.0.0.1:9"
"""Stands in an upstream that has no members: nginx wants at least one."""
SIGN_ADDRESS, SIGN_PORT = "127.0.0.1", 9
"""Where a worker that turns reads what the agent asks it, and answers nothing. Nobody else reaches the place."""


def render_nginx(document: DatagramDocument, paths: HaproxyPaths, *, failing: Failing = (), module: str = "") -> str:
    """Return the file. `module` is the path of the stream module where nginx has it apart."""
    return "".join(f"{line}\n" for line in _lines(document, paths, failing, module))


def _lines(document: DatagramDocument, paths: HaproxyPaths, failing: Failing, module: str) -> Iterator[str]:
    flows = min(sum(listener.max_connections for listener in document.listeners), document.max_connections)
    yield f"# Load balancer {document.load_balancer_id}, amphora {document.amphora_id}"
    if module:
        yield f"load_module {module};"
    # One worker, as HAProxy has one thread: a sandbox is small, and hashes need no second opinion.
    yield "worker_processes 1;"
    yield f"pid {paths.nginx_pid};"
    # Everything below is told by the agent's checks, or would be a line for each refused flow.
    yield "error_log stderr emerg;"
    yield "events {"
    yield f"    worker_connections {CONNECTIONS_PER_FLOW * flows + CONNECTIONS_KEPT};"
    yield "}"
    yield "stream {"
    yield f"    proxy_buffer_size {BUFFER};"
    for number, pool in enumerate(document.pools):
        if pool.affinity is not None:
            yield from _map_lines(pool.affinity, number)
    for number, pool in enumerate(document.pools):
        yield from _upstream_lines(pool, number, failing)
    for listener in document.listeners:
        yield from _server_lines(document, listener)
    yield f'    server {{ listen {SIGN_ADDRESS}:{SIGN_PORT} udp; return ""; }}'
    yield "}"


def _map_lines(affinity: Affinity, number: int) -> Iterator[str]:
    """Tell clients apart by the whole bytes of the mask: a coarser mask keeps together whom a finer one does, too."""
    if (affinity.bits, affinity.bits_v6) == (IPV4_BITS, IPV6_BITS):
        return
    yield f"    map $binary_remote_addr $affinity{number} {{"
    for family, (bits, width) in enumerate([(affinity.bits, IPV4_BITS), (affinity.bits_v6, IPV6_BITS)]):
        kept, rest, name = bits // 8, (width - bits // 8 * 8) // 8, f"kept{number}_{family}"
        yield f'        "~(?s)\\A(?<{name}>.{{{kept}}}).{{{rest}}}\\z" ${name};'
    yield "    }"


def _upstream_lines(pool: DatagramPool, number: int, failing: Failing) -> Iterator[str]:
    yield f"    upstream {pool.id} {{"
    yield from (f"        {words};" for words in _balance_words(pool, number))
    serving = list_serving(pool, failing)
    for server in pool.servers:
        # One that is out of use stays in its place: the clients of the others keep theirs.
        yield f"        {_upstream_server(server, is_serving=server in serving)};"
    if not pool.servers:
        yield f"        server {NOBODY} down;"
    yield "    }"


def _balance_words(pool: DatagramPool, number: int) -> Iterator[str]:
    affinity = pool.affinity
    if affinity is not None:
        is_whole = (affinity.bits, affinity.bits_v6) == (IPV4_BITS, IPV6_BITS)
        yield f"hash {'$binary_remote_addr' if is_whole else f'$affinity{number}'} consistent"
        return
    match pool.balance:
        case Balance.ROUND_ROBIN:
            return
        case Balance.LEAST_CONNECTIONS:
            yield "least_conn"
        case Balance.ADDRESS:
            yield "hash $binary_remote_addr consistent"
        case Balance.FLOW:
            yield "hash $binary_remote_addr:$remote_port consistent"


def _upstream_server(server: DatagramServer, *, is_serving: bool) -> str:
    # The agent's checks judge members, and nobody else: what a client sends must not take a member from the others.
    place = f"server {endpoint(server.address, server.port)} weight={max(1, server.weight)} max_fails=0"
    return place if is_serving else f"{place} down"


def _server_lines(document: DatagramDocument, listener: DatagramListener) -> Iterator[str]:
    pool = document.find_pool(listener.pool_id)
    if pool is None:
        yield f"    upstream none-{listener.id} {{"
        yield f"        server {NOBODY} down;"
        yield "    }"
    yield f'    limit_conn_zone "{listener.id}" zone=flows-{listener.id}:64k;'
    yield "    server {"
    for address in listener.addresses:
        yield f"        listen {endpoint(address, listener.port)} udp;"
    yield f"        limit_conn flows-{listener.id} {listener.max_connections};"
    yield f"        proxy_timeout {listener.timeout_ms}ms;"
    for cidr in listener.allowed_cidrs:
        yield f"        allow {cidr};"
    if listener.allowed_cidrs:
        yield "        deny all;"
    yield f"        proxy_pass {pool.id if pool is not None else f'none-{listener.id}'};"
    yield "    }"
