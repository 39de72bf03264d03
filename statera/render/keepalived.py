"""The sandbox of an amphora that shares its VIPs, as keepalived's configuration.

One VRRP instance per address family, since a packet holds addresses of one family only, tied together by a sync group:
all VIPs are always in the same place. keepalived 2.2, keepalived.conf(5).
"""

import ipaddress
from collections.abc import Iterator, Sequence

from statera.model.spec import InterfaceSpec, SandboxSpec
from statera.model.vrrp import LIFELINE, VIRTUAL_ROUTER_ID, VrrpSpec
from statera.render import tokens

GROUP = "vips"
GARP_REPEAT = 3
GARP_DELAY_S = 1
"""When the announcements are repeated once, for neighbours that missed the first."""
GARP_REFRESH_S = 3
"""After a partition has healed a neighbour may know the VIPs at the one that gave them up, until it hears again."""
HOPS = 255
"""Of adverts: one that was routed has fewer, and is dropped."""


def render_keepalived(spec: SandboxSpec) -> str:
    """Render the sandbox of one amphora, "" for one that shares nothing. Raises `tokens.BadToken`."""
    home = next((interface for interface in spec.interfaces if interface.vips), None)
    if spec.vrrp is None or home is None:
        return ""
    return "".join(f"{line}\n" for line in _lines(spec, home, spec.vrrp))


def _lines(spec: SandboxSpec, home: InterfaceSpec, vrrp: VrrpSpec) -> Iterator[str]:
    families = list_families(home, vrrp)
    tracked = list(_lifeline_lines()) if spec.has_lifeline else []
    yield f"# Load balancer {tokens.name(spec.load_balancer_id)}, amphora {tokens.name(spec.amphora_id)}"
    yield "global_defs {"
    yield f"    router_id {tokens.name(spec.amphora_id)}"
    yield "    vrrp_version 3"
    # The lifeline comes and goes with HAProxy.
    yield "    dynamic_interfaces"
    yield f"    vrrp_garp_master_delay {GARP_DELAY_S}"
    yield f"    vrrp_garp_master_repeat {GARP_REPEAT}"
    yield f"    vrrp_garp_master_refresh {GARP_REFRESH_S}"
    # After two had the VIPs at once, the one that keeps them is heard last.
    yield "    vrrp_garp_lower_prio_delay 1"
    yield f"    vrrp_garp_lower_prio_repeat {GARP_REPEAT}"
    yield "    vrrp_higher_prio_send_advert true"
    yield "    enable_script_security"
    yield "}"
    if len(families) > 1:
        yield f"vrrp_sync_group {GROUP} {{"
        yield "    group {"
        yield from (f"        ipv{family}" for family in families)
        yield "    }"
        yield from tracked
        yield "}"
    for family in families:
        yield from _instance_lines(family, families, home, vrrp, tracked if len(families) == 1 else [])


def _lifeline_lines() -> Iterator[str]:
    yield "    track_interface {"
    yield f"        {LIFELINE}"
    yield "    }"


def list_families(home: InterfaceSpec, vrrp: VrrpSpec) -> Sequence[int]:
    """Return the families in which there are VIPs and an own address to send adverts from; at least one."""
    own = {ipaddress.ip_interface(text).version for text in home.addresses}
    wanted = {ipaddress.ip_address(text).version for text in home.vips}
    return sorted(own & wanted) or sorted(own)[:1]


def _instance_lines(
    family: int, families: Sequence[int], home: InterfaceSpec, vrrp: VrrpSpec, tracked: Sequence[str]
) -> Iterator[str]:
    own = next(one for one in map(ipaddress.ip_interface, home.addresses) if one.version == family)
    vips = [ipaddress.ip_address(tokens.address(text)) for text in home.vips]
    # A VIP of a family in which this amphora has no address goes along with the first instance.
    more = [vip for vip in vips if vip.version not in families] if family == families[0] else []
    mine = [vip for vip in vips if vip.version == family]
    if not mine:
        mine, more = more[:1], more[1:]
    yield f"vrrp_instance ipv{family} {{"
    yield "    state BACKUP"
    if not vrrp.preempts:
        yield "    nopreempt"
    yield f"    interface {tokens.name(home.name)}"
    yield from tracked
    yield f"    virtual_router_id {VIRTUAL_ROUTER_ID}"
    yield f"    priority {tokens.number(vrrp.priority)}"
    yield f"    advert_int {vrrp.advert_ms / 1000:.2f}"
    yield f"    unicast_src_ip {tokens.address(str(own.ip))}"
    yield f"    unicast_ttl {HOPS}"
    yield "    unicast_fault_no_peer"
    yield "    unicast_peer {"
    for peer in _list_peers(family, vrrp):
        yield f"        {tokens.address(peer)} min_ttl {HOPS} max_ttl {HOPS}"
    yield "    }"
    yield from _address_lines("virtual_ipaddress", mine)
    if more:
        yield from _address_lines("virtual_ipaddress_excluded", more)
    yield "}"


def _list_peers(family: int, vrrp: VrrpSpec) -> list[str]:
    # Without any keepalived would speak to all of the network: one that is alone speaks to itself.
    found = [peer for peer in vrrp.peers if ipaddress.ip_address(peer).version == family]
    return found or ["127.0.0.1" if family == 4 else "::1"]


def _address_lines(block: str, vips: Sequence[ipaddress.IPv4Address | ipaddress.IPv6Address]) -> Iterator[str]:
    yield f"    {block} {{"
    for vip in vips:
        # A VIP is never chosen as a source.
        yield f"        {vip}/{vip.max_prefixlen}" + ("" if vip.version == 4 else " preferred_lft 0")
    yield "    }"
