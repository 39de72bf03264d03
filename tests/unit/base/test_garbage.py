"""The collector has little to do in a process that runs for months, and still does it."""

import subprocess
import sys

PROGRAM = """
import gc, weakref
from statera.base.garbage import YOUNG, spare_lasting_objects

class Ring: pass

def leave_ring():
    ring = Ring()
    ring.itself = ring
    return weakref.ref(ring)

before = leave_ring()
spare_lasting_objects()
after, counted = leave_ring(), gc.get_count()[0]
kept = [[] for _ in range(2 * YOUNG)]
print(before() is None, gc.get_freeze_count() > 1_000, counted < YOUNG, after() is None)
"""


def test_lasting_objects_are_spared_and_rings_are_still_found() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout.split(), done.stderr) == (["True"] * 4, "")
