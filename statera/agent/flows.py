"""What an amphora's listeners of datagrams carry, counted by the kernel: nginx tells nothing of flows that go on, and
IPVS only what all of its listeners carry together.

A table of nftables in the amphora's network counts what passes each listener's port; it drops nothing and changes
nothing. Named counters keep their values when the rules around them are made anew. Without nftables nothing is counted.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from statera.agent.nft import FAMILIES, find_family, run_nft
from statera.agent.parting import Parting
from statera.agent.sockets import hex_address, read_connected
from statera.base.files import write_whole
from statera.base.logging import get_logger
from statera.base.unreadable import UNREADABLE
from statera.model.datagrams import DatagramDocument, DatagramListener
from statera.model.engines import EngineName
from statera.model.heartbeat import ListenerObserved, ListenerState

log = get_logger("agent")

TABLE = "statera_flows"
CHAINS = {"input": "input", "output": "output", "leaving": "postrouting"}
"""Their hooks. IPVS takes datagrams behind `input`, and has put the VIP into answers before they reach `leaving`."""
MOST_FLOWS = 65_536
"""Clients that a listener remembers, to tell a new flow; beyond it new ones are not counted."""
MOST_S = 3600

Count = tuple[int, int, int]
"""(Flows, bytes in, bytes out)."""
Counts = dict[str, Count]
"""By listener."""
NOTHING: Count = (0, 0, 0)


class _Kept(msgspec.Struct):
    """What survives the agent: counters that the controller has been told under another process."""

    process: int = 0
    base: Counts = {}
    last: Counts = {}

    def take(self, process: int, counts: Counts) -> bool:
        """Take what the kernel has counted when a process is there; say whether that is news."""
        if process == self.process and counts == self.last:
            return False
        if process != self.process:
            self.process, self.base = process, self.last
        # With another namespace the kernel begins at 0 again.
        anew = {key: last for key, last in self.last.items() if min(_less(counts.get(key, NOTHING), last)) < 0}
        self.base = self.base | {key: _less(self.base.get(key, NOTHING), last) for key, last in anew.items()}
        self.last = counts
        return True


class FlowCounters:
    """Of one amphora."""

    def __init__(self, amphora_id: str, run: Path) -> None:
        self._amphora_id = amphora_id
        self._file = run / "flows.json"
        self._asking = asyncio.Lock()
        """An answer that comes after a later one would look as if the kernel had begun anew."""
        self._kept = _Kept()
        with contextlib.suppress(OSError, *UNREADABLE):
            self._kept = msgspec.json.decode(self._file.read_bytes(), type=_Kept)

    async def ensure(self, document: DatagramDocument) -> None:
        """Make the kernel count what a document's listeners carry."""
        told = await asyncio.to_thread(run_nft, self._amphora_id, ["-f", "-"], "\n".join(list_rules(document)))
        if told is None:
            log.warning("datagrams are not counted: nftables does not take it", amphora_id=self._amphora_id)

    async def count(
        self, document: DatagramDocument, process: int, active: Mapping[str, int]
    ) -> Mapping[str, ListenerObserved]:
        """Return what each listener has carried since `process`, whoever that is, was first seen here.

        Flows that only wait for a last answer are not active any more. The controller adds counters up by process,
        which for it is HAProxy's: when that one changes, all begin anew.
        """
        async with self._asking:
            words = ["-j", "list", "counters", "table", "inet", TABLE]
            told = await asyncio.to_thread(run_nft, self._amphora_id, words)
            # What cannot be read stands where it stood: taken for 0, all of it would be told once more later.
            counts = parse_counters(told) if told else self._kept.last
            if self._kept.take(process, counts):
                with contextlib.suppress(OSError):
                    write_whole(self._file, msgspec.json.encode(self._kept), 0o600)
        return {
            listener.id: self._tell(listener, counts, active.get(listener.id, 0)) for listener in document.listeners
        }

    def _tell(self, listener: DatagramListener, counts: Counts, active: int) -> ListenerObserved:
        base = self._kept.base.get(listener.id, NOTHING)
        flows, bytes_in, bytes_out = (max(0, one) for one in _less(counts.get(listener.id, NOTHING), base))
        return ListenerObserved(
            id=listener.id,
            status=ListenerState.OPEN,
            active_connections=active,
            total_connections=flows,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
        )


def _less(one: Count, other: Count) -> Count:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2]


def list_rules(document: DatagramDocument) -> Iterator[str]:
    """Return the words for `nft -f`: again and again the same end."""
    yield f"add table inet {TABLE}"
    for chain, hook in CHAINS.items():
        yield f"add chain inet {TABLE} {chain} {{ type filter hook {hook} priority -150; policy accept; }}"
        yield f"flush chain inet {TABLE} {chain}"
    # What the kernel itself relays is never sent by anybody here.
    answering = "leaving" if document.engine == EngineName.LVS else "output"
    for listener in document.listeners:
        key = listener.id.replace("-", "_")
        protocol = listener.protocol.lower()
        for word in ("flows", "in", "out"):
            yield f"add counter inet {TABLE} {word}_{key}"
        idle_s = min(max(1, listener.timeout_ms // 1000), MOST_S)
        for address in listener.addresses:
            family = find_family(address)
            place, known = f"{family} daddr {address} {protocol} dport {listener.port}", f"{family}_{key}"
            yield (
                f"add set inet {TABLE} {known} {{ type {FAMILIES[family]} . inet_service; flags dynamic,timeout; "
                f"size {MOST_FLOWS}; timeout {idle_s}s; }}"
            )
            yield f"add rule inet {TABLE} input {place} counter name in_{key}"
            source = f"{family} saddr . {protocol} sport"
            yield f"add rule inet {TABLE} input {place} {source} != @{known} counter name flows_{key}"
            yield f"add rule inet {TABLE} input {place} update @{known} {{ {source} timeout {idle_s}s }}"
            yield (
                f"add rule inet {TABLE} {answering} {family} saddr {address} {protocol} sport {listener.port} "
                f"counter name out_{key}"
            )


class _Counter(msgspec.Struct, frozen=True):
    name: str
    packets: int
    bytes: int


class _Line(msgspec.Struct, frozen=True):
    counter: _Counter | None = None


class _Told(msgspec.Struct, frozen=True):
    nftables: tuple[_Line, ...] = ()


def parse_counters(text: str) -> Counts:
    """Return the counters by listener of `nft -j list counters`. Raises what `UNREADABLE` names."""
    found: dict[str, dict[str, int]] = {}
    for one in msgspec.json.decode(text, type=_Told).nftables:
        if one.counter is not None:
            word, _, key = one.counter.name.partition("_")
            if key:
                value = one.counter.packets if word == "flows" else one.counter.bytes
                found.setdefault(key.replace("_", "-"), {})[word] = value
    return {key: (one.get("flows", 0), one.get("in", 0), one.get("out", 0)) for key, one in found.items()}


def count_active(document: DatagramDocument, nginx: int, parting: Parting) -> dict[str, int]:
    """Return the flows of each listener: for each one nginx has a socket that is connected to a member."""
    owners: dict[tuple[str, int], str] = {}
    for listener in document.listeners:
        pool = document.find_pool(listener.pool_id)
        for server in pool.servers if pool is not None else ():
            # A member of two listeners is told with the first.
            owners.setdefault((hex_address(server.address), server.port), listener.id)
    active: dict[str, int] = {}
    left = parting.list_flows()
    for address, port, inode in read_connected(nginx):
        owner = owners.get((address, port))
        if owner is not None and inode not in left:
            active[owner] = active.get(owner, 0) + 1
    return active
