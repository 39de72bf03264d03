"""What stands around IPVS in an amphora's network: settings of the kernel, and rules for nft.

IPVS sends a client's datagrams on to a member under the client's address, and looks at answers only where they are
passed on. So members are given the amphora's own address, as with the other engines, and answer to it; and the kernel
passes on what belongs to such a flow, and nothing else. Settings: linux, ipvs-sysctl, ip-sysctl, nf_conntrack-sysctl.
"""

import ipaddress
from collections.abc import Iterator, Sequence

from statera.model.datagrams import DatagramDocument, DatagramListener

TABLE = "statera_lvs"
BALANCED = 2
"""The mark of flows that IPVS carries. (1 is taken, for another protocol: `nftables.py`.)"""
CHAINS = (
    ("arriving", "filter hook prerouting priority mangle; policy accept;"),
    ("passing", "filter hook forward priority filter; policy drop;"),
    ("leaving", "nat hook postrouting priority srcnat; policy accept;"),
)


def list_lvs_settings(document: DatagramDocument) -> dict[str, str]:
    """Return what is to be written below /proc/sys in the amphora's network, by name."""
    longest_s = str(max([1, *(one.timeout_ms // 1000 for one in document.listeners)]))
    return {
        "net/ipv4/ip_forward": "1",
        "net/ipv6/conf/all/forwarding": "1",
        # A client on the members' own network is no reason to tell members of a shorter way around the amphora.
        "net/ipv4/conf/all/send_redirects": "0",
        "net/ipv4/conf/default/send_redirects": "0",
        # Without it members would see the client's address.
        "net/ipv4/vs/conntrack": "1",
        # Flows and clients of a member that is gone find another one.
        "net/ipv4/vs/expire_nodest_conn": "1",
        "net/ipv4/vs/expire_quiescent_template": "1",
        # A flow that is known to IPVS keeps the port by which its member knows it.
        "net/netfilter/nf_conntrack_udp_timeout": longest_s,
        "net/netfilter/nf_conntrack_udp_timeout_stream": longest_s,
    }


def render_lvs_network(document: DatagramDocument | None) -> str:
    """Return the rules, to be read as a whole: what stood there before goes. None for nothing."""
    return "".join(f"{line}\n" for line in _lines(document))


def _lines(document: DatagramDocument | None) -> Iterator[str]:
    # Declared first, so that deleting does not fail.
    yield f"table inet {TABLE}"
    yield f"delete table inet {TABLE}"
    if document is None:
        return
    rules = {
        "arriving": [rule for listener in document.listeners for rule in _arriving(listener)],
        "passing": [f"ct mark {BALANCED} accept"],
        "leaving": [f"ct mark {BALANCED} masquerade"],
    }
    yield f"table inet {TABLE} {{"
    for chain, kind in CHAINS:
        yield f"    chain {chain} {{"
        yield f"        type {kind}"
        yield from (f"        {rule}" for rule in rules[chain])
        yield "    }"
    yield "}"


def _arriving(listener: DatagramListener) -> Iterator[str]:
    for address in listener.addresses:
        version = ipaddress.ip_address(address).version
        family = "ip6" if version == 6 else "ip"
        place = f"{family} daddr {address} {listener.protocol.lower()} dport {listener.port}"
        if listener.allowed_cidrs:
            allowed = _pick(version, listener.allowed_cidrs)
            others = f" {family} saddr != {{ {', '.join(allowed)} }}" if allowed else ""
            yield f"{place}{others} drop"
        yield f"{place} ct mark set {BALANCED}"


def _pick(version: int, cidrs: Sequence[str]) -> list[str]:
    """Return the networks of one version. nft wants none twice, nor one within another."""
    if version == 6:
        return [str(one) for one in ipaddress.collapse_addresses(ipaddress.IPv6Network(c) for c in cidrs if ":" in c)]
    return [str(one) for one in ipaddress.collapse_addresses(ipaddress.IPv4Network(c) for c in cidrs if ":" not in c)]
