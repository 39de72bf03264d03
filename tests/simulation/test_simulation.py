"""Seeds of the simulation. `make simulate` plays many more; SEED=n plays one and prints its story."""

import functools
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.faults import KINDS
from tests.simulation.scenario import simulate
from tests.simulation.twins import list_statements

SEEDS = 300
GROUPS = 10
REPLAYED = range(5)
HASHED_ANEW = 7
ROOT = Path(__file__).parents[2]
SELDOM = (
    *("condemn_spare", "drop_spare", "explain_drains", "forget_host", "hold_collection", "lift_epoch"),
    *("list_amphora_ids", "list_certificate_ends", "load_newest_generation", "mark_due", "release_claim"),
    *("release_collection", "remove_drain"),
    *("save_certificate_ends", "save_given_up", "trim_events", "trim_failovers"),
)
"""Statements that few seeds come by, so that chance may kill nobody there."""
AFTER_BACKUP = ("hold_collection", "lift_epoch", "release_collection")
"""Statements that somebody comes by once the database has been restored."""
SEARCHED = 60
"""Seeds until one comes by."""
CALLS = (
    *("observing hosts", "asking a host", "asking for a secret", "the answer about a secret", "listening"),
    *(f"the {what} to {call}" for what in ("request", "answer") for call in ("build", "configure", "remove")),
    *(f"the {what} of {call}" for what in ("start", "end") for call in ("ensure_port", "remove_ports", "list_ports")),
)


@functools.cache
def play_group(group: int) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """Play a share of the seeds; return how often each fault struck, and each point was passed and died at."""
    struck, passed, died = Counter[str](), Counter[str](), Counter[str]()
    for seed in range(group, SEEDS, GROUPS):
        faults = simulate(seed).faults
        struck += faults.counts
        passed += faults.points
        died += faults.deaths
    return struck, passed, died


@pytest.mark.parametrize("group", range(GROUPS))
def test_everything_comes_to_rest_as_wanted(group: int):
    play_group(group)


def test_each_fault_strikes_and_somebody_dies_at_each_point():
    struck, passed, died = Counter[str](), Counter[str](), Counter[str]()
    for group in range(GROUPS):
        for whole, part in zip((struck, passed, died), play_group(group), strict=True):
            whole += part
    points = {*CALLS, *(f"the {what} of {name}" for what in ("start", "end") for name in list_statements())}
    assert [kind for kind in KINDS if not struck[kind]] == []
    assert [point for point in sorted(points) if not passed[point]] == []
    often = [point for point in sorted(passed) if not point.endswith(SELDOM)]
    assert [(point, passed[point]) for point in often if not died[point]] == []


@pytest.mark.parametrize("name", SELDOM)
@pytest.mark.parametrize("what", ["start", "end"])
def test_a_death_where_few_come_by_does_no_harm(what: str, name: str):
    point, sure = f"the {what} of {name}", "database-restored" if name in AFTER_BACKUP else ""
    assert any(simulate(seed, deadly=point, sure=sure).faults.deaths[point] for seed in range(SEARCHED)), point


@pytest.mark.parametrize("seed", REPLAYED)
def test_a_seed_is_always_the_same_story(seed: int):
    assert simulate(seed).story.digest() == simulate(seed).story.digest()


def test_a_story_does_not_depend_on_the_process_that_plays_it():
    playing = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.simulation", "--seed", str(HASHED_ANEW)],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
        )
        for seed in ("1", "2")
    ]
    first, second = (process.communicate()[0] for process in playing)
    assert first == second
    assert first.decode().splitlines()[-1].endswith("the world    knows of the change")
