"""A process of `statera up` that hangs is started anew, though it does not end; so is `statera up`, by systemd."""

import os
import signal
import socket
import struct
from pathlib import Path

import pytest

from tests.e2e.test_noop import run_noop, wait_for

pytestmark = pytest.mark.e2e


def test_who_hangs_is_killed_and_started_again(database_url: str, tmp_path: Path) -> None:
    with run_noop(tmp_path, database_url, "watchdog_s = 5\n") as noop:
        before = wait_for(lambda: noop.list_roles() if len(noop.list_roles()) == 2 else None, "All processes")
        log = tmp_path / "log"
        # Whoever has not spoken yet may take longer.
        wait_for(lambda: "api listens" in log.read_text(encoding="utf-8"), "The API")
        noop.ask("GET", "/v2/lbaas/loadbalancers")
        os.kill(before["worker"], signal.SIGSTOP)
        wait_for(lambda: noop.list_roles().get("worker", before["worker"]) != before["worker"], "Another worker")
        assert f"pid={before['worker']}" in next(
            line for line in log.read_text(encoding="utf-8").splitlines() if "process hangs" in line
        )
        assert noop.list_roles()["api"] == before["api"]


HANG_ONCE = """
import os, pathlib, sys, time
if sys.orig_argv[1:4] == ["-m", "statera", "worker"]:
    place = pathlib.Path(__file__).with_name("hung")
    if not place.exists():
        place.write_text(str(os.getpid()))
        time.sleep(600)
"""


def test_who_hangs_before_its_first_sign_is_killed_and_started_again(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 5)
    deep.mkdir(parents=True)
    (tmp_path / "sitecustomize.py").write_text(HANG_ONCE, encoding="ascii")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with run_noop(deep, database_url, "watchdog_s = 5\nwatchdog_start_s = 10\n") as noop:
        hung = int(wait_for(lambda: (tmp_path / "hung").exists() and (tmp_path / "hung").read_text(), "The hang"))
        wait_for(lambda: noop.list_roles().get("worker", hung) != hung, "Another worker")
        told = (deep / "log").read_text(encoding="utf-8")
        line = next(line for line in told.splitlines() if "process hangs" in line and f"pid={hung} " in line)
        assert "since its start for 10 s (watchdog_start_s)" in line


def test_systemd_hears_of_the_supervisor_alone(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        systemd.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "1500000")
        with run_noop(tmp_path, database_url) as noop:
            heard = []
            for _ in range(6):
                told, ((_, _, sender),), _, _ = systemd.recvmsg(100, socket.CMSG_SPACE(12))
                heard.append((told, struct.unpack("3i", sender)[0]))
            assert heard == [(b"READY=1", noop.process.pid), *[(b"WATCHDOG=1", noop.process.pid)] * 5]
