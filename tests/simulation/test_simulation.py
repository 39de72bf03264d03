"""Seeds of the simulation. `make simulate` plays many more; SEED=n plays one and prints its story."""

import pytest

from tests.simulation.scenario import simulate

SEEDS = 300
GROUPS = 10
REPLAYED = range(5)


@pytest.mark.parametrize("group", range(GROUPS))
def test_everything_comes_to_rest_as_wanted(group: int):
    for seed in range(group, SEEDS, GROUPS):
        simulate(seed)


@pytest.mark.parametrize("seed", REPLAYED)
def test_a_seed_is_always_the_same_story(seed: int):
    assert simulate(seed).digest() == simulate(seed).digest()
