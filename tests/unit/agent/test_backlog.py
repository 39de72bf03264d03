"""As many packets may wait for a processor as the questions of a host's amphorae need, and never fewer than before."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from statera.agent.backlog import MOST, OPTION, count_dropped, decide_backlog, raise_backlog, read_backlog


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_it_is_never_made_shorter_or_endless(there: int, amphorae: int) -> None:
    assert there <= decide_backlog(there, amphorae) <= max(there, MOST)


def test_a_short_one_is_made_longer_and_a_long_one_left(tmp_path: Path) -> None:
    place = tmp_path / "netdev_max_backlog"
    for there, now in (("1000\n", 32_000), ("50000\n", 50_000)):
        place.write_text(there)
        raise_backlog(1000, place)
        assert read_backlog(place) == now


def test_where_it_cannot_be_seen_nothing_is_done(tmp_path: Path) -> None:
    raise_backlog(1000, tmp_path / "nowhere")
    assert read_backlog(tmp_path / "nowhere") is None
    assert list(tmp_path.iterdir()) == []


def test_what_it_may_not_change_it_tells(tmp_path: Path) -> None:
    place = tmp_path / "netdev_max_backlog"
    place.write_text("1000\n")

    class Closed(type(place)):  # type: ignore[misc]
        def write_text(self, *_: object, **__: object) -> int:
            raise PermissionError(13, "Permission denied")

    with capture_logs() as told:
        raise_backlog(1000, Closed(place))
    assert read_backlog(place) == 1000
    assert [line["command"] for line in told] == [f"sysctl -w {OPTION}=32000"]


def test_what_was_dropped_is_counted_over_all_processors(tmp_path: Path) -> None:
    counters = tmp_path / "softnet_stat"
    counters.write_text("0000aaaa 00000010 00000000\n0000bbbb 00000001 00000000\n")
    assert count_dropped(counters) == 17
    assert count_dropped(tmp_path / "nowhere") == 0
