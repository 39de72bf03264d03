"""What serves datagrams (UDP, SCTP) in one amphora, in words that a configuration can hold.

Unlike HAProxy, these engines do not check members themselves: the agent does, and makes the file anew of this document
and of what it saw. Only `render/` makes documents of tenants' input, so every text here is a safe token already.
"""

import enum
from collections.abc import Collection

import msgspec

from statera.model.engines import EngineName
from statera.model.enums import MonitorType

IPV4_BITS, IPV6_BITS = 32, 128


class Balance(enum.StrEnum):
    """How the first datagram of a flow finds its member."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONNECTIONS = "least-connections"
    ADDRESS = "address"
    """By the client's address: all its flows meet the same member."""
    FLOW = "flow"
    """By the client's address and port."""


class Affinity(msgspec.Struct, frozen=True, kw_only=True):
    """A client's later flows meet the member of its first, whatever the balance."""

    timeout_s: int
    """How long without flows. An engine that remembers nobody keeps members by their hash, for ever."""
    bits: int = IPV4_BITS
    """Leading bits of an address that tell clients apart."""
    bits_v6: int = IPV6_BITS


class DatagramServer(msgspec.Struct, frozen=True, kw_only=True):
    """One member. `weight` 0 gets no new flows."""

    id: str
    address: str
    port: int
    weight: int
    backup: bool = False
    enabled: bool = True
    check_address: str
    check_port: int


class DatagramCheck(msgspec.Struct, frozen=True, kw_only=True):
    """How the agent looks whether members work. Times in milliseconds."""

    type: MonitorType
    interval_ms: int
    timeout_ms: int
    rise: int
    fall: int
    http_method: str = "GET"
    url_path: str = "/"
    expected_codes: str = "200"
    http_version: str = "1.0"
    domain_name: str = ""


class DatagramPool(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    balance: Balance
    affinity: Affinity | None = None
    servers: tuple[DatagramServer, ...] = ()
    check: DatagramCheck | None = None


class DatagramListener(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    protocol: str
    """`UDP` or `SCTP`."""
    port: int
    addresses: tuple[str, ...]
    max_connections: int
    """Flows at a time."""
    timeout_ms: int
    """A flow without datagrams ends after this."""
    allowed_cidrs: tuple[str, ...] = ()
    """Empty allows all."""
    pool_id: str | None = None


class DatagramDocument(msgspec.Struct, frozen=True, kw_only=True):
    """All listeners of one amphora that one engine serves."""

    engine: EngineName
    load_balancer_id: str
    amphora_id: str
    max_connections: int
    """Flows of all listeners together."""
    listeners: tuple[DatagramListener, ...]
    pools: tuple[DatagramPool, ...] = ()

    def find_pool(self, pool_id: str | None) -> DatagramPool | None:
        return next((pool for pool in self.pools if pool.id == pool_id), None)


Failing = Collection[tuple[str, str]]
"""Members that fail their checks, as (pool id, member id)."""


def list_serving(pool: DatagramPool, failing: Failing = ()) -> tuple[DatagramServer, ...]:
    """Return the servers that get new flows: backups, all of them, only when no other one works."""
    working = [one for one in pool.servers if one.enabled and one.weight and (pool.id, one.id) not in failing]
    first = tuple(one for one in working if not one.backup)
    return first or tuple(working)
