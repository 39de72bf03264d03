"""Where the built-in network driver keeps its ports: the protocol between `network_local` and the store.

Neither room knows the other; `app.py` hands the store's implementation to the driver.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Protocol

import msgspec

from statera.model.network import Port


class AddressWanted(msgspec.Struct, frozen=True, kw_only=True):
    """One address of a port: a given one, or with `address` None the lowest free one of the subnet's ranges.

    `ranges` are inclusive (first, last) pairs; `excluded` addresses, such as the gateway's, are never chosen.
    """

    subnet_id: str
    address: str | None = None
    ranges: tuple[tuple[str, str], ...] = ()
    excluded: tuple[str, ...] = ()


class PortRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A port and when it was allocated: the sweep leaves young ones alone, their owner may be about to appear."""

    port: Port
    created_at: dt.datetime


class AddressBook(Protocol):
    """Ports and their addresses, each address of a subnet held at most once.

    Every method raises `Transient` (slug `database-unavailable`) when the store does not answer.
    """

    async def ensure_port(
        self, device_id: str, network_id: str, name: str, mac_address: str, wanted: Sequence[AddressWanted]
    ) -> Port:
        """Allocate the one port of a device on a network; asked again for the same pair it returns the same port.

        Addresses come in the order of `wanted`. A port that lacks a wanted subnet gets it; none is taken away.
        Raises `Refused` (CONFLICT, slug `vip-address-in-use`) for a taken address and (CONFLICT, slug
        `address-range-full`) when no address of a subnet is free. Nothing is kept of a refused call.
        """
        ...

    async def remove_ports(self, device_id: str, keep_networks: Sequence[str] = ()) -> None:
        """Free all ports of the device except those on the networks in `keep_networks`; none is fine."""
        ...

    async def list_ports(self, *, older_than_s: float | None = None) -> tuple[PortRecord, ...]:
        """Return all ports, oldest first; with `older_than_s` only those allocated at least so many seconds ago."""
        ...

    async def load_port(self, port_id: str) -> Port | None: ...
