"""Clocks that jump: each process is started by this file, which adds to every wall clock what a small file holds.

    python clocks.py <file with a double> <arguments of statera>

Monotonic clocks go on evenly, as those of a machine whose time is corrected.
"""

import datetime as dt
import mmap
import struct
import sys
import time
from pathlib import Path

FORM = struct.Struct("<d")


def write_offset(path: Path, seconds: float) -> None:
    """Set how far the clock of a process is ahead. A mapping of the file stays valid."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(FORM.pack(seconds))


def shift_clocks(path: Path) -> None:
    """Make all wall clocks of this process go by the file."""
    from statera.base.clock import SystemClock

    with path.open("rb") as file:
        shared = mmap.mmap(file.fileno(), FORM.size, prot=mmap.PROT_READ)
    real, real_ns = time.time, time.time_ns

    def offset_s() -> float:
        return float(FORM.unpack_from(shared)[0])

    def now(self: SystemClock) -> dt.datetime:
        return dt.datetime.fromtimestamp(real() + offset_s(), dt.UTC)

    time.time = lambda: real() + offset_s()
    time.time_ns = lambda: real_ns() + int(offset_s() * 1e9)
    SystemClock.now = now  # type: ignore[method-assign]


if __name__ == "__main__":
    shift_clocks(Path(sys.argv[1]))
    from statera.cli.main import main

    sys.argv = ["statera", *sys.argv[2:]]
    main()
