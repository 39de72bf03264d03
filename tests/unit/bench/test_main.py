"""`make bench` tells what it has measured, whatever breaks, hangs or cannot be removed."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys, time
from argparse import Namespace
from pathlib import Path
from bench import __main__ as room
from bench.figures import Figure

class Ground:
    def remove(self, *, keep_log):
        if {removal_breaks}:
            raise OSError("a mount is busy")

def good(ground, runs):
    return [Figure(what="runs", value=runs)]

def broken(ground, runs):
    raise ValueError("no service")

def endless(ground, runs):
    time.sleep(60)

room.Ground = Ground
room.KEPT_LOG = Path({folder!r}) / "kept.log"
room.SCENARIOS = {{"broken": broken, "endless": endless, "good": good}}
room.BUDGETED = tuple(room.SCENARIOS)
room.MOST_S = 1
sys.exit(room._run_alone(Namespace(scenarios={scenarios}, runs=3, json=Path({folder!r}) / "told.json", page=None)))
"""


def run(folder: Path, scenarios: list[str], *, removal_breaks: bool = False) -> tuple[int, str, dict[str, str]]:
    """Return the exit code, what was printed, and what broke by scenario."""
    text = SCRIPT.format(folder=str(folder), scenarios=scenarios, removal_breaks=removal_breaks)
    done = subprocess.run([sys.executable, "-c", text], check=False, capture_output=True, text=True, timeout=60)
    told = json.loads((folder / "told.json").read_text())
    return done.returncode, done.stdout, {one["scenario"]: one["fault"] for one in told["scenarios"]}


def test_what_breaks_or_hangs_does_not_keep_the_others_from_being_told(tmp_path: Path):
    code, printed, faults = run(tmp_path, [])
    assert code == 1
    assert faults == {
        "broken": "ValueError: no service",
        "endless": "TimeoutError: it took more than the 1 s that it had",
        "good": "",
    }
    assert printed.index("broke, see below") < printed.index("runs") < printed.index("broken broke: ValueError")
    assert "Measured on " in printed


def test_what_cannot_be_removed_is_told_after_the_figures(tmp_path: Path):
    code, printed, faults = run(tmp_path, ["good"], removal_breaks=True)
    assert code == 1
    assert faults == {"good": "", "removal": "OSError: a mount is busy"}
    assert "runs" in printed
