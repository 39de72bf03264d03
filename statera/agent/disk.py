"""A disk that takes nothing more: what it means for whoever wanted something written."""

import errno
import os

from statera.base.errors import Transient

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def read_disk_fault(error: BaseException) -> Transient | None:
    """Return a reason (slug `disk-full`) when an error says that the disk is full or read-only, else None."""
    if not isinstance(error, OSError) or error.errno not in FULL:
        return None
    host, why = os.uname().nodename, os.strerror(error.errno)
    return Transient("disk-full", f"The disk of host {host} takes nothing more ({why}). What runs there runs on.")
