"""A document of datagrams as the configuration of a keepalived that fills IPVS: the kernel relays each flow itself.

Keywords are those of keepalived 2.2 (keepalived.conf(5), LVS configuration). Members are checked by the agent, as for
nginx: both engines believe the same, and one that fails is not in the file. The kernel then sends nothing to it any
more (`expire_nodest_conn`), whatever flows it had. What must stand around IPVS: `lvs_network.py`.
"""

from collections.abc import Iterator, Sequence

from statera.model.datagrams import (
    Affinity,
    Balance,
    DatagramDocument,
    DatagramListener,
    DatagramPool,
    DatagramServer,
    Failing,
    list_serving,
)

_SCHEDULERS = {
    Balance.ROUND_ROBIN: ("wrr",),
    Balance.LEAST_CONNECTIONS: ("wlc",),
    Balance.ADDRESS: ("mh", "mh-fallback"),
    Balance.FLOW: ("mh", "mh-port", "mh-fallback"),
}
"""The scheduler and its flags. Consistent hashes, as with the other engines."""


def render_lvs(document: DatagramDocument, *, failing: Failing = ()) -> str:
    """Return the file."""
    return "".join(f"{line}\n" for line in _lines(document, failing))


def _lines(document: DatagramDocument, failing: Failing) -> Iterator[str]:
    yield f"# Load balancer {document.load_balancer_id}, amphora {document.amphora_id}"
    yield "global_defs {"
    yield f"    router_id {document.amphora_id}"
    yield "    checker_log_all_failures false"
    # One that was killed has left what it had put into the kernel.
    yield "    lvs_flush"
    # The kernel has one time for all flows of UDP, and does not let that of SCTP be told.
    longest_ms = max((one.timeout_ms for one in document.listeners if one.protocol == "UDP"), default=0)
    if longest_ms:
        yield f"    lvs_timeouts udp {max(1, longest_ms // 1000)}"
    yield "}"
    for listener in document.listeners:
        pool = document.find_pool(listener.pool_id)
        if pool is None:
            continue
        for address in listener.addresses:
            # A virtual server has members of its own family only. Where there are none, the kernel tells clients at
            # once that nobody listens.
            servers = [one for one in list_serving(pool, failing) if (":" in one.address) == (":" in address)]
            if servers:
                yield from _virtual_lines(address, listener, pool, servers)


def _virtual_lines(
    address: str, listener: DatagramListener, pool: DatagramPool, servers: Sequence[DatagramServer]
) -> Iterator[str]:
    is_v6 = ":" in address
    yield f"virtual_server {address} {listener.port} {{"
    yield f"    protocol {listener.protocol}"
    scheduler, *flags = _SCHEDULERS[pool.balance]
    yield f"    lvs_sched {scheduler}"
    yield from (f"    {flag}" for flag in flags)
    yield "    lvs_method NAT"
    if pool.affinity is not None:
        yield from _affinity_lines(pool.affinity, is_v6=is_v6)
    for server in servers:
        yield from _real_lines(server, listener)
    yield "}"


def _affinity_lines(affinity: Affinity, *, is_v6: bool) -> Iterator[str]:
    yield f"    persistence_timeout {affinity.timeout_s}"
    if is_v6:
        yield f"    persistence_granularity {max(1, affinity.bits_v6)}"
    else:
        mask = (0xFFFFFFFF << (32 - max(1, affinity.bits))) & 0xFFFFFFFF
        yield f"    persistence_granularity {'.'.join(str(mask >> shift & 255) for shift in (24, 16, 8, 0))}"


def _real_lines(server: DatagramServer, listener: DatagramListener) -> Iterator[str]:
    yield f"    real_server {server.address} {server.port} {{"
    yield f"        weight {server.weight}"
    # The contract counts connections per member here (rules.md section 19).
    yield f"        uthreshold {listener.max_connections}"
    yield "    }"
