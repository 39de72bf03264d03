"""Whether a process lives, and what the kernel tells of it."""

import contextlib
import os
from pathlib import Path

PAGE_BYTES = 4096


def is_alive(pid: int) -> bool:
    """Say whether a process still runs; one that nobody reaped has ended too."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    # The name before the state, in brackets, may hold anything (proc(5), stat).
    return told.rpartition(")")[2].split()[0] not in "ZX"


def read_status(pid: int | str, field: str) -> list[str]:
    """Return the words of a line of a process's status, such as `Uid` (proc(5)); none without it. Raises `OSError`."""
    _, _, found = (b"\n" + _read(f"/proc/{pid}/status")).partition(f"\n{field}:".encode("ascii"))
    return found.partition(b"\n")[0].decode("ascii", errors="replace").split()


def list_family(pid: int) -> list[int]:
    """Return a process and its children, itself alone where the kernel does not tell of them."""
    with contextlib.suppress(OSError):
        return [pid, *map(int, _read(f"/proc/{pid}/task/{pid}/children").split())]
    return [pid]


def _read(path: str) -> bytes:
    # Without Python's own file object, which costs twice as much: the agent asks for a thousand sandboxes.
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: os.read(file, PAGE_BYTES), b""))
    finally:
        os.close(file)
