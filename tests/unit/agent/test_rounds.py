"""Each sandbox has its turn in every round, and not all have it at once."""

import pytest

from statera.agent.rounds import ANNOUNCE_EVERY, MOST_HEARD, announce_every, has_turn
from statera.base.ids import new_id


@pytest.mark.parametrize("every", [1, 4, 10, 30])
def test_everybody_has_one_turn_in_a_round(every: int) -> None:
    ids = [new_id() for _ in range(200)]
    turns = [[one for one in ids if has_turn(one, turn, every)] for turn in range(7, 7 + every)]
    assert sorted(one for turn in turns for one in turn) == sorted(ids)
    assert all(turns), "The turns are spread."


@pytest.mark.parametrize("sandboxes", [0, 1, 100, 173, 174, 1000])
def test_few_are_announced_often_and_many_are_not_drowned_in_it(sandboxes: int) -> None:
    every = announce_every(sandboxes)
    assert every >= ANNOUNCE_EVERY
    assert sandboxes / every * sandboxes <= MOST_HEARD
    assert (every == ANNOUNCE_EVERY) == (sandboxes < 174)
