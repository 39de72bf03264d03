"""Waits between tries: they double, are spread, and have an end."""

import pytest

from statera.plan.backoff import backoff_s


@pytest.mark.parametrize(
    ("failures", "most"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (7, 30.0), (64, 30.0), (100_000, 30.0)]
)
def test_the_wait_doubles_up_to_the_longest(failures: int, most: float):
    assert backoff_s(failures, first_s=0.5, most_s=30.0, chance=0.999999) == pytest.approx(most, rel=1e-3)


def test_chance_spreads_over_the_upper_half():
    assert backoff_s(1, first_s=2.0, most_s=30.0, chance=0.0) == 1.0
    assert backoff_s(1, first_s=2.0, most_s=30.0, chance=0.5) == 1.5


def test_no_failure_yet_counts_as_one():
    assert backoff_s(0, first_s=2.0, most_s=30.0, chance=0.0) == backoff_s(1, first_s=2.0, most_s=30.0, chance=0.0)


def test_the_longest_wait_holds_for_the_first_too():
    assert backoff_s(1, first_s=60.0, most_s=10.0, chance=0.0) == 5.0
