"""Whether a process lives."""

from pathlib import Path


def is_alive(pid: int) -> bool:
    """Say whether a process still runs; one that nobody reaped has ended too."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    # The name before the state, in brackets, may hold anything (proc(5), stat).
    return told.rpartition(")")[2].split()[0] not in "ZX"
