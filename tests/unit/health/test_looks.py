"""Which load balancers are looked at next: whoever has changed does not wait behind all that a start has to look at."""

import datetime as dt

from statera.health.looks import MOST_OBJECTS, MOST_PER_BATCH, Looks, choose_batch

NOW = dt.datetime(2026, 11, 22, 12, 0, tzinfo=dt.UTC)
MANY = [f"lb-{number:05}" for number in range(10_000)]


def after(seconds: float) -> dt.datetime:
    return NOW + dt.timedelta(seconds=seconds)


def count_none(_: str) -> int:
    return 0


def start_among_many() -> Looks:
    looks = Looks()
    for one in MANY:
        looks.hasten(one, NOW)
    return looks


def test_a_start_looks_at_all_in_batches_and_at_each_once() -> None:
    looks, seen = start_among_many(), []
    is_more = True
    while is_more:
        batch, is_more = looks.choose(after(1), count_none)
        assert len(batch) == MOST_PER_BATCH
        for one in batch:
            looks.settle(one, after(1))
        seen += batch
    assert seen == MANY
    assert looks.choose(after(1), count_none) == ([], False)


def test_one_that_changes_does_not_wait_behind_a_start() -> None:
    looks = start_among_many()
    batch, _ = looks.choose(NOW, count_none)
    for one in batch:
        looks.settle(one, NOW)
    looks.hasten(batch[7], after(1))
    assert looks.choose(after(1), count_none)[0][0] == batch[7]


def test_however_many_change_the_others_get_half() -> None:
    changed, others = MANY[:5_000], MANY[5_000:]
    batch = choose_batch(changed, others, count_none)
    assert sorted(batch) == changed[: MOST_PER_BATCH // 2] + others[: MOST_PER_BATCH // 2]
    assert choose_batch([], others, count_none) == others[:MOST_PER_BATCH]
    assert choose_batch(changed, others[:1], count_none) == [changed[0], others[0], *changed[1 : MOST_PER_BATCH - 1]]


def test_large_ones_make_smaller_batches_and_the_largest_goes_alone() -> None:
    assert len(choose_batch([], MANY, lambda _: MOST_OBJECTS // 10)) == 10
    assert choose_batch([], MANY, lambda _: 100 * MOST_OBJECTS) == MANY[:1]


def test_those_that_are_being_edited_are_looked_at_less_and_less_often() -> None:
    looks, at, waits = Looks(), NOW, []
    looks.hasten("lb", NOW)
    for second in range(60):
        if looks.choose(after(second), count_none)[0]:
            waits.append(second - (at - NOW).total_seconds())
            at = after(second)
            looks.defer("lb", at)
    assert waits == [0, 1, 2, 4, 8, 15, 15]


def test_news_is_looked_at_at_once_and_whoever_is_dropped_no_more() -> None:
    looks = Looks()
    looks.hasten("lb", NOW)
    looks.settle("lb", NOW)
    assert looks.choose(after(40), count_none) == ([], False)
    looks.hasten("lb", after(40))
    assert looks.choose(after(40), count_none) == (["lb"], False)
    looks.drop("lb")
    assert "lb" not in looks
    assert looks.choose(after(600), count_none) == ([], False)


def test_who_has_waited_longest_comes_first_whatever_is_said_meanwhile() -> None:
    looks = start_among_many()
    looks.hasten(MANY[0], after(5))
    looks.hasten("new", after(5))
    assert looks.choose(after(9), count_none)[0] == MANY[:MOST_PER_BATCH]
