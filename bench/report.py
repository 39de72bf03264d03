"""One table for people, one file for machines, one page for readers: each says on what machine it was measured."""

import datetime as dt
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.figures import Figure, Outcome
from statera import __version__
from statera.base.errors import Lasting

BEGIN = "<!-- Figures: `bench --page` writes what stands from here -->\n"
END = "<!-- to here. -->\n"


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured, and how busy it was with other things before."""

    cores: int
    processor: str
    memory_mib: int
    kernel: str
    haproxy: str
    python: str
    statera: str
    load_before: float
    """Runnable processes, averaged over the minute before the first scenario."""

    def sentence(self) -> str:
        return (
            f"{self.cores} cores ({self.processor}), {self.memory_mib} MiB, Linux {self.kernel}, "
            f"HAProxy {self.haproxy}, Python {self.python}, Statera {self.statera}; "
            f"load before the start {self.load_before:.2f}"
        )


def describe_machine() -> Machine:
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=_read_field(Path("/proc/cpuinfo"), "model name") or platform.machine(),
        memory_mib=int(_read_field(Path("/proc/meminfo"), "MemTotal").split()[0]) // 1024,
        kernel=platform.release(),
        haproxy=_haproxy_version(),
        python=platform.python_version(),
        statera=__version__,
        load_before=os.getloadavg()[0],
    )


def _read_field(file: Path, name: str) -> str:
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _haproxy_version() -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    try:
        done = subprocess.run(
            ["haproxy", "-v"], check=False, capture_output=True, text=True, env=os.environ | {"PATH": path}
        )
    except FileNotFoundError:
        return "missing"
    words = done.stdout.split()
    return words[2] if len(words) > 2 else "unknown"


def print_report(console: Console, machine: Machine, outcomes: Sequence[Outcome]) -> None:
    """Print the table: every figure beside its budget, then how each was got, what broke, and the machine."""
    table = Table("scenario", "what", "budget", "figure", "", box=None, pad_edge=False)
    for outcome in outcomes:
        name = outcome.scenario
        for figure in outcome.figures:
            table.add_row(name, figure.what, _budget(figure), _value(figure), _verdict(figure))
            name = ""
        if outcome.fault:
            table.add_row(name, "[red]broke, see below", "", "", "[red]✗")
    console.print()
    console.print(table)
    console.print()
    for outcome in outcomes:
        for figure in outcome.figures:
            if figure.detail:
                told = f"[bold]{outcome.scenario}[/]: {figure.what}: {escape(figure.detail)}"
                console.print(told, soft_wrap=True, highlight=False)
        if outcome.fault:
            console.print(f"[red]{outcome.scenario} broke:[/] {escape(outcome.fault)}", soft_wrap=True, highlight=False)
    console.print(f"\nMeasured on {machine.sentence()}.", soft_wrap=True, highlight=False)


def _budget(figure: Figure) -> str:
    if figure.budget is None:
        return ""
    return f"{'>=' if figure.at_least else '<='} {_number(figure.budget)} {figure.unit}".rstrip()


def _value(figure: Figure) -> str:
    return f"{_number(figure.value)} {figure.unit}".rstrip()


def _number(value: float) -> str:
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _verdict(figure: Figure) -> str:
    match figure.is_met:
        case None:
            return ""
        case True:
            return "[green]✓"
        case False:
            return "[yellow]missed"


def write_page(file: Path, machine: Machine, outcomes: Sequence[Outcome]) -> None:
    """Put the table into a page, between its marks. Raises `Lasting` when they are not there."""
    head, begin, rest = file.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise Lasting("bench-failed", f"{file} has no place for figures.")
    file.write_text(f"{head}{begin}{render_page(machine, outcomes)}{end}{tail}", encoding="utf-8")


def render_page(machine: Machine, outcomes: Sequence[Outcome]) -> str:
    """Return the table in Markdown."""
    lines = ["", f"Measured on {dt.date.today():%Y-%m-%d}: {machine.sentence()}.", ""]
    lines += ["| scenario | what | budget | figure | kept | how |", "|---|---|---|---|---|---|"]
    words = {None: "", True: "yes", False: "**no**"}
    for outcome in outcomes:
        for figure in outcome.figures:
            cells = [
                outcome.scenario,
                figure.what,
                _budget(figure),
                _value(figure),
                words[figure.is_met],
                figure.detail,
            ]
            lines.append(_row(cells))
        if outcome.fault:
            lines.append(_row([outcome.scenario, "broke", "", "", "", outcome.fault]))
    return "\n".join([*lines, "", ""])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def write_json(file: Path, machine: Machine, outcomes: Sequence[Outcome]) -> None:
    """Write everything that the table shows."""
    told = {
        "machine": msgspec.to_builtins(machine),
        "scenarios": [
            {
                "scenario": outcome.scenario,
                "seconds": round(outcome.seconds, 3),
                "fault": outcome.fault,
                "figures": [msgspec.to_builtins(figure) | {"met": figure.is_met} for figure in outcome.figures],
            }
            for outcome in outcomes
        ],
    }
    file.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
