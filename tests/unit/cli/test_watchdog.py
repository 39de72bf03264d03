"""Signs of life: who gives them, who does not any more, and what becomes of it."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from statera.base.watchdog import READY, SIGN, Supervisor, show_life
from statera.cli.up import KILL_AFTER_S, Role, _end_hung
from statera.cli.watchdog import TURN_MOST_S, Hang, Patience, listening_for_life, without_watchdog

HANG = """
import asyncio, faulthandler, os, time
from statera.base.watchdog import READY, SIGN, Supervisor, show_life
faulthandler.enable()

async def hang_soon():
    showing = asyncio.create_task(show_life(os.environ))
    await asyncio.sleep(0)
    time.sleep(60)

asyncio.run(hang_soon())
"""


def test_who_hangs_is_found_and_says_where(tmp_path: Path) -> None:
    with listening_for_life(tmp_path / "up.sock", Patience(5.0, 0.0), None) as watchdog:
        environment = without_watchdog(os.environ) | watchdog.environment()
        process = subprocess.Popen([sys.executable, "-c", HANG], env=environment, stderr=subprocess.PIPE)
        watchdog.expect(process.pid)
        try:
            turns = 0
            while not (hung := watchdog.turn(float(turns))):
                assert turns < 1_000
                turns += 1
                time.sleep(0.03)
            assert hung == {process.pid: Hang(0.0, "It has given no sign of life any more for 5 s (watchdog_s).")}
            role = Role(name="worker", process=process)
            _end_hung(role, process, Hang(0.0, ""))
            _end_hung(role, process, Hang(0.2, ""))
            told = process.communicate(timeout=30)[1].decode()
        finally:
            process.kill()
        assert process.returncode == -signal.SIGABRT
        assert "hang_soon" in told
        watchdog.forget(process.pid)
        assert watchdog.turn(turns + 60.0) == {}


@pytest.mark.parametrize(("starting_s", "first"), [(5.0, 5), (0.0, None)])
def test_who_never_begins_has_a_time_of_its_own(tmp_path: Path, starting_s: float, first: int | None) -> None:
    with listening_for_life(tmp_path / "up.sock", Patience(2.0, starting_s), None) as watchdog:
        watchdog.expect(os.getpid())
        found = {second: watchdog.turn(float(second)) for second in range(12)}
        assert next((second for second, hung in found.items() if hung), None) == first
        assert {hang.why for hang in found[5].values()} <= {
            "It has given no sign of life since its start for 5 s (watchdog_start_s)."
        }
        Supervisor({**watchdog.environment(), "WATCHDOG_PID": str(os.getpid())}).tell(SIGN)
        assert [bool(watchdog.turn(float(second))) for second in (12, 13, 14)] == [False, False, True]


def test_signs_are_heard_however_deep_the_folder_is(tmp_path: Path) -> None:
    place = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8, "up.sock")
    assert len(str(place)) > 107 + 100
    with listening_for_life(place, Patience(3.0, 3.0), None) as watchdog:
        watchdog.expect(os.getpid())
        own = Supervisor({**watchdog.environment(), "WATCHDOG_PID": str(os.getpid())})
        for second in range(9):
            own.tell(SIGN)
            assert watchdog.turn(float(second)) == {}


async def test_who_turns_is_heard_again_and_again(tmp_path: Path) -> None:
    with listening_for_life(tmp_path / "up.sock", Patience(0.3, 0.0), None) as watchdog:
        watchdog.expect(os.getpid())
        speaking = asyncio.create_task(show_life(watchdog.environment()))
        for number in range(20):
            await asyncio.sleep(0.15)
            assert watchdog.turn(number * 0.2) == {}
        speaking.cancel()


def test_who_does_not_abort_is_killed() -> None:
    process = subprocess.Popen(["sleep", "60"])
    os.kill(process.pid, signal.SIGSTOP)
    role = Role(name="worker", process=process)
    _end_hung(role, process, Hang(0.0, ""))
    _end_hung(role, process, Hang(KILL_AFTER_S, ""))
    assert process.wait(30) == -signal.SIGKILL


async def test_a_supervisor_that_was_stopped_itself_blames_nobody(tmp_path: Path) -> None:
    with listening_for_life(tmp_path / "up.sock", Patience(3 * TURN_MOST_S, 0.0), None) as watchdog:
        watchdog.expect(os.getpid())
        speaking = asyncio.create_task(show_life(watchdog.environment()))
        await asyncio.sleep(0.05)
        speaking.cancel()
        assert watchdog.turn(0.0) == {}
        for hour in range(1, 3):
            assert watchdog.turn(3600.0 * hour) == {}
        assert [hang.late_s for hang in watchdog.turn(3600.0 * 3).values()] == [0.0]


@pytest.mark.parametrize("is_folder", [True, False])
def test_nobody_is_silent_whose_socket_was_taken_away(tmp_path: Path, is_folder: bool) -> None:
    """A tidy-up of the run folder: all processes would be killed for it, and hang unseen from then on."""
    place = tmp_path / "run" / "up.sock"
    with listening_for_life(place, Patience(3.0, 0.0), None) as watchdog:
        watchdog.expect(os.getpid())
        own = Supervisor({**watchdog.environment(), "WATCHDOG_PID": str(os.getpid())})
        own.tell(SIGN)
        assert watchdog.turn(0.0) == {}
        place.unlink()
        if is_folder:
            place.parent.rmdir()
        for second in range(1, 6):
            own.tell(SIGN)
            assert watchdog.turn(float(second)) == {}
        assert [second for second in range(6, 12) if watchdog.turn(float(second))][:1] == [8]
    assert not place.exists()


def test_a_flood_of_signs_from_others_neither_counts_nor_holds_up(tmp_path: Path) -> None:
    place = tmp_path / "up.sock"
    with listening_for_life(place, Patience(3.0, 0.0), None) as watchdog:
        watchdog.expect(1)
        program = (
            "import socket, sys\nsending = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
            "while True: sending.sendto(b'WATCHDOG=1', sys.argv[1])"
        )
        flood = subprocess.Popen([sys.executable, "-c", program, str(place)])
        try:
            for second in range(20):
                assert watchdog.turn(float(second)) == {}
        finally:
            flood.kill()
            flood.wait()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": "/nowhere"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
async def test_nobody_asked(environment: dict[str, str]) -> None:
    await show_life(environment)


@pytest.mark.parametrize("is_file", [True, False])
def test_signs_come_as_often_as_they_are_asked_for(tmp_path: Path, is_file: bool) -> None:
    place = str(tmp_path / "notify") if is_file else f"@statera-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(place.replace("@", "\0"))
        systemd.setblocking(False)
        supervisor = Supervisor({"NOTIFY_SOCKET": place, "WATCHDOG_USEC": "6000000", "WATCHDOG_PID": str(os.getpid())})
        supervisor.tell(READY)
        for second in range(5):
            supervisor.tell_alive(float(second))
        heard = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(systemd.recv(100))
        assert heard == [READY, SIGN, SIGN, SIGN]


def test_no_watchdog_is_wanted(tmp_path: Path) -> None:
    with listening_for_life(tmp_path / "up.sock", Patience(0.0, 1.0), None) as watchdog:
        assert watchdog.environment() == {}
        watchdog.expect(os.getpid())
        assert [watchdog.turn(float(second)) for second in range(5)] == [{}] * 5
    assert without_watchdog({"NOTIFY_SOCKET": "a", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}) == {
        "HOME": "/"
    }
