"""What every change of links and addresses needs: devices by name, and errors that mean that it is done already."""

import contextlib
import errno
import ipaddress
import os
from collections.abc import Iterator
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError

from statera.base.errors import Transient

IFA_F_NODAD = 0x02
FOREVER = 0xFFFFFFFF


def find_device(host: Any, name: str) -> int:
    """Return the index of a device. Raises `Transient` (slug `device-missing`)."""
    found = host.link_lookup(ifname=name)
    if not found:
        raise Transient("device-missing", f"The network device {name} does not exist on host {os.uname().nodename}.")
    return int(found[0])


def add_address(inside: Any, index: int, text: str, *, is_vip: bool = False) -> None:
    """Add an address with its prefix length to a device; one that is there already is fine."""
    address = ipaddress.ip_interface(text)
    options: dict[str, Any] = {"index": index, "address": str(address.ip), "prefixlen": address.network.prefixlen}
    if address.version == 6:
        # Addresses are allocated centrally, so there is no duplicate to detect; a VIP is never chosen as a source.
        options["flags"] = IFA_F_NODAD
        if is_vip:
            options |= {"preferred_lft": 0, "valid_lft": FOREVER}
    with existing_is_fine():
        inside.addr("add", **options)


@contextlib.contextmanager
def missing_is_fine() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code not in (errno.ENODEV, errno.ENOENT, errno.EADDRNOTAVAIL):
            raise


@contextlib.contextmanager
def existing_is_fine() -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
