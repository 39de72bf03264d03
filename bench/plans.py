"""The plans by which PostgreSQL runs our statements: what each call sends is explained right before it is run."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import sqlalchemy as sa

from statera.store.engine import Store

_EXPLAINED = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")


class Plan(msgspec.Struct, frozen=True):
    """How one statement was run, with what it took."""

    statement: str
    took_ms: float
    buffers: int
    """Pages of 8 KiB that were looked at."""
    nodes: tuple[tuple[str, str, int], ...]
    """Of each scan: kind, table or index, rows."""

    def list_scanned(self) -> list[str]:
        """Return the tables that are read from end to end."""
        return [table for kind, table, _ in self.nodes if kind == "Seq Scan"]

    def tell(self) -> str:
        """Return the scans in short."""
        told = dict.fromkeys(f"{kind} {name}" for kind, name, _ in self.nodes)
        return ", ".join(told)


@contextmanager
def explaining(store: Store) -> Iterator[list[Plan]]:
    """Collect the plans of what the store runs in this block. Each statement is run twice, the first time undone."""
    plans: list[Plan] = []

    def explain(connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if not statement.lstrip().upper().startswith(_EXPLAINED):
            return
        single = connection.connection.driver_connection.autocommit
        cursor.execute("BEGIN" if single else "SAVEPOINT explained")
        try:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
            plans.append(_read(statement, cursor.fetchone()[0]))
        finally:
            cursor.execute("ROLLBACK" if single else "ROLLBACK TO SAVEPOINT explained")

    sa.event.listen(store.engine.sync_engine, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        sa.event.remove(store.engine.sync_engine, "before_cursor_execute", explain)


def _read(statement: str, told: Any) -> Plan:
    (top,) = json.loads(told) if isinstance(told, str | bytes) else told
    root = top["Plan"]
    return Plan(
        statement=" ".join(statement.split()),
        took_ms=top["Planning Time"] + top["Execution Time"],
        buffers=root["Shared Hit Blocks"] + root["Shared Read Blocks"],
        nodes=tuple(_list_scans(root)),
    )


def _list_scans(node: Any) -> Iterator[tuple[str, str, int]]:
    kind = node["Node Type"]
    if "Scan" in kind and node.get("Actual Loops", 1) and ("Relation Name" in node or "Index Name" in node):
        name = node["Index Name"] if "Index Name" in node else node["Relation Name"]
        yield kind, name, round(node.get("Actual Rows", 0) * node.get("Actual Loops", 1))
    for below in node.get("Plans", ()):
        yield from _list_scans(below)
