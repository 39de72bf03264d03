"""The bridges of this host: how it reaches the networks that sandboxes are on, as its own configuration says.

Workers ask for sandboxes on all hosts with what *their* configuration says of a network. What differs from host to
host, its addresses and the interface to the outside, is therefore taken from the configuration of the agent.
"""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from statera.agent.links import add_address, existing_is_fine, find_device
from statera.base.errors import Transient
from statera.base.settings import NetworkSettings
from statera.model.network import Attachment, derive_mac_address

DEVICES = Path("/sys/class/net")
IFF_UP = 1
UNIVERSE = 0
"""Scope of an address that others can reach (rtnetlink(7), RT_SCOPE_UNIVERSE)."""


class Bridges:
    """Those that this host's configuration lets the agent make. Blocks for some milliseconds when one is not whole."""

    def __init__(self, networks: Sequence[NetworkSettings]) -> None:
        self._wanted = [one for one in networks if one.kind == "bridge" and one.create]

    def ensure(self) -> None:
        """Make those that are missing, with the host's addresses and their uplinks. Raises `Transient`."""
        lacking = [one for one in self._wanted if not _is_whole(one)]
        if not lacking:
            return
        with IPRoute() as host:
            for network in lacking:
                try:
                    _make(host, network)
                except NetlinkError as error:
                    sentence = f"The bridge {network.device} cannot be made on host {os.uname().nodename}: {error}."
                    raise Transient("bridge-not-made", sentence) from error


def _is_whole(network: NetworkSettings) -> bool:
    has_uplink = not network.uplink or (DEVICES / network.device / "brif" / network.uplink).exists()
    return _is_up(network.device) and has_uplink


def _is_up(device: str) -> bool:
    # Set up last, so that it has all else, even if its making was cut off.
    with contextlib.suppress(OSError):
        return bool(int((DEVICES / device / "flags").read_text(encoding="ascii"), 16) & IFF_UP)
    return False


def _make(host: Any, network: NetworkSettings) -> None:
    index = _ensure_device(host, network.device, network.mtu)
    for text in network.host_addresses:
        add_address(host, index, text)
    host.link("set", index=index, state="up")
    if network.uplink:
        uplink = find_device(host, network.uplink)
        _expect_free(host, uplink, network)
        host.link("set", index=uplink, master=index, state="up")


def _expect_free(host: Any, uplink: int, network: NetworkSettings) -> None:
    """Refuse an interface by which the host itself is reached: in a bridge it would answer no more."""
    there = [
        f"{one.get_attr('IFA_ADDRESS')}/{one['prefixlen']}"
        for one in host.get_addr(index=uplink)
        if one["scope"] == UNIVERSE
    ]
    if there:
        raise Transient(
            "uplink-in-use",
            f"The interface {network.uplink} of host {os.uname().nodename} cannot become a port of the bridge "
            f"{network.device}, because it has addresses of its own: {', '.join(there)}.",
        )


def ensure_bridge(host: Any, attachment: Attachment, mtu: int) -> int:
    """Return the index of the bridge of a sandbox; one that no configuration of this host names is made as asked.

    Raises `Transient` (slug `device-missing`).
    """
    if attachment.create and not _is_up(attachment.device):
        index = _ensure_device(host, attachment.device, mtu)
        for text in attachment.host_addresses:
            add_address(host, index, text)
        host.link("set", index=index, state="up")
    return find_device(host, attachment.device)


def _ensure_device(host: Any, device: str, mtu: int) -> int:
    if not host.link_lookup(ifname=device):
        # Another sandbox may be making it this very moment.
        with existing_is_fine():
            # One of its own: a bridge without takes that of one of its ports, another one whenever ports come and go,
            # and its neighbours cannot reach this host until they have noticed.
            address = derive_mac_address(os.uname().nodename, device)
            host.link("add", ifname=device, kind="bridge", mtu=mtu, address=address)
    return find_device(host, device)
