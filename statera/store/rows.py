"""Structs to rows and back, by attribute name."""

from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from statera.model.tree import Resource
from statera.store.tables import TABLE_OF

S = TypeVar("S", bound=msgspec.Struct)


def values_of(resource: Resource) -> dict[str, Any]:
    """Return the column values of one resource."""
    table = TABLE_OF[type(resource)]
    return {field: plain(getattr(resource, field), table.c[field]) for field in resource.__struct_fields__}


def plain(value: Any, column: "sa.Column[Any]") -> Any:
    """Return a value as the driver wants it; SQL NULL, not JSON null, for None."""
    if value is None:
        return sa.null() if isinstance(column.type, JSONB) else None
    if isinstance(column.type, JSONB):
        return msgspec.to_builtins(value)
    return list(value) if isinstance(value, tuple) else value


def struct_of(kind: type[S], row: Any) -> S:
    """Build a struct from a row whose columns have its attributes' names; other columns are left out."""
    return msgspec.convert(dict(row), kind, strict=False)


def json_object(table: sa.FromClause, kind: type[msgspec.Struct]) -> sa.ColumnElement[Any]:
    """Return SQL for one JSON object with the struct's attributes, which msgspec decodes without a detour."""
    pairs: list[Any] = []
    for field in kind.__struct_fields__:
        pairs += [sa.literal_column(f"'{field}'"), table.c[field]]
    return sa.func.json_build_object(*pairs)
