"""Whether a process lives, and what the kernel tells of it."""

from pathlib import Path


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
    told = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    return next((line.split()[1:] for line in told.splitlines() if line.startswith(f"{field}:")), [])
