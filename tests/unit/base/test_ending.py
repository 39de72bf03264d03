"""A process ends, whatever does not let go."""

import subprocess
import sys

STUCK = """
import asyncio
from statera.base.ending import end_within

async def hold_on():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def fail():
    asyncio.create_task(hold_on())
    await asyncio.sleep(0)
    raise RuntimeError("a loop has ended")

with asyncio.Runner() as runner:
    try:
        runner.run(fail())
    finally:
        end_within(0.2)
"""


def test_a_task_that_cannot_be_cancelled_does_not_keep_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "Does not end; thread" in done.stderr


def test_who_ends_in_time_is_left_alone() -> None:
    words = "from statera.base.ending import end_within; end_within(30); raise SystemExit(7)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (7, "")
