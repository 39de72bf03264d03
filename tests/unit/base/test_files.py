"""Files written whole, and locks."""

import os
import stat
from pathlib import Path

import pytest

from statera.base.files import locked, write_whole
from statera.base.processes import is_alive


def test_a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_whole(path, b"new", 0o640, group_id=os.getgid())
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_one_holds_a_lock_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path) as is_first:
        assert is_first
        with locked(path) as is_second:
            assert not is_second
    with locked(path, waits=True) as is_third:
        assert is_third


def test_a_lock_that_others_could_hold_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "up.lock"
    path.touch(mode=0o644)  # as older versions have made it
    with locked(path, mode=0o600) as is_ours:
        assert is_ours
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_who_ended_and_was_not_reaped_does_not_live() -> None:
    assert is_alive(os.getpid())
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(pid)
    os.waitpid(pid, 0)
    assert not is_alive(pid)


def test_no_link_is_followed_by_what_writes_or_locks(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "key.part").symlink_to(victim)
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        write_whole(tmp_path / "key", b"new", 0o600)
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock"):
        pass
    assert victim.read_bytes() == b"precious"
