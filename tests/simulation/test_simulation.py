"""Seeds of the simulation. `make simulate` plays many more; SEED=n plays one and prints its story."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.scenario import simulate

SEEDS = 300
GROUPS = 10
REPLAYED = range(5)
HASHED_ANEW = 7
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("group", range(GROUPS))
def test_everything_comes_to_rest_as_wanted(group: int):
    for seed in range(group, SEEDS, GROUPS):
        simulate(seed)


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
    assert first.decode().splitlines()[-1].endswith("is as it is wanted")
