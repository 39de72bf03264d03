"""The demonstration, which must work again and again: also after it was killed in the middle."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import list_processes

pytestmark = [pytest.mark.e2e, pytest.mark.root]

WITHIN_S = 90.0


def _list_leftovers() -> list[str]:
    found = [str(path) for path in Path("/run/netns").glob("st-demo*")]
    found += [" ".join(words) for _, words in list_processes() if "statera-demo" in " ".join(words)]
    return found + [folder for folder in ("/var/lib/statera-demo", "/run/statera-demo") if Path(folder).exists()]


def test_it_recovers_from_a_kill_and_leaves_nothing() -> None:
    command = [sys.executable, "-m", "statera", "demo", "--once"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + WITHIN_S
    # In the middle: the sandbox is built, everything runs.
    while not list(Path("/var/lib/statera-demo").glob("amphorae/*/record.json")) and time.monotonic() < deadline:
        assert first.poll() is None, "the first demonstration ended by itself"
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert _list_leftovers() != []
    again = subprocess.run(command, check=False, capture_output=True, text=True, timeout=WITHIN_S)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "web4 answered" in again.stdout
    assert _list_leftovers() == []


def test_a_terminal_that_is_closed_leaves_nothing() -> None:
    command = [sys.executable, "-m", "statera", "demo"]
    shown = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert shown.stdout is not None
    deadline = time.monotonic() + WITHIN_S
    while not list(Path("/run/netns").glob("st-demo*")) and time.monotonic() < deadline:
        assert shown.poll() is None, "it ended by itself"
        time.sleep(0.02)
    shown.stdout.close()
    shown.send_signal(signal.SIGHUP)
    shown.wait(WITHIN_S)
    assert _list_leftovers() == []
