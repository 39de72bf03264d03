"""A backup of the database, restored as docs/operations.md has it: Statera is stopped meanwhile, hosts go on."""

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation

TABLES = ("balancers", "amphorae", "chores", "drains", "silences", "replacements")


class Backup:
    """What stands in the database now, and what was promised to clients by now: what comes later is undone."""

    def __init__(self, world: "Simulation") -> None:
        database = world.database
        # Rows are changed in place, what stands in them is not.
        self._tables = {name: _copy_rows(getattr(database, name)) for name in TABLES}
        self._deployment = database.deployment
        self._ports = dict(world.ports.records)
        self._ledger = world.ledger.copy()

    def restore(self, world: "Simulation") -> None:
        for process in world.processes:
            process.kill()
        for name, rows in self._tables.items():
            setattr(world.database, name, rows)
        world.database.deployment = self._deployment
        # Addresses given away since are free; none is given twice here, which operators are told to see to.
        world.ports.records = self._ports
        world.ledger.go_back(self._ledger)
        world.invariants.go_back()


def _copy_rows(rows: dict[str, Any]) -> dict[str, Any]:
    return {key: copy.copy(row) for key, row in rows.items()}
