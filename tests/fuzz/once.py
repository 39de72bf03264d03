"""One try: a parser on some bytes, watched for errors that it must not raise, for time and for memory."""

import contextlib
import resource
import signal
from collections.abc import Iterator
from types import FrameType

from tests.fuzz.targets import Target

MOST_S = 10
"""Of processor time: far more than any parser needs for what may be sent, on any machine."""
MOST_GROWTH_KIB = 256 * 1024


class Hung(BaseException):
    """Not an `Exception`, so that nothing in between takes it."""


def try_once(target: Target, data: bytes) -> None:
    """Raises what is a find: an error that is not allowed, `Hung`, `MemoryError`."""
    before = _peak_kib()
    with _limited(), contextlib.suppress(*target.allowed):
        target.run(data)
    if _peak_kib() - before > MOST_GROWTH_KIB:
        raise MemoryError(f"{len(data)} bytes took {(_peak_kib() - before) // 1024} MiB")


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


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
