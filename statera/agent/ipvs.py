"""What IPVS, the kernel's own balancer, holds: `/proc/net/ip_vs` read, and compared with the file of a keepalived.

The format is that of linux, net/netfilter/ipvs/ip_vs_ctl.c: a line for each virtual server, below it one for each real
server. IPv4 addresses are eight hexadecimal digits, IPv6 ones stand in brackets, ports are hexadecimal.
"""

import contextlib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from statera.agent import namespace
from statera.model.datagrams import DatagramDocument
from statera.model.network import endpoint

TABLE = Path("/proc/thread-self/net/ip_vs")
"""There once the kernel's module is loaded, in every network namespace."""
SETTINGS = Path("/proc/sys/net/ipv4/vs/conntrack")
"""There where IPVS was built with connection tracking."""


class RealServer(msgspec.Struct, frozen=True, kw_only=True):
    """One member. Flows are those of now."""

    weight: int
    active: int = 0
    inactive: int = 0


class VirtualServer(msgspec.Struct, frozen=True, kw_only=True):
    scheduler: str
    is_persistent: bool = False
    servers: Mapping[tuple[str, int], RealServer] = {}
    """By address and port."""


Place = tuple[str, str, int]
"""Protocol (`UDP`, `SCTP`), address, port."""
Table = dict[Place, VirtualServer]


def find_version(table: Path = TABLE, settings: Path = SETTINGS) -> str | None:
    """Return the version of this kernel's IPVS; None where it is not there, or cannot do what it is needed for."""
    with contextlib.suppress(OSError):
        found = re.search(r"version (\d+\.\d+\.\d+)", table.read_text(encoding="ascii"))
        return found[1] if found and settings.exists() else None
    return None


def read_table(amphora_id: str) -> Table:
    """Return what the amphora's IPVS holds: nothing where the kernel has none. It blocks for a moment."""
    with contextlib.suppress(OSError, ValueError), namespace.entered(amphora_id):
        return parse_table(TABLE.read_text(encoding="ascii"))
    return {}


def parse_table(text: str) -> Table:
    """Return the kernel's table. Raises `ValueError` for a text that is none."""
    found: Table = {}
    servers: dict[tuple[str, int], RealServer] = {}
    # Three lines tell what the columns are.
    for line in text.splitlines()[3:]:
        words = line.split()
        if len(words) == 6 and words[0] == "->":
            weight, active, inactive = map(int, words[3:])
            servers[_read_endpoint(words[1])] = RealServer(weight=weight, active=active, inactive=inactive)
        elif len(words) >= 3 and words[0] != "->":
            servers = {}
            if words[0] != "FWM":
                one = VirtualServer(scheduler=words[2], is_persistent="persistent" in words[3:], servers=servers)
                found[words[0], *_read_endpoint(words[1])] = one
        else:
            raise ValueError(f"not a line of IPVS: {line!r}")
    return found


def _read_endpoint(word: str) -> tuple[str, int]:
    address, _, port = word.rpartition(":")
    if address.startswith("["):
        return str(ipaddress.IPv6Address(address.strip("[]"))), int(port, 16)
    return str(ipaddress.IPv4Address(int(address, 16))), int(port, 16)


def parse_file(text: str) -> Table:
    """Return what the kernel's table must be when keepalived has read a file that `render_lvs` has made."""
    return {place: _expect(body) for place, body in _split_file(text)}


def _split_file(text: str) -> Iterator[tuple[Place, str]]:
    for block in re.split(r"^virtual_server ", text, flags=re.MULTILINE)[1:]:
        address, port = block.split(" ", 2)[:2]
        protocol = re.search(r"^    protocol (\S+)$", block, re.MULTILINE)
        yield (protocol[1] if protocol else "", str(ipaddress.ip_address(address)), int(port)), block


def _expect(block: str) -> VirtualServer:
    scheduler = re.search(r"^    lvs_sched (\S+)$", block, re.MULTILINE)
    servers = re.findall(r"^    real_server (\S+) (\d+) \{\n        weight (\d+)$", block, re.MULTILINE)
    return VirtualServer(
        scheduler=scheduler[1] if scheduler else "",
        is_persistent="    persistence_timeout " in block,
        servers={
            (str(ipaddress.ip_address(address)), int(port)): RealServer(weight=int(weight))
            for address, port, weight in servers
        },
    )


def tell_difference(wanted: Table, seen: Table) -> str:
    """Return where the kernel's table is not the one that is wanted, "" where it is."""
    for place in sorted(wanted.keys() | seen.keys()):
        if place not in seen:
            return f"it lacks {_tell(place)}"
        if place not in wanted:
            return f"it still holds {_tell(place)}"
        if _bare(wanted[place]) != _bare(seen[place]):
            return f"it holds {_tell(place)} as it was before"
    return ""


def _tell(place: Place) -> str:
    protocol, address, port = place
    return f"{protocol} {endpoint(address, port)}"


def _bare(one: VirtualServer) -> tuple[str, bool, dict[tuple[str, int], int]]:
    return one.scheduler, one.is_persistent, {key: server.weight for key, server in one.servers.items()}


def count_active(document: DatagramDocument, seen: Table) -> dict[str, int]:
    """Return the flows of each listener at the moment."""
    return {
        listener.id: sum(
            # One of SCTP that is inactive has ended or not begun; IPVS calls no flow of UDP active for long.
            server.active + (server.inactive if listener.protocol == "UDP" else 0)
            for address in listener.addresses
            if (place := (listener.protocol, str(ipaddress.ip_address(address)), listener.port)) in seen
            for server in seen[place].servers.values()
        )
        for listener in document.listeners
    }
