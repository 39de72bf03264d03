"""The command: runs scenarios, prints the table, and removes what they made, whatever happens."""

import argparse
import contextlib
import fcntl
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from bench.figures import Outcome
from bench.ground import KEPT_LOG, Ground
from bench.report import describe_machine, print_report, write_json, write_page
from bench.scenarios import BUDGETED, ON_REQUEST, SCENARIOS
from statera.base.errors import StateraError
from statera.base.logging import configure_logging
from statera.base.settings import Settings
from statera.cli.preflight import check_ready, describe_faults

RUNS = 30
MOST_S, WHOLE_S = 300, 840
"""For one scenario and for all, unless they are named: one that hangs must not keep the others from being told."""
WIDTH = 120
"""Of the table in a file."""
INTERRUPTED = 130
LOCK_FILE = Path("/run/statera-bench.lock")


def main() -> int:
    """Return the exit code: 0 unless something broke; a missed budget is a figure, not a fault."""
    options = _parse()
    # What passes that run in this process tell of themselves would stand between the figures.
    configure_logging(level="warning", form="text", process="bench")
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
    parser.add_argument(
        "scenarios",
        nargs="*",
        metavar="scenario",
        help=f"{', '.join(SCENARIOS)}; none: all but {', '.join(sorted(ON_REQUEST))}",
    )
    parser.add_argument("--runs", type=int, default=RUNS, help=f"samples of each scenario (default: {RUNS})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the table between the marks of this page, too")
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in SCENARIOS]
    if unknown or options.runs < 1:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "--runs must be at least 1")
    return options


def _run_alone(options: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    KEPT_LOG.unlink(missing_ok=True)
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    machine = describe_machine()
    ground = Ground()
    outcomes: list[Outcome] = []
    interrupted = False
    try:
        ends_at = time.monotonic() + WHOLE_S
        for name in options.scenarios or BUDGETED:
            console.print(f"{name} ...", highlight=False)
            most_s = 0 if options.scenarios else max(1, min(MOST_S, round(ends_at - time.monotonic())))
            outcomes.append(_run_one(ground, name, options.runs, most_s))
            if outcomes[-1].fault:
                # Whatever is broken there must not spoil the next one's figures.
                _remove(ground, outcomes, keep_log=True)
    except KeyboardInterrupt:
        console.print("\nStopping.")
        interrupted = True
    finally:
        # A second Ctrl-C must not leave half of it behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _remove(ground, outcomes, keep_log=False)
    print_report(console, machine, outcomes)
    if KEPT_LOG.exists():
        console.print(f"The log of the installation is kept in {KEPT_LOG}.")
    if options.json:
        write_json(options.json, machine, outcomes)
    if options.page:
        write_page(options.page, machine, outcomes)
    return INTERRUPTED if interrupted else int(any(outcome.fault for outcome in outcomes))


def _remove(ground: Ground, outcomes: list[Outcome], *, keep_log: bool) -> None:
    begun = time.monotonic()
    try:
        ground.remove(keep_log=keep_log)
    except Exception as error:
        # What was measured before is told all the same.
        outcomes.append(Outcome(scenario="removal", seconds=time.monotonic() - begun, fault=_describe(error)))


def _run_one(ground: Ground, name: str, runs: int, most_s: int) -> Outcome:
    begun = time.monotonic()
    try:
        with _limited(most_s):
            figures = SCENARIOS[name](ground, runs)
    except Exception as error:
        # The edge of the loop: what breaks one scenario is told, and the others are measured.
        return Outcome(scenario=name, seconds=time.monotonic() - begun, fault=_describe(error))
    return Outcome(scenario=name, figures=tuple(figures), seconds=time.monotonic() - begun)


def _describe(error: Exception) -> str:
    return error.sentence if isinstance(error, StateraError) else f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` in a block that takes longer; 0 is no limit."""

    def expire(_number: int, _frame: object) -> None:
        raise TimeoutError(f"it took more than the {seconds} s that it had")

    signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
