"""One try: a parser on some bytes, watched for errors that it must not raise, for time and for memory."""

import contextlib
import hashlib
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from statera.base.processes import read_status
from tests.fuzz.targets import Target

MOST_S = 10
"""Of processor time: far more than any parser needs for what may be sent, on any machine."""
MOST_GROWTH_KIB = 64 * 1024
MOST_SHOWN = 4000
"""Bytes of a find that are told with it; the file has all."""
_CLEAR_PEAK = b"5"
"""Makes the kernel forget the peak of a process (proc(5), clear_refs)."""


class Hung(BaseException):
    """Not an `Exception`, so that nothing in between takes it."""


def try_once(target: Target, data: bytes) -> None:
    """Raises what is a find: an error that is not allowed, `Hung`, `MemoryError`.

    Memory is what the process holds at most during the try, beyond what it held before. What fits into memory that
    earlier tries have left free is not seen: less than the limit, or it would have been a find then.
    """
    Path("/proc/self/clear_refs").write_bytes(_CLEAR_PEAK)
    before = _peak_kib()
    with _limited(), contextlib.suppress(*target.allowed):
        target.run(data)
    if (growth := _peak_kib() - before) > MOST_GROWTH_KIB:
        raise MemoryError(f"{len(data)} bytes took {growth // 1024} MiB")


def keep_find(folder: Path, data: bytes, error: BaseException) -> Path:
    """Save the bytes of a find in a folder of the corpus, where every later run tries them; the error tells them."""
    path = folder / f"found-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    error.add_note(f"{len(data)} bytes, kept in {path}: {data[:MOST_SHOWN]!r}")
    return path


def _peak_kib() -> int:
    return int(read_status("self", "VmHWM")[0])


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def end(_number: int, _frame: FrameType | None) -> None:
        raise Hung(f"more than {MOST_S} s of processor time")

    known = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, known)
