"""Folders of amphorae, in which others write, too."""

import os
import stat
from pathlib import Path

import pytest

from statera.agent.folders import AmphoraFolders, HostFolders
from statera.agent.users import User
from statera.agent.words import MOST_BYTES, Words
from statera.base.settings import Settings


def test_a_new_owner_gets_sockets_and_nothing_that_was_put_beside_them(tmp_path: Path) -> None:
    folders = AmphoraFolders(tmp_path / "keep", tmp_path / "run")
    folders.live.mkdir(parents=True)
    precious = tmp_path / "precious"
    precious.write_text("root's")
    os.link(precious, folders.live / "hard")
    (folders.live / "soft").symlink_to(precious)
    os.mknod(folders.live / "stats", stat.S_IFSOCK | 0o600)
    if os.geteuid() != 0:
        pytest.skip("gives files away: needs root")
    folders.own(User(4_000_001, 4_000_001))
    assert precious.stat().st_uid == 0
    assert [path.name for path in folders.live.iterdir()] == ["stats"]
    assert (folders.live / "stats").stat().st_uid == 4_000_001


def test_what_programs_print_does_not_grow_for_ever(tmp_path: Path) -> None:
    run = tmp_path / "run" / "amphorae" / "one"
    run.mkdir(parents=True)
    (run / "nginx-words").write_text("[notice] a few")
    with (run / "words").open("ab", buffering=0) as words:
        words.write(b"x" * (MOST_BYTES + 1))
        HostFolders(Settings(data_dir=str(tmp_path / "data"), run_dir=str(tmp_path / "run"))).trim()
        words.write(b"[WARNING] Server is DOWN")
    assert (run / "words").read_bytes() == b"[WARNING] Server is DOWN"
    assert (run / "nginx-words").read_text() == "[notice] a few"


def test_what_is_printed_after_a_cut_is_read(tmp_path: Path) -> None:
    words = Words(tmp_path / "words", most_bytes=10)
    words.file.write_text("long ago, and long")
    begun = words._size()
    words.trim()
    words.file.write_text("[ALERT] no")
    assert words.read(begun) == "[ALERT] no"
