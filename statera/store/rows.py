"""Structs to rows and back by attribute name, through JSON that PostgreSQL makes and reads itself.

Reading: one JSON text per statement, which msgspec decodes straight into structs. Writing: one JSON array per table,
which `json_to_recordset` spreads into rows, so that two hundred members cost one statement.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from statera.model.tree import Resource
from statera.store.tables import TABLE_OF

S = TypeVar("S", bound=msgspec.Struct)

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


def json_object(table: sa.FromClause, kind: type[msgspec.Struct]) -> sa.ColumnElement[Any]:
    """Return SQL for one JSON object with the struct's attributes, which msgspec decodes without a detour."""
    pairs: list[Any] = []
    for field in kind.__struct_fields__:
        pairs += [sa.literal_column(f"'{field}'"), shown_column(table, field)]
    return sa.func.json_build_object(*pairs)


def shown_column(table: sa.FromClause, field: str) -> sa.ColumnElement[Any]:
    """Return SQL for one attribute of a struct as the struct shows it."""
    if field == "reason" and "operating_reason" in table.c:
        return sa.func.coalesce(table.c.reason, table.c.operating_reason)
    if field == "load_balancer_id" and table.c[field].nullable:
        return sa.func.coalesce(sa.cast(table.c[field], sa.Text), sa.literal_column("''"))
    return table.c[field]


def json_list(item: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return SQL for a JSON array of all rows' `item`, [] for no row; the caller's subquery sets the order."""
    return sa.func.coalesce(sa.func.json_agg(item), sa.literal_column("'[]'::json"))


def encode_told(value: Any) -> str:
    """Return JSON of words that others chose, such as an engine's: PostgreSQL stores no NUL, so each becomes `?`."""
    return _NUL.sub(r"\1?", msgspec.json.encode(value).decode())


_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""The escape of NUL; behind an odd number of backslashes the same letters are text."""


async def insert_rows(connection: AsyncConnection, resources: Sequence[Resource]) -> None:
    """Insert resources of one kind with one statement."""
    if resources:
        await connection.execute(_INSERT[type(resources[0])], {"rows": msgspec.json.encode(resources).decode()})


async def update_rows(connection: AsyncConnection, resources: Sequence[Resource]) -> None:
    """Write all attributes of resources of one kind with one statement, but only ever clear the reason.

    A reason in a tree may be the one of the operating status, which is not an edit's to copy.
    """
    if resources:
        values = {"rows": msgspec.json.encode(resources).decode(), "ids": [resource.id for resource in resources]}
        await connection.execute(_UPDATE[type(resources[0])], values)


def _insert_statement(kind: type[Resource]) -> sa.TextClause:
    table, fields = TABLE_OF[kind], kind.__struct_fields__
    fresh = ", ".join(f"fresh.{field}" for field in fields)
    return sa.text(f"INSERT INTO {table.name} ({', '.join(fields)}) SELECT {fresh} FROM {recordset(table, fields)}")


def _update_statement(kind: type[Resource]) -> sa.TextClause:
    table, fields = TABLE_OF[kind], kind.__struct_fields__
    changes = [f"{field} = fresh.{field}" for field in fields if field not in ("id", "reason")]
    changes.append(f"reason = CASE WHEN fresh.reason IS NULL THEN NULL ELSE {table.name}.reason END")
    source = f"FROM {recordset(table, fields)} WHERE {table.name}.id = fresh.id AND {among(table.name)}"
    return sa.text(f"UPDATE {table.name} SET {', '.join(changes)} {source}")


def among(table: str) -> str:
    """Return SQL that narrows a table to the ids in the parameter `ids`.

    Beside a recordset: nobody can tell how many rows that will have, and the whole table would be read to join it.
    """
    return f"{table}.id = ANY(CAST(:ids AS uuid[]))"


def recordset(table: sa.Table, fields: Sequence[str]) -> str:
    """Return SQL that spreads the JSON array in the parameter `rows` into rows named `fresh`."""
    types = ", ".join(f"{field} {table.c[field].type.compile(_DIALECT)}" for field in fields)
    return f"json_to_recordset(CAST(:rows AS json)) AS fresh ({types})"


_INSERT = {kind: _insert_statement(kind) for kind in TABLE_OF}
_UPDATE = {kind: _update_statement(kind) for kind in TABLE_OF}
