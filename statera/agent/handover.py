"""An amphora gives its VIPs up to another one and finishes the connections that it has. Nobody notices.

The successor passes on to it what belongs to them (`render/nftables.py`). For that the VIPs move to its loopback
interface: the kernel still takes packets to them, and tells no neighbour that they are here.
All functions block for some milliseconds, unless they say for how long.
"""

import ipaddress
import subprocess
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from statera.agent import namespace
from statera.agent.addresses import list_addresses
from statera.agent.links import add_address, missing_is_fine
from statera.agent.neighbours import ask, open_network
from statera.base.logging import get_logger
from statera.model.spec import SandboxSpec
from statera.render.nftables import render_nftables

log = get_logger("agent")

NFT_WITHIN_S = 5.0
LOOPBACK = 1
"""Its index in every namespace."""
ONLY_OWN_INTERFACE = "1"
"""Of `arp_ignore`: no answer for addresses of other interfaces (linux, ip-sysctl)."""


def take_over(spec: SandboxSpec) -> None:
    """Pass on what others have begun, as the spec says; best effort: without it those connections break."""
    command = ["nsenter", f"--net={namespace.namespace_path(spec.amphora_id)}", "nft", "-f", "-"]
    try:
        done = subprocess.run(
            command, input=render_nftables(spec), check=False, capture_output=True, text=True, timeout=NFT_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("connections cannot be taken over", amphora_id=spec.amphora_id, error=str(error))
        return
    if done.returncode != 0 and spec.handed_over_by:
        log.warning("connections cannot be taken over", amphora_id=spec.amphora_id, error=done.stderr.strip()[:200])


def keep_behind(spec: SandboxSpec) -> None:
    """Put the VIPs where the amphora still serves what it has begun, and no neighbour hears of them."""
    with namespace.entered(spec.amphora_id):
        Path("/proc/sys/net/ipv4/conf/all/arp_ignore").write_text(ONLY_OWN_INTERFACE, encoding="ascii")
    put_on_loopback(spec)


def put_on_loopback(spec: SandboxSpec) -> None:
    """Take what comes for the VIPs wherever they are on; over IPv4 the neighbours are answered, too."""
    with namespace.entered(spec.amphora_id), IPRoute() as inside:
        for text in _list_vips(spec):
            add_address(inside, LOOPBACK, f"{text}/{ipaddress.ip_address(text).max_prefixlen}", is_vip=True)


def take_from_loopback(spec: SandboxSpec) -> None:
    with namespace.entered(spec.amphora_id), IPRoute() as inside:
        for text in _list_vips(spec):
            _take(inside, LOOPBACK, text)


def is_on_loopback(spec: SandboxSpec) -> bool:
    """Say whether one of the VIPs is there."""
    vips = _list_vips(spec)
    if not vips:
        return False
    with namespace.entered(spec.amphora_id):
        return not list_addresses("lo").isdisjoint(vips)


def clear_loopback(spec: SandboxSpec) -> None:
    """Take away what is neither the interface's own nor a VIP of the spec: a turn that was cut off has left it there.

    The neighbours would be answered for it, whoever has it by now.
    """
    with namespace.entered(spec.amphora_id):
        there = {text for text in list_addresses("lo") if not ipaddress.ip_address(text).is_loopback}
        left = there.difference(_list_vips(spec))
        if left:
            with IPRoute() as inside:
                for text in left:
                    _take(inside, LOOPBACK, text)


def _list_vips(spec: SandboxSpec) -> list[str]:
    """Return them as the kernel writes them."""
    return [str(ipaddress.ip_address(text)) for interface in spec.interfaces for text in interface.vips]


def _take(inside: Any, index: int, vip: str) -> None:
    address = ipaddress.ip_address(vip)
    with missing_is_fine():
        inside.addr("del", index=index, address=str(address), prefixlen=address.max_prefixlen)


def give_up(spec: SandboxSpec) -> None:
    """Take the VIPs from the interfaces, where an agent has put them or a keepalived has left them."""
    with namespace.entered(spec.amphora_id), IPRoute() as inside:
        for interface in spec.interfaces:
            index = inside.link_lookup(ifname=interface.name)
            for text in interface.vips if index else ():
                _take(inside, index[0], text)


def wait_for_successor(spec: SandboxSpec, within_s: float) -> bool:
    """Wait until somebody else answers for all VIPs, for up to `within_s` seconds; say whether it does.

    Nobody hears its own questions: they may still be on the interfaces here.
    """
    home = next(interface for interface in spec.interfaces if interface.vips)
    with namespace.entered(spec.amphora_id):
        raw = open_network(home.name)
    with raw:
        return len(ask(raw, home.vips, within_s)) == len(set(home.vips))
