"""Files that nobody ever reads half of, and locks between the processes of one machine."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def write_whole(path: Path, content: bytes, mode: int, *, group_id: int = -1) -> None:
    """Write beside the file, then rename over it. Who may read it is settled before anything is in it.

    What root writes into somebody's folder is theirs, and no link that they put there is followed.
    """
    beside = path.with_name(f"{path.name}.part")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchown(descriptor, path.parent.stat().st_uid if os.geteuid() == 0 else -1, group_id)
        os.fchmod(descriptor, mode)
        file.write(content)
    beside.replace(path)


@contextlib.contextmanager
def locked(path: Path, *, waits: bool = False, mode: int = 0o644) -> Iterator[bool]:
    """Hold a lock file during the block and give whether it is ours; False: another process has it.

    With `waits` it is always ours in the end. The kernel releases it when its holder dies. Whoever may read the file
    may hold the lock: where others get into its folder, `mode` keeps them out.
    """
    file = _open_lock(path, mode)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


def _open_lock(path: Path, mode: int) -> int:
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | flags, mode)
    except PermissionError:
        # Another user's, root's say: to lock a file it is enough to read it (flock(2)).
        return os.open(path, os.O_RDONLY | flags)
    if mode & 0o077 == 0 and os.fstat(file).st_uid == os.geteuid():
        # One that an older version has made was for everybody.
        os.fchmod(file, mode)
    return file
