"""The supervisor goes on, whatever cannot be started just now."""

import errno
import os
import subprocess
import sys
from pathlib import Path

from statera.cli.up import RESTART_FIRST_S, Role, _keep_running, _start_again
from statera.cli.watchdog import Patience, listening_for_life
from statera.drivers.postgres_embedded import EmbeddedPostgres


class FullDisk:
    """A PostgreSQL whose files cannot be written."""

    running = False

    def start(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_does_not_end_the_others() -> None:
    _start_again(FullDisk())


def test_a_process_that_cannot_be_started_is_tried_again_later(tmp_path: Path) -> None:
    role = Role(name="worker", prefix=(str(tmp_path / "nowhere"),))
    with listening_for_life(tmp_path / "up.sock", Patience(60.0, 60.0), None) as watchdog:
        _keep_running(role, None, 10.0, watchdog)
        assert (role.process, role.restart_at) == (None, 10.0 + 2 * RESTART_FIRST_S)
        _keep_running(role, None, role.restart_at - 0.01, watchdog)
        assert role.restart_at == 10.0 + 2 * RESTART_FIRST_S
        _keep_running(role, None, role.restart_at, watchdog)
        assert role.wait_s == 4 * RESTART_FIRST_S


def test_the_cut_name_of_another_process_hides_no_postgres(tmp_path: Path) -> None:
    # The kernel keeps 15 bytes of a name: here it cuts the last character in two.
    name = "fourteen-bytes\N{LATIN SMALL LETTER E WITH ACUTE}"
    words = "import ctypes, sys; ctypes.CDLL(None).prctl(15, sys.argv[1].encode()); print(flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", words, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        assert Path(f"/proc/{other.pid}/comm").read_bytes() == b"fourteen-bytes\xc3\n"
        assert EmbeddedPostgres(tmp_path, tmp_path)._list_processes() == []
    finally:
        other.kill()
        other.communicate()
