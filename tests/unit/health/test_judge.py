"""Who counts as silent, with plain data."""

import datetime as dt
from typing import Any

import pytest

from statera.health.judge import decide_missed, decide_silent
from statera.model.amphora import Amphora
from statera.model.observed import Silence

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
LONG_AGO = NOW - dt.timedelta(hours=1)


def ago(seconds: float) -> dt.datetime:
    return NOW - dt.timedelta(seconds=seconds)


def judge(*, heard: dict[str, dt.datetime], listened: dict[str, dt.datetime], **amphora: Any) -> tuple[Silence, ...]:
    row = Amphora(id="a", load_balancer_id="lb", host="h", created_at=LONG_AGO, **amphora)
    return decide_silent([row], heard, listened, now=NOW, stale_after_s=12.0)


def test_who_speaks_is_not_silent() -> None:
    assert judge(heard={"a": ago(11)}, listened={"a": LONG_AGO}) == ()


def test_who_stopped_speaking_is_silent_since_then() -> None:
    assert judge(heard={"a": ago(13)}, listened={"a": LONG_AGO}) == (
        Silence(amphora_id="a", load_balancer_id="lb", host="h", since=ago(13)),
    )


def test_who_never_spoke_is_silent_since_it_was_expected_to() -> None:
    (silence,) = judge(heard={}, listened={"a": ago(13)})
    assert silence.since == ago(13)


def test_nobody_is_judged_before_a_full_window() -> None:
    assert judge(heard={}, listened={"a": ago(11)}) == ()
    assert judge(heard={}, listened={"a": ago(11)}, last_heartbeat_at=LONG_AGO) == ()


def test_who_is_not_expected_to_speak_is_not_judged() -> None:
    assert judge(heard={}, listened={}) == ()


def test_what_another_process_heard_counts() -> None:
    assert judge(heard={"a": ago(60)}, listened={"a": LONG_AGO}, last_heartbeat_at=ago(17)) == ()
    assert judge(heard={}, listened={"a": LONG_AGO}, last_heartbeat_at=ago(17)) == ()


@pytest.mark.parametrize("told_s", [19, 600])
def test_silence_to_all_processes_is_silence(told_s: float) -> None:
    (silence,) = judge(heard={"a": ago(700)}, listened={"a": LONG_AGO}, last_heartbeat_at=ago(told_s))
    assert silence.since == ago(told_s)


def test_what_it_wrote_itself_gives_no_slack() -> None:
    assert judge(heard={"a": ago(13)}, listened={"a": LONG_AGO}, last_heartbeat_at=ago(13)) != ()


@pytest.mark.parametrize(
    ("heard", "listened", "silent", "missed"),
    [
        ({"a": ago(13)}, {"a": LONG_AGO}, (), True),
        ({"a": ago(11)}, {"a": LONG_AGO}, (), False),
        ({}, {"a": ago(13)}, (), True),
        ({}, {"a": ago(11)}, (), False),
        ({"a": ago(13)}, {"a": LONG_AGO}, ("a",), False),
        ({"a": ago(13)}, {}, (), False),
        # After a pause it is not known yet whether anybody hears it.
        ({"a": ago(13)}, {"a": NOW}, (), True),
    ],
)
def test_who_is_not_silent_and_not_heard_here_is_missed(
    heard: dict[str, dt.datetime], listened: dict[str, dt.datetime], silent: tuple[str, ...], missed: bool
) -> None:
    row = Amphora(id="a", load_balancer_id="lb", host="h", created_at=LONG_AGO)
    assert decide_missed([row], heard, listened, silent, since=ago(12)) == ((row,) if missed else ())


def test_who_spoke_before_this_process_began_is_missed_until_heard_or_silent() -> None:
    row = Amphora(id="a", load_balancer_id="lb", host="h", created_at=LONG_AGO, last_heartbeat_at=ago(2))
    listened = {"a": ago(1)}
    assert decide_missed([row], {}, listened, (), since=ago(12)) == (row,)
    assert decide_missed([row], {"a": NOW}, listened, (), since=ago(12)) == ()
    assert decide_missed([row], {}, listened, ("a",), since=ago(12)) == ()
    assert decide_missed([row], {}, {}, (), since=ago(12)) == ()
