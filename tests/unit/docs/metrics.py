"""The metrics of all processes, for the table in the page about them."""

import importlib
import pkgutil

import msgspec
from prometheus_client.metrics import MetricWrapperBase

import statera
from statera.base.metrics import REGISTRY
from tests.unit.docs.pages import ROOT, escape_cell

METRICS = ROOT / "docs" / "metrics.md"
BEGIN = "<!-- Metrics: `make docs` writes what stands from here to the end of the page. -->\n"
PROCESSES = {
    "base": "all",
    "store": "api, worker, health",
    "drivers": "api, worker",
    "api": "api",
    "control": "worker",
    "health": "health",
    "agent": "agent",
    "cli": "up",
}
"""By room: the processes that load it."""


class Metric(msgspec.Struct, frozen=True, order=True):
    """One metric as it is declared."""

    process: str
    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


def list_metrics() -> list[Metric]:
    """Load every room and return what they declare, by process and name."""
    rooms: dict[str, str] = {}
    for name in ["statera.base.metrics", *_list_modules()]:
        importlib.import_module(name)
    for module in _list_modules():
        for value in vars(importlib.import_module(module)).values():
            if isinstance(value, MetricWrapperBase):
                room = module.split(".")[1]
                # Rooms import from lower ones only: whoever declares it stands lowest.
                rooms[value._name] = min(rooms.get(value._name, room), room, key=list(PROCESSES).index)
    found = [one for one in REGISTRY._collector_to_names if isinstance(one, MetricWrapperBase)]
    return sorted(
        Metric(
            process=PROCESSES[rooms[one._name]],
            name=f"{one._name}_total" if one._type == "counter" else one._name,
            kind=str(one._type),
            labels=tuple(one._labelnames),
            meaning=one._documentation,
        )
        for one in found
    )


def _list_modules() -> list[str]:
    found = (module.name for module in pkgutil.walk_packages(statera.__path__, "statera."))
    return [name for name in found if "migrations" not in name and not name.endswith("__main__")]


def list_series() -> set[str]:
    """Return all names that a query may ask for."""
    names = {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_max_fds"}
    for metric in list_metrics():
        ends = ("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
        names |= {f"{metric.name}{end}" for end in ends}
    return names


def render_metrics(page: str) -> str:
    """Return the page with the metrics of today after its hand-written head."""
    head, _, _ = page.partition(BEGIN)
    lines = ["| metric | kind | labels | process | meaning |", "|---|---|---|---|---|"]
    for one in list_metrics():
        labels = ", ".join(f"`{label}`" for label in one.labels)
        lines.append(f"| `{one.name}` | {one.kind} | {labels} | {one.process} | {escape_cell(one.meaning)} |")
    return "\n".join([f"{head}{BEGIN}", *lines, ""])
