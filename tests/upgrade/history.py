"""Agents, then a worker, of older commits beside today's other processes: `python -m tests.upgrade.history COMMIT ...`

`test_older_sides.py` plays older protocols by today's code; this runs the code of then. It is not one of the tests: it
needs the history of the repository, and commits that run with the packages of today.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.hosts.ground import Ground, raise_ground
from tests.hosts.service import STATERA, Service
from tests.upgrade.test_older_sides import OPTIONS, ROOT, exchange, live_a_whole_life

FORMER = Path(__file__).with_name("former.py")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade.history", description=__doc__)
    parser.add_argument("commits", nargs="+", metavar="COMMIT")
    commits = parser.parse_args().commits
    with tempfile.TemporaryDirectory(prefix="statera-history-") as folder:
        # The processes of `control_user` read it, too.
        Path(folder).chmod(0o755)
        trees = {commit: _extract(commit, Path(folder)) for commit in commits}
        with raise_ground("history", hosts=2, overrides=OPTIONS) as ground:
            for commit, tree in trees.items():
                launcher = (sys.executable, str(FORMER), str(tree))
                _play(ground, list(ground.agents.values()), launcher, f"agents of {commit}")
                _play(ground, [ground.controllers["worker1"]], launcher, f"worker of {commit}")
    return 0


def _extract(commit: str, folder: Path) -> Path:
    """Put the package as it was into a folder; return that one."""
    tree = folder / commit
    tree.mkdir()
    packed = subprocess.run(["git", "archive", commit, "statera"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "--extract", f"--directory={tree}"], input=packed.stdout, check=True)
    return tree


def _play(ground: Ground, services: Sequence[Service], launcher: tuple[str, ...], what: str) -> None:
    for service in services:
        exchange(service, launcher)
    live_a_whole_life(ground, what.replace(" ", "-"))
    print(f"{what}: built, edited, failed over and deleted, nothing done twice", flush=True)
    for service in services:
        exchange(service, STATERA)


if __name__ == "__main__":
    sys.exit(main())
