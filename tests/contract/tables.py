"""The contract's tables in `contract/`."""

import csv
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "contract"

BUILT = ("loadbalancer", "listener", "pool", "member", "healthmonitor", "l7policy", "rule")
"""Resources of `fields.csv` that are built."""


def read_table(name: str) -> list[dict[str, str]]:
    with (FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_json(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def list_fields(resource: str) -> list[dict[str, str]]:
    """Return the rows of `fields.csv` of one resource."""
    return [row for row in read_table("fields") if row["resource"] == resource]
