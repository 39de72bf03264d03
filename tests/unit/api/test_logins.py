"""Failed log-ins are bounded by name and by time, and so is what is remembered of them."""

import pytest

from statera.api.logins import MOST_NAMES, WINDOW_S, FailedLogins, find_place


class Watch:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_after_as_many_failures_as_may_be_one_waits_for_the_first_to_be_old() -> None:
    watch = Watch()
    failed = FailedLogins(3, watch)
    for _ in range(3):
        assert failed.wait_s("ann") == 0
        failed.note("ann")
        watch.seconds += 10
    assert failed.wait_s("ann") == WINDOW_S - 30
    watch.seconds += WINDOW_S - 30
    assert failed.wait_s("ann") == 0


def test_one_users_failures_are_nobody_elses() -> None:
    failed = FailedLogins(1, Watch())
    failed.note("ann")
    assert failed.wait_s("ann") > 0
    assert failed.wait_s("bob") == 0


def test_names_are_bounded_in_number_and_the_oldest_goes_first() -> None:
    failed = FailedLogins(1, Watch())
    for number in range(MOST_NAMES + 1):
        failed.note(f"user-{number}")
    assert failed.wait_s("user-0") == 0
    assert failed.wait_s("user-1") > 0


def test_what_was_none_is_taken_back() -> None:
    failed = FailedLogins(2, Watch())
    for _ in range(5):
        failed.note("ann")
        failed.take_back("ann")
    failed.take_back("bob")
    failed.note("ann")
    assert failed.wait_s("ann") == 0
    failed.note("ann")
    assert failed.wait_s("ann") > 0


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.0.2.9", "192.0.2.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.9", "192.0.2.9"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_a_client_has_an_address_or_a_network(address: str, place: str) -> None:
    assert find_place(address) == place
