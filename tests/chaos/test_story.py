"""Stories follow from their seeds, and can be played."""

from itertools import combinations, pairwise

import pytest

from tests.chaos.story import CALM_S, KINDS, decide_story

CONTROLLERS = ("api1", "worker1", "worker2", "health1")
HOSTS = ("a", "b")


def test_a_seed_tells_the_same_story_again() -> None:
    assert decide_story(5, 60.0, 1.0, CONTROLLERS, HOSTS) == decide_story(5, 60.0, 1.0, CONTROLLERS, HOSTS)
    assert decide_story(5, 60.0, 1.0, CONTROLLERS, HOSTS) != decide_story(6, 60.0, 1.0, CONTROLLERS, HOSTS)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_hurt_twice_at_a_time_and_all_is_undone(seed: int) -> None:
    story = decide_story(seed, 60.0, 0.5, CONTROLLERS, HOSTS)
    assert all(0 < fault.begins_s <= fault.ends_s <= 60.01 for fault in story)
    for one, other in combinations(story, 2):
        together = one.begins_s < other.ends_s and other.begins_s < one.ends_s
        assert not (together and one.target.removeprefix("agent-") == other.target.removeprefix("agent-"))
    stops = [fault for fault in story if fault.stops_traffic]
    assert all(later.begins_s - earlier.ends_s >= CALM_S - 0.01 for earlier, later in pairwise(stops))


def test_every_kind_of_fault_comes() -> None:
    told = {fault.kind for seed in range(20) for fault in decide_story(seed, 60.0, 1.0, CONTROLLERS, HOSTS)}
    assert told == set(KINDS)
