"""What is kept of heartbeats: news and replays, parts, owners, silence."""

import datetime as dt
from typing import Any

import msgspec
import pytest

from statera.health.memory import Memory
from statera.model.amphora import Amphora
from statera.model.heartbeat import (
    Heartbeat,
    HeartbeatRefusal,
    HeartbeatRefused,
    ListenerObserved,
    ListenerState,
    MemberObserved,
    MemberState,
    split_heartbeat,
)
from statera.model.observed import MISHELD_AFTER_S, Misheld, Observed, Silence

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
LB, OTHER_LB, AMPHORA, POOL, MEMBER = (f"00000000-0000-4000-8000-00000000000{n}" for n in range(5))


def make_heartbeat(sequence: int = 1, **changes: Any) -> Heartbeat:
    plain = Heartbeat(
        amphora_id=AMPHORA,
        load_balancer_id=LB,
        boot=1,
        sequence=sequence,
        sent_at=1000.0 + sequence,
        generation=1,
        epoch=1,
        haproxy_running=True,
        listeners=(ListenerObserved(LB, ListenerState.OPEN, 5, 6, 7, 8, 9),),
        members=(MemberObserved(POOL, MEMBER, MemberState.UP, "L7OK", 200, "", 3.0),),
    )
    return msgspec.structs.replace(plain, **changes)


def make_amphora(load_balancer_id: str = LB) -> Amphora:
    return Amphora(id=AMPHORA, load_balancer_id=load_balancer_id, host="h", created_at=NOW)


def make_memory(*heartbeats: Heartbeat) -> Memory:
    memory = Memory()
    memory.keep_only([make_amphora()], NOW)
    for heartbeat in heartbeats:
        memory.accept(heartbeat, NOW)
    memory.take_news()
    return memory


def refusal(memory: Memory, heartbeat: Heartbeat) -> HeartbeatRefusal:
    before = memory.observe(LB), memory.last_heard()
    with pytest.raises(HeartbeatRefused) as refused:
        memory.accept(heartbeat, NOW + dt.timedelta(seconds=1))
    assert (memory.observe(LB), memory.last_heard()) == before
    assert memory.take_news() == ()
    return refused.value.kind


def test_the_first_heartbeat_is_news() -> None:
    memory = Memory()
    memory.accept(make_heartbeat(), NOW)
    assert memory.take_news() == (LB,)
    assert memory.take_news() == ()


def test_counters_and_ages_are_no_news() -> None:
    memory = make_memory(make_heartbeat())
    moved = make_heartbeat(
        2,
        listeners=(ListenerObserved(LB, ListenerState.OPEN, 50, 60, 70, 80, 90),),
        members=(MemberObserved(POOL, MEMBER, MemberState.UP, "L7OK", 204, "other", 4.0),),
    )
    memory.accept(moved, NOW)
    assert memory.take_news() == ()
    assert memory.observe(LB).listeners[LB].total_connections == 60


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": 2},
        {"haproxy_running": False},
        {"listeners": ()},
        {"listeners": (ListenerObserved(LB, ListenerState.FULL),)},
        {"members": (MemberObserved(POOL, MEMBER, MemberState.DOWN, "L4CON"),)},
        {"members": ()},
    ],
)
def test_what_matters_is_news(changes: dict[str, Any]) -> None:
    memory = make_memory(make_heartbeat())
    memory.accept(make_heartbeat(2, **changes), NOW)
    assert memory.take_news() == (LB,)


def test_another_reason_of_the_same_failure_is_news() -> None:
    memory = make_memory(make_heartbeat(members=(MemberObserved(POOL, MEMBER, MemberState.DOWN, "L4CON"),)))
    memory.accept(make_heartbeat(2, members=(MemberObserved(POOL, MEMBER, MemberState.DOWN, "L7STS", 500),)), NOW)
    assert memory.take_news() == (LB,)


@pytest.mark.parametrize("sequence", [5, 4])
def test_a_replay_changes_nothing(sequence: int) -> None:
    memory = make_memory(make_heartbeat(5))
    assert refusal(memory, make_heartbeat(sequence, haproxy_running=False)) is HeartbeatRefusal.REPLAYED


def test_a_restarted_agent_counts_from_the_beginning() -> None:
    memory = make_memory(make_heartbeat(500))
    memory.accept(make_heartbeat(1, boot=2, sent_at=2000.0, generation=9), NOW)
    assert memory.observe(LB).generation == 9


def test_heartbeats_from_before_a_restart_are_replays() -> None:
    memory = make_memory(make_heartbeat(500), make_heartbeat(1, boot=2, sent_at=2000.0))
    assert refusal(memory, make_heartbeat(501)) is HeartbeatRefusal.REPLAYED


def test_parts_count_when_all_are_there() -> None:
    members = tuple(MemberObserved(POOL, f"{MEMBER[:-2]}{n:02}", MemberState.UP, text="x" * 99) for n in range(30))
    parts = split_heartbeat(make_heartbeat(members=members))
    assert len(parts) > 2
    memory = make_memory()
    for part in reversed(parts[1:]):
        memory.accept(part, NOW)
    assert memory.observe(LB).heard == 0
    memory.accept(parts[0], NOW)
    assert memory.take_news() == (LB,)
    assert len(memory.observe(LB).members) == 30
    for part in parts:
        assert refusal(memory, part) is HeartbeatRefusal.REPLAYED


def test_a_lost_part_leaves_the_last_whole_heartbeat() -> None:
    members = tuple(MemberObserved(POOL, f"{MEMBER[:-2]}{n:02}", MemberState.UP, text="x" * 99) for n in range(30))
    memory = make_memory(make_heartbeat(1))
    memory.accept(split_heartbeat(make_heartbeat(2, members=members))[0], NOW + dt.timedelta(seconds=3))
    memory.accept(split_heartbeat(make_heartbeat(3, members=members))[1], NOW + dt.timedelta(seconds=6))
    assert len(memory.observe(LB).members) == 1
    assert memory.last_heard() == {AMPHORA: NOW + dt.timedelta(seconds=6)}


def test_an_amphora_cannot_speak_for_a_foreign_load_balancer() -> None:
    memory = make_memory()
    assert refusal(memory, make_heartbeat(load_balancer_id=OTHER_LB)) is HeartbeatRefusal.FOREIGN


def test_who_is_not_known_yet_says_nothing() -> None:
    memory = Memory()
    memory.accept(make_heartbeat(load_balancer_id=OTHER_LB), NOW)
    assert memory.has_strangers([OTHER_LB])
    assert memory.observe(OTHER_LB).heard == 0
    assert memory.keep_only([make_amphora(LB)], NOW) == 1
    assert memory.observe(OTHER_LB).heard == 0
    assert memory.last_heard() == {}


def test_one_that_changes_its_owner_before_anybody_is_known_is_forgotten_whole() -> None:
    memory = Memory()
    memory.accept(make_heartbeat(1, load_balancer_id=""), NOW)
    memory.accept(make_heartbeat(2), NOW)
    memory.keep_only([], NOW + dt.timedelta(seconds=1))
    assert memory.last_heard() == {}
    memory.accept(make_heartbeat(3, load_balancer_id=OTHER_LB), NOW + dt.timedelta(seconds=2))
    memory.keep_only([make_amphora(OTHER_LB)], NOW + dt.timedelta(seconds=2))
    assert list(memory.last_heard()) == [AMPHORA]


def test_who_is_gone_is_forgotten() -> None:
    memory = make_memory(make_heartbeat())
    memory.keep_only([], NOW + dt.timedelta(seconds=1))
    assert memory.last_heard() == {}
    assert not memory.concerns(LB)


def test_the_end_of_one_that_had_not_got_the_edit_yet_is_news() -> None:
    """What the other one serves could not be told before, and it has nothing new to say."""
    memory = make_pair(None, None)
    memory.accept(make_heartbeat(2, amphora_id=SECOND, generation=0, listeners=(), members=()), NOW)
    memory.take_news()
    assert memory.observe(LB).generation == 0
    memory.keep_only([make_amphora()], NOW + dt.timedelta(seconds=1))
    assert memory.take_news() == (LB,)
    assert memory.observe(LB).generation == 1
    memory.keep_only([make_amphora()], NOW + dt.timedelta(seconds=2))
    assert memory.take_news() == ()


def test_who_came_after_the_question_is_kept() -> None:
    memory = make_memory(make_heartbeat())
    memory.keep_only([], NOW - dt.timedelta(seconds=1))
    assert set(memory.last_heard()) == {AMPHORA}


def test_heard_is_told_once() -> None:
    memory = make_memory(make_heartbeat())
    assert memory.take_heard() == {AMPHORA: NOW}
    assert memory.take_heard() == {}


def test_silence_and_its_end_are_news() -> None:
    memory = make_memory(make_heartbeat())
    silence = Silence(amphora_id=AMPHORA, load_balancer_id=LB, host="h", since=NOW)
    assert memory.set_silent([silence]) == (silence,)
    assert memory.take_news() == (LB,)
    assert memory.observe(LB).heard == 0
    assert memory.observe(LB).silent == (silence,)
    assert memory.set_silent([silence]) == ()
    assert memory.take_news() == ()
    memory.accept(make_heartbeat(2), NOW)
    assert memory.take_news() == (LB,)
    assert memory.observe(LB).silent == ()
    assert memory.observe(LB).heard == 1


def test_an_amphora_that_is_removed_is_not_silent() -> None:
    memory = make_memory()
    memory.set_silent([Silence(amphora_id=AMPHORA, load_balancer_id=LB, host="h", since=NOW)])
    memory.take_news()
    memory.set_silent([])
    assert memory.take_news() == (LB,)
    assert memory.observe(LB).silent == ()


def test_counters_are_told_once_and_again_only_when_they_move() -> None:
    memory = make_memory(make_heartbeat(process=1))
    [counted] = memory.take_counted()
    assert (counted.amphora_id, counted.process, counted.listeners[0].total_connections) == (AMPHORA, 1, 6)
    memory.accept(make_heartbeat(2, process=1), NOW)
    assert memory.take_counted() == ()
    moved = (ListenerObserved(LB, ListenerState.OPEN, 5, 7, 7, 8, 9),)
    # The last word of one process and the first of the next are both kept.
    memory.accept(make_heartbeat(3, process=1, listeners=moved), NOW)
    memory.accept(make_heartbeat(4, process=2), NOW)
    taken = memory.take_counted()
    assert [(one.process, one.listeners[0].total_connections) for one in taken] == [(1, 7), (2, 6)]
    memory.accept(make_heartbeat(5, process=2, listeners=moved), NOW)
    memory.put_back(taken)
    kept = sorted((one.process, one.listeners[0].total_connections) for one in memory.take_counted())
    assert kept == [(1, 7), (2, 7)], "what could not be written does not hide what is newer"


def test_counters_of_a_stranger_wait_until_it_is_known() -> None:
    memory = Memory()
    memory.accept(make_heartbeat(), NOW)
    assert memory.take_counted() == ()
    memory.keep_only([make_amphora()], NOW)
    assert len(memory.take_counted()) == 1
    memory.accept(make_heartbeat(2, listeners=()), NOW)
    memory.keep_only([], NOW + dt.timedelta(seconds=1))
    assert memory.take_counted() == ()


# Who has shared VIPs

SECOND = "00000000-0000-4000-8000-000000000009"
LATER = NOW + dt.timedelta(seconds=MISHELD_AFTER_S)


def make_pair(first: bool | None, second: bool | None, **changes: Any) -> Memory:
    memory = Memory()
    memory.keep_only([make_amphora(), msgspec.structs.replace(make_amphora(), id=SECOND)], NOW)
    memory.accept(make_heartbeat(has_vips=first, **changes), NOW)
    memory.accept(make_heartbeat(has_vips=second, amphora_id=SECOND, **changes), NOW)
    return memory


@pytest.mark.parametrize(
    ("first", "second", "changes", "counted"),
    [
        (True, False, {}, (0, 0)),
        (True, True, {}, (0, 1)),
        (False, False, {}, (1, 0)),
        # Nothing is served yet; a single one; an agent that does not tell.
        (False, False, {"listeners": ()}, (0, 0)),
        (None, None, {}, (0, 0)),
        (False, None, {}, (0, 0)),
    ],
)
def test_shared_vips_that_are_not_on_just_one_are_counted_after_a_while(
    first: bool | None, second: bool | None, changes: dict[str, Any], counted: tuple[int, int]
) -> None:
    memory = make_pair(first, second, **changes)
    misheld = memory.observe(LB).misheld
    assert (misheld is not None) == (counted != (0, 0))
    assert misheld is None or len(misheld.amphora_ids) == 2 * counted[1]
    assert memory.holders.count(NOW) == (0, 0)
    assert memory.holders.count(LATER) == counted


def test_a_move_of_the_vips_is_news_and_counts_from_its_beginning() -> None:
    memory = make_pair(True, False)
    assert memory.holders.take_news(memory.knows) == {AMPHORA: True, SECOND: False}
    memory.take_news()
    memory.accept(make_heartbeat(2, has_vips=True, amphora_id=SECOND), NOW)
    assert (memory.take_news(), memory.holders.take_news(memory.knows)) == ((LB,), {SECOND: True})
    memory.accept(make_heartbeat(3, has_vips=True, amphora_id=SECOND), LATER)
    assert memory.take_news() == ()
    assert memory.observe(LB).misheld == Misheld(amphora_ids=(AMPHORA, SECOND), since=NOW)
    memory.accept(make_heartbeat(2, has_vips=False), LATER)
    assert memory.observe(LB).misheld is None
    memory.holders.put_back({AMPHORA: True})
    assert memory.holders.take_news(memory.knows) == {AMPHORA: False}


def test_of_one_that_is_silent_or_gone_nobody_knows_whether_it_has_the_vips() -> None:
    memory = make_pair(True, False)
    memory.holders.take_news(memory.knows)
    memory.set_silent([Silence(amphora_id=AMPHORA, load_balancer_id=LB, host="h", since=NOW)])
    assert memory.holders.take_news(memory.knows) == {AMPHORA: None}
    memory.accept(make_heartbeat(2, has_vips=False, amphora_id=SECOND), NOW)
    assert memory.observe(LB).misheld is None
    memory.accept(make_heartbeat(2, has_vips=True), LATER)
    assert memory.holders.take_news(memory.knows) == {AMPHORA: True}
    memory.keep_only([make_amphora()], LATER + dt.timedelta(seconds=1))
    assert memory.observe(LB).misheld is None


def test_who_is_not_known_yet_is_written_later() -> None:
    memory = Memory()
    memory.accept(make_heartbeat(has_vips=True), NOW)
    assert memory.holders.take_news(memory.knows) == {}
    memory.keep_only([make_amphora()], NOW)
    assert memory.holders.take_news(memory.knows) == {AMPHORA: True}


def test_what_only_another_process_hears_lately_is_not_told_by_what_was_said_before() -> None:
    memory = make_memory(make_heartbeat())
    assert memory.observe(LB).heard == 1
    memory.set_missed([make_amphora()], NOW + dt.timedelta(seconds=1))
    assert memory.observe(LB) == Observed()
    memory.accept(make_heartbeat(2), NOW + dt.timedelta(seconds=2))
    assert (memory.take_news(), memory.observe(LB).heard) == ((LB,), 1)


def test_old_words_of_an_amphora_that_is_not_expected_to_speak_count_no_more() -> None:
    memory = make_memory(make_heartbeat())
    memory.set_missed([], NOW + dt.timedelta(seconds=1))
    assert memory.observe(LB).heard == 0
    memory.accept(make_heartbeat(2), NOW + dt.timedelta(seconds=2))
    assert (memory.take_news(), memory.observe(LB).heard) == ((LB,), 1)


def test_the_others_do_not_speak_for_one_that_is_missed() -> None:
    other = "00000000-0000-4000-8000-000000000009"
    memory = make_memory()
    memory.keep_only([make_amphora(), msgspec.structs.replace(make_amphora(), id=other)], NOW)
    later = NOW + dt.timedelta(seconds=2)
    for sender in (AMPHORA, other):
        memory.accept(make_heartbeat(amphora_id=sender), later)
    memory.set_missed([make_amphora()], NOW)
    assert memory.observe(LB) == Observed()
    memory.set_missed([], NOW)
    assert memory.observe(LB).heard == 2


def test_who_has_the_vips_is_told_again_after_a_silence_that_another_process_has_ended() -> None:
    memory = make_memory(make_heartbeat(has_vips=False))
    silence = Silence(amphora_id=AMPHORA, load_balancer_id=LB, host="h", since=NOW)
    memory.holders.take_news(memory.knows)
    memory.set_silent([silence])
    assert memory.holders.take_news(memory.knows) == {AMPHORA: None}
    memory.set_missed([make_amphora()], NOW + dt.timedelta(seconds=1))
    memory.set_silent([])
    memory.accept(make_heartbeat(2, has_vips=False), NOW + dt.timedelta(seconds=2))
    assert memory.holders.take_news(memory.knows) == {AMPHORA: False}
