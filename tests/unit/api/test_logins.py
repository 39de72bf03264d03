"""Failed log-ins are bounded by user and by time, and so is what is remembered of them."""

from statera.api.logins import MOST_NAMES, WINDOW_S, FailedLogins


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
