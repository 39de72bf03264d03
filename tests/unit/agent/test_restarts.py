"""What dies again and again is mended at once a few times, then later each time, and never too late for clients."""

import itertools

from statera.agent.restarts import AT_ONCE, FIRST_S, MOST_S, STEADY_S, Restarts

NOW = 1000.0


def die_at_once(restarts: Restarts, times: int, now: float = NOW) -> list[float]:
    """Let it die as soon as it was started; return when it was."""
    starts = []
    for _ in range(times):
        now += restarts.wait_s(now)
        restarts.note(now)
        starts.append(now)
    return starts


def test_the_first_death_is_mended_at_once() -> None:
    assert Restarts().wait_s(NOW) == 0.0


def test_a_few_are_mended_at_once_and_more_later_each_time() -> None:
    starts = die_at_once(Restarts(), AT_ONCE + 20)
    waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert max(waits[:AT_ONCE]) < 2 * FIRST_S
    assert all(later - earlier > -1e-6 for earlier, later in itertools.pairwise(waits))
    assert all(abs(wait - MOST_S) < 1e-6 for wait in waits[-5:])


def test_one_that_cannot_live_is_not_started_for_ever_without_a_wait() -> None:
    starts = die_at_once(Restarts(), 2000)
    assert starts[-1] - starts[0] > 0.9 * 2000 * MOST_S


def test_nobody_waits_long_for_one_that_was_killed_while_it_served() -> None:
    restarts, now = Restarts(), NOW
    for _ in range(50):
        assert restarts.wait_s(now) < MOST_S - 0.99
        now += restarts.wait_s(now)
        restarts.note(now)
        now += 1.0


def test_whoever_has_lived_for_a_while_begins_anew() -> None:
    restarts = Restarts()
    last = die_at_once(restarts, 20)[-1]
    restarts.note(last + STEADY_S)
    assert restarts.wait_s(last + STEADY_S) <= FIRST_S
