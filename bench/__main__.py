"""The command: runs scenarios, prints the table, and removes what they made, whatever happens."""

import argparse
import fcntl
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from bench.figures import Outcome
from bench.ground import KEPT_LOG, Ground
from bench.report import describe_machine, print_report, write_json
from bench.scenarios import SCENARIOS
from statera.base.errors import StateraError
from statera.base.settings import Settings
from statera.cli.preflight import check_ready, describe_faults

RUNS = 30
INTERRUPTED = 130
LOCK_FILE = Path("/run/statera-bench.lock")


def main() -> int:
    """Return the exit code: 0 unless something broke; a missed budget is a figure, not a fault."""
    options = _parse()
    faults = check_ready(Settings())
    if faults:
        sys.stderr.write(describe_faults(faults))
        return 1
    with LOCK_FILE.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write("bench: Another benchmark is running on this machine.\n")
            return 1
        return _run_alone(options)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure Statera against its budgets.")
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=f"{', '.join(SCENARIOS)}; none: all of them")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"samples of each scenario (default: {RUNS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown or options.runs < 1:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "--runs must be at least 1")
    return options


def _run_alone(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console()
    machine = describe_machine()
    ground = Ground()
    outcomes: list[Outcome] = []
    code = 1
    try:
        for name in options.scenarios or SCENARIOS:
            console.print(f"{name} ...", highlight=False)
            outcomes.append(_run_one(ground, name, options.runs))
        code = int(any(outcome.fault for outcome in outcomes))
    except KeyboardInterrupt:
        console.print("\nStopping.")
        code = INTERRUPTED
    finally:
        # A second Ctrl-C must not leave half of it behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ground.remove(keep_log=code == 1)
    print_report(console, machine, outcomes)
    if code == 1 and KEPT_LOG.exists():
        console.print(f"The log of the installation is kept in {KEPT_LOG}.")
    if options.json:
        write_json(options.json, machine, outcomes)
    return code


def _run_one(ground: Ground, name: str, runs: int) -> Outcome:
    begun = time.monotonic()
    try:
        figures = SCENARIOS[name](ground, runs)
    except Exception as error:
        # The edge of the loop: what breaks one scenario is told, and the others are measured.
        sentence = error.sentence if isinstance(error, StateraError) else f"{type(error).__name__}: {error}"
        return Outcome(scenario=name, seconds=time.monotonic() - begun, fault=sentence)
    return Outcome(scenario=name, figures=tuple(figures), seconds=time.monotonic() - begun)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
