"""Stories follow from their seeds, and can be played."""

from itertools import combinations, pairwise

import pytest

from tests.chaos.run import CONTROL_S
from tests.chaos.story import CALM_S, KINDS, decide_story, find_role
from tests.chaos.test_chaos import LENGTH_S, PAUSE_S, SEED

CONTROLLERS = ("api1", "api2", "worker1", "worker2", "worker3", "health1", "health2")
HOSTS = ("a", "b")
MEMBERS = ("web7",)
WHO = CONTROLLERS, HOSTS, MEMBERS
ROLES = {"api", "worker", "health", "agent"}


def test_a_seed_tells_the_same_story_again() -> None:
    assert decide_story(5, 60.0, 1.0, *WHO) == decide_story(5, 60.0, 1.0, CONTROLLERS, HOSTS, MEMBERS)
    assert decide_story(5, 60.0, 1.0, *WHO) != decide_story(6, 60.0, 1.0, CONTROLLERS, HOSTS, MEMBERS)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_hurt_twice_at_a_time_and_all_is_undone(seed: int) -> None:
    story = decide_story(seed, 60.0, 0.5, *WHO)
    assert all(0 < fault.begins_s <= fault.ends_s <= 60.01 for fault in story)
    for one, other in combinations(story, 2):
        together = one.begins_s < other.ends_s and other.begins_s < one.ends_s
        assert not (together and one.place == other.place)
    stops = [fault for fault in story if fault.stops_host]
    assert all(later.begins_s - earlier.ends_s >= CALM_S - 0.01 for earlier, later in pairwise(stops))


@pytest.mark.parametrize("seed", range(20))
def test_at_first_only_the_control_plane_is_hurt(seed: int) -> None:
    story = decide_story(seed, 60.0, 0.5, *WHO, control_s=20.0)
    assert min(fault.begins_s for fault in story if fault.stops_traffic) >= 20.0
    assert len([fault for fault in story if fault.begins_s < 20.0]) > 10


@pytest.mark.parametrize("seed", range(20))
def test_a_minute_has_every_kind_of_fault_and_every_role_killed_and_stopped(seed: int) -> None:
    story = decide_story(seed, 60.0, 0.6, *WHO, control_s=10.0)
    assert {fault.kind for fault in story} == set(KINDS)
    for kind in ("kill", "pause"):
        assert {find_role(fault.target) for fault in story if fault.kind == kind} == ROLES


def test_the_short_story_has_them_all_too() -> None:
    story = decide_story(SEED, LENGTH_S, PAUSE_S, *WHO, control_s=CONTROL_S)
    assert {fault.kind for fault in story} == set(KINDS)
    for kind in ("kill", "pause"):
        assert {find_role(fault.target) for fault in story if fault.kind == kind} == ROLES


@pytest.mark.parametrize("seed", range(20))
def test_a_fault_is_not_told_where_its_shortest_time_does_not_fit(seed: int) -> None:
    story = decide_story(seed, 30.0, 0.5, *WHO)
    assert all(fault.lasts_s >= KINDS[fault.kind][1] - 0.01 for fault in story)
