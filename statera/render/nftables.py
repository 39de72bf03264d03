"""The sandbox of an amphora that takes the VIPs over, as rules for nft: connections that it did not see begin go on
to the amphora that did, which finishes them. Who began here is remembered by the kernel (conntrack) for as long as
the rules stand; they go with the last amphora that gives up the VIPs, since tracking costs time.
"""

import ipaddress
from collections.abc import Iterator, Sequence

from statera.model.spec import InterfaceSpec, SandboxSpec
from statera.render import tokens

TABLE = "statera"
FAMILIES = {4: "ip", 6: "ip6"}
BEGAN_HERE = 1


def render_nftables(spec: SandboxSpec) -> str:
    """Render the rules of one sandbox, to be read as a whole: what stood there before goes. Raises `BadToken`."""
    home = next((interface for interface in spec.interfaces if interface.vips), None)
    return "".join(f"{line}\n" for version in FAMILIES for line in _lines(version, spec.handed_over_by, home))


def _lines(version: int, givers: Sequence[str], home: InterfaceSpec | None) -> Iterator[str]:
    family = FAMILIES[version]
    # Declared first, so that deleting does not fail.
    yield f"table {family} {TABLE}"
    yield f"delete table {family} {TABLE}"
    vips = _pick(version, home.vips if home is not None else ())
    sources = _pick(version, givers)
    if home is None or not vips or not sources:
        return
    yield f"table {family} {TABLE} {{"
    yield "    chain arriving {"
    yield "        type filter hook prerouting priority mangle;"
    yield f"        {family} daddr {{ {', '.join(vips)} }} meta l4proto tcp jump known"
    yield "    }"
    yield "    chain known {"
    yield f"        tcp flags syn / fin,syn,rst,ack ct mark set {BEGAN_HERE} accept"
    yield f"        ct mark {BEGAN_HERE} accept"
    for source in sources:
        yield f"        dup to {source} device {tokens.name(home.name)}"
    yield "        drop"
    yield "    }"
    yield "}"


def _pick(version: int, addresses: Sequence[str]) -> list[str]:
    return [str(tokens.address(text)) for text in addresses if ipaddress.ip_address(text).version == version]
