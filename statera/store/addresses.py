"""Ports and their addresses, for the built-in network driver: implements `model.addressing.AddressBook`."""

import ipaddress
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.base.errors import Refusal, Refused
from statera.base.ids import is_uuid, new_id
from statera.model.addressing import AddressWanted, PortRecord
from statera.model.network import Port, PortAddress
from statera.store.engine import AnyRow, Store
from statera.store.tables import port_addresses, ports


class StoredAddressBook:
    """The address book in PostgreSQL. Locks of one transaction keep two callers from choosing the same address."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ensure_port(
        self, device_id: str, network_id: str, name: str, mac_address: str, wanted: Sequence[AddressWanted]
    ) -> Port:
        """Allocate the one port of a device on a network, with an address for each wanted one; see `AddressBook`."""
        new = Port(
            id=new_id(), network_id=network_id, name=name, device_id=device_id, mac_address=mac_address, addresses=()
        )
        return await self._store.run(lambda connection: _ensure_port(connection, new, wanted))

    async def remove_ports(self, device_id: str, keep_networks: Sequence[str] = ()) -> None:
        """Free all ports of the device except those on the networks in `keep_networks`; none is fine."""
        others = ports.c.network_id.not_in(list(keep_networks))
        await self._store.execute(sa.delete(ports).where((ports.c.device_id == device_id) & others))

    async def list_ports(self, *, older_than_s: float | None = None) -> tuple[PortRecord, ...]:
        """Return all ports, oldest first; with `older_than_s` only those allocated at least so many seconds ago."""
        statement = _PORTS.add_columns(ports.c.created_at)
        if older_than_s is not None:
            statement = statement.where(
                ports.c.created_at <= sa.func.now() - sa.func.make_interval(*[0] * 6, older_than_s)
            )
        rows = await self._store.execute(statement.order_by(ports.c.created_at, ports.c.id))
        return tuple(PortRecord(port=_port(row), created_at=row.created_at) for row in rows)

    async def load_port(self, port_id: str) -> Port | None:
        """Return one port, None when there is no such port."""
        if not is_uuid(port_id):
            return None
        rows = await self._store.execute(_PORTS.where(ports.c.id == port_id))
        return _port(rows[0]) if rows else None


_ADDRESSES = (
    sa.select(
        sa.func.coalesce(
            sa.func.json_agg(
                aggregate_order_by(
                    sa.func.json_build_array(port_addresses.c.subnet_id, port_addresses.c.address),
                    port_addresses.c.position,
                )
            ),
            sa.literal_column("'[]'::json"),
        )
    )
    .where(port_addresses.c.port_id == ports.c.id)
    .scalar_subquery()
    .label("held")
)
_PORTS: sa.Select[Any] = sa.select(
    *(ports.c[field] for field in Port.__struct_fields__ if field != "addresses"), _ADDRESSES
)


def _port(row: AnyRow) -> Port:
    values = {field: value for field, value in row._mapping.items() if field in Port.__struct_fields__}
    held = tuple(PortAddress(subnet_id=subnet_id, address=address) for subnet_id, address in row.held)
    return Port(**values, addresses=held)


async def _ensure_port(connection: AsyncConnection, new: Port, wanted: Sequence[AddressWanted]) -> Port:
    # The device first, then the subnets in order: no two transactions ever wait for each other in a circle.
    await _lock(connection, [f"device {new.device_id}", *sorted({f"subnet {one.subnet_id}" for one in wanted})])
    mine = (ports.c.device_id == new.device_id) & (ports.c.network_id == new.network_id)
    row = (await connection.execute(_PORTS.where(mine))).one_or_none()
    port = new if row is None else _port(row)
    if row is None:
        values = {field: getattr(new, field) for field in Port.__struct_fields__ if field != "addresses"}
        await connection.execute(sa.insert(ports).values(values))
    held: list[PortAddress] = []
    for one in wanted:
        known = next((old for old in port.addresses if old not in held and _fits(old, one)), None)
        held.append(known or await _take(connection, port.id, len(port.addresses) + len(held), one))
    return msgspec.structs.replace(port, addresses=(*held, *(old for old in port.addresses if old not in held)))


def _fits(held: PortAddress, wanted: AddressWanted) -> bool:
    return held.subnet_id == wanted.subnet_id and (wanted.address is None or held.address == _canonical(wanted.address))


async def _lock(connection: AsyncConnection, names: Sequence[str]) -> None:
    for name in names:
        await connection.execute(_ADVISE, {"name": name})


_ADVISE = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('statera ' || CAST(:name AS text), 0))")


async def _take(connection: AsyncConnection, port_id: str, position: int, wanted: AddressWanted) -> PortAddress:
    address = wanted.address and _canonical(wanted.address)
    if address is None:
        address = await _choose(connection, wanted)
    taken = await connection.execute(
        _TAKE, {"port_id": port_id, "subnet_id": wanted.subnet_id, "address": address, "position": position}
    )
    if taken.one_or_none() is None:
        sentence = f"The VIP IP address is already in use: {address} in subnet {wanted.subnet_id}."
        raise Refused(Refusal.CONFLICT, sentence, slug="vip-address-in-use")
    return PortAddress(subnet_id=wanted.subnet_id, address=address)


_TAKE = sa.text("""
    INSERT INTO port_addresses (port_id, subnet_id, address, position)
    VALUES (CAST(:port_id AS uuid), CAST(:subnet_id AS uuid), CAST(:address AS inet), :position)
    ON CONFLICT (subnet_id, address) DO NOTHING
    RETURNING address
""")

_CHOOSE = sa.text("""
    WITH ranges AS (
        SELECT CAST(first AS inet) AS first, CAST(last AS inet) AS last
        FROM unnest(CAST(:firsts AS text[]), CAST(:lasts AS text[])) AS given (first, last)
    ), taken AS (
        SELECT address FROM port_addresses WHERE subnet_id = CAST(:subnet_id AS uuid)
        UNION ALL SELECT CAST(excluded AS inet) FROM unnest(CAST(:excluded AS text[])) AS excluded
    ), candidates AS (
        SELECT first AS address, last FROM ranges
        UNION ALL
        SELECT taken.address + 1, last FROM taken JOIN ranges ON taken.address >= first AND taken.address < last
    )
    SELECT host(address) FROM candidates
    WHERE address <= last AND NOT EXISTS (SELECT FROM taken WHERE taken.address = candidates.address)
    ORDER BY address LIMIT 1
""")
"""The lowest free address is the first of a range, or follows one that is taken. No address is computed that is not
compared, so a /64 costs what is taken in it."""


async def _choose(connection: AsyncConnection, wanted: AddressWanted) -> str:
    firsts, lasts = [pair[0] for pair in wanted.ranges], [pair[1] for pair in wanted.ranges]
    values = {"subnet_id": wanted.subnet_id, "firsts": firsts, "lasts": lasts, "excluded": list(wanted.excluded)}
    found = (await connection.execute(_CHOOSE, values)).scalar_one_or_none()
    if found is None:
        sentence = f"No address can be allocated: no address is free in subnet {wanted.subnet_id}."
        raise Refused(Refusal.CONFLICT, sentence, slug="address-range-full")
    return _canonical(found)


def _canonical(address: str) -> str:
    return str(ipaddress.ip_address(address))
