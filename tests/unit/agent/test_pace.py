"""Reloads keep a distance once there are many."""

from statera.agent.pace import MOST_RELOADS, WITHIN_S, Pace


def test_a_few_come_at_once_and_more_are_spread() -> None:
    pace, now, made = Pace(), 100.0, []
    for _ in range(5 * MOST_RELOADS):
        now += pace.wait_s(now)
        pace.note(now)
        made.append(now)
    assert made[MOST_RELOADS - 1] == 100.0
    for first, last in zip(made, made[MOST_RELOADS:], strict=False):
        assert last - first >= WITHIN_S


def test_a_pause_lets_a_few_come_at_once_again() -> None:
    pace = Pace()
    for _ in range(MOST_RELOADS):
        pace.note(10.0)
    assert pace.wait_s(11.0) == WITHIN_S - 1.0
    assert pace.wait_s(10.0 + WITHIN_S) == 0.0
