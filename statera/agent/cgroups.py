"""Memory and CPU limits of a sandbox through control groups of version 1 or 2, as the host has; none is fine too.

All sandboxes have the same weight: on a busy machine each gets as much processor time as any other that wants it,
however many processes it has, with a limit of its own or without.
"""

import contextlib
import errno
import os
import threading
import time
from pathlib import Path

from statera.base.logging import get_logger
from statera.model.spec import LimitsSpec

log = get_logger("agent")

ROOT = Path("/sys/fs/cgroup")
PARENT = "statera"
PERIOD_US = 100_000
GONE_WITHIN_S = 2.0
LOOK_AGAIN_S = 0.01
WEIGHT, WEIGHT_OF_VERSION_1 = 100, 1024
"""The kernel's own for a new group; written, too, so that no group keeps another one that somebody gave it."""


_parent = threading.Lock()
"""Held while the groups' parent is made or removed: one that goes in between would take the limits along."""


def ensure_groups(amphora_id: str, limits: LimitsSpec) -> list[Path]:
    """Make the groups of one amphora with its limits; return the `cgroup.procs` files that a process joins."""
    with _parent:
        groups = _ensure_all(amphora_id, limits)
    if not groups:
        log.warning("neither memory nor processor time is limited: no control groups", amphora_id=amphora_id)
    return groups


def _ensure_all(amphora_id: str, limits: LimitsSpec) -> list[Path]:
    if (ROOT / "cgroup.controllers").exists():
        return _ensure_unified(amphora_id, limits)
    groups: list[Path] = []
    for controller, values in _values_of_version_1(limits).items():
        if (ROOT / controller / "tasks").exists():
            groups += _make(ROOT / controller / PARENT / amphora_id, values)
    return groups


def _ensure_unified(amphora_id: str, limits: LimitsSpec) -> list[Path]:
    for folder in (ROOT, ROOT / PARENT):
        folder.mkdir(exist_ok=True)
        for controller in ("memory", "cpu"):
            # One by one: the kernel refuses both when it has not got one of them.
            with contextlib.suppress(OSError):
                (folder / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
    quota = f"{limits.cpu_percent * PERIOD_US // 100} {PERIOD_US}" if limits.cpu_percent else f"max {PERIOD_US}"
    values = {
        "memory.max": str(limits.memory_mib * 1024 * 1024),
        "cpu.max": quota,
        "cpu.weight": str(WEIGHT),
    }
    return _make(ROOT / PARENT / amphora_id, values)


def _values_of_version_1(limits: LimitsSpec) -> dict[str, dict[str, str]]:
    quota = limits.cpu_percent * PERIOD_US // 100 if limits.cpu_percent else -1
    return {
        "memory": {"memory.limit_in_bytes": str(limits.memory_mib * 1024 * 1024)},
        "cpu": {"cpu.cfs_quota_us": str(quota), "cpu.shares": str(WEIGHT_OF_VERSION_1)},
    }


def _make(folder: Path, values: dict[str, str]) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        log.warning("no control group", folder=str(folder), error=error.strerror)
        return []
    for name, value in values.items():
        try:
            (folder / name).write_text(value, encoding="ascii")
        except OSError as error:
            # A kernel without a limit of this kind, say: what else there is holds.
            log.warning("limit not set", file=str(folder / name), error=error.strerror)
    return [folder / "cgroup.procs"]


def remove_groups(amphora_id: str) -> None:
    """Remove the groups; their processes must have ended."""
    places = [ROOT / PARENT, *(ROOT / controller / PARENT for controller in ("memory", "cpu"))]
    for place in places:
        _remove(place / amphora_id)
        # The parent goes with the last one.
        with _parent, contextlib.suppress(OSError):
            os.rmdir(place)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + GONE_WITHIN_S
    while True:
        try:
            os.rmdir(folder)
        except OSError as error:
            # A process leaves its namespaces a moment before its groups.
            if error.errno == errno.EBUSY and time.monotonic() < deadline:
                time.sleep(LOOK_AGAIN_S)
                continue
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                log.warning("control group not removed", folder=str(folder), error=error.strerror)
        return
