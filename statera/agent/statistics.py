"""What HAProxy's `show info` and `show stat` say of listeners and members. Pure.

Columns and fields: HAProxy 2.6 management guide, 9.1 and 9.3.
"""

import contextlib
import csv
import functools
import re
from collections.abc import Iterator

from statera.base.digits import read_digits
from statera.model.agent_wire import Metrics
from statera.model.heartbeat import ListenerObserved, ListenerState, MemberObserved, MemberState
from statera.render.haproxy import parse_backend_name

_RANK = {
    MemberState.UP: 4,
    MemberState.NO_CHECK: 3,
    MemberState.DRAIN: 2,
    MemberState.DOWN: 1,
    MemberState.MAINT: 0,
}
COLUMNS = {
    "pxname", "svname", "status", "scur", "slim", "stot", "bin", "bout", "ereq", "lastchg",
    "check_status", "check_code", "check_desc", "last_chk",
}  # fmt: skip
PID_BITS = 22
"""Linux has no larger pids than 2^22 (proc(5))."""


def parse_process(text: str) -> int:
    """Return a number of the process that counts, which no other process of the amphora has; 0 when it is not told."""
    start = re.search(r"^Start_time_sec: ([0-9]{1,12})$", text, re.MULTILINE)
    pid = re.search(r"^Pid: ([0-9]{1,7})$", text, re.MULTILINE)
    return int(start[1]) << PID_BITS | int(pid[1]) if start and pid else 0


def parse_statistics(text: str) -> tuple[tuple[ListenerObserved, ...], tuple[MemberObserved, ...]]:
    """Return listeners and members. A pool that serves several listeners is told once: a member that works in one

    of its backends works.
    """
    listeners: list[ListenerObserved] = []
    members: dict[tuple[str, str], MemberObserved] = {}
    for row in _rows(text):
        proxy, server = row.get("pxname") or "", row.get("svname") or ""
        backend = parse_backend_name(proxy)
        if server == "FRONTEND":
            if len(proxy) == 36:
                listeners.append(_listener(row))
        elif server not in ("", "BACKEND") and backend is not None:
            member = _member(backend[0], row)
            known = members.get((member.pool_id, member.member_id))
            if known is None or _RANK[member.state] > _RANK[known.state]:
                members[member.pool_id, member.member_id] = member
    return tuple(listeners), tuple(members.values())


def _rows(text: str) -> Iterator[dict[str, str]]:
    """Yield those columns of each row that are read here."""
    table = text[max(text.find("# pxname"), 0) :]
    head, *lines = [line for line in table.lstrip("# ").splitlines() if line] or [""]
    columns = _find_columns(head)
    # Words are quoted where they need it (RFC 4180), and few do. To read all as if they were takes ten times as long.
    rows = csv.reader(lines) if '"' in table else (line.split(",") for line in lines)
    # An answer that was cut off, or is none, ends where it cannot be read.
    with contextlib.suppress(csv.Error):
        for row in rows:
            yield {name: row[at] for name, at in columns if at < len(row)}


@functools.lru_cache(maxsize=16)
def _find_columns(head: str) -> tuple[tuple[str, int], ...]:
    return tuple((name, at) for at, name in enumerate(head.split(",")) if name in COLUMNS)


def _number(row: dict[str, str], column: str) -> int:
    return read_digits(row.get(column) or "") or 0


def _listener(row: dict[str, str]) -> ListenerObserved:
    states = {"OPEN": ListenerState.OPEN, "FULL": ListenerState.FULL}
    status = states.get(row.get("status") or "", ListenerState.STOP)
    current = _number(row, "scur")
    # At its limit HAProxy stops accepting for moments only; the count tells it better than the state.
    if status == ListenerState.OPEN and current >= _number(row, "slim") > 0:
        status = ListenerState.FULL
    return ListenerObserved(
        id=row["pxname"],
        status=status,
        active_connections=current,
        total_connections=_number(row, "stot"),
        bytes_in=_number(row, "bin"),
        bytes_out=_number(row, "bout"),
        request_errors=_number(row, "ereq"),
    )


def _member(pool_id: str, row: dict[str, str]) -> MemberObserved:
    return MemberObserved(
        pool_id=pool_id,
        member_id=row["svname"],
        state=_member_state(row.get("status") or ""),
        check=(row.get("check_status") or "").removeprefix("* ")[:16],
        code=read_digits(row.get("check_code") or ""),
        text=(row.get("last_chk") or row.get("check_desc") or "")[:160],
        since_s=float(_number(row, "lastchg")),
    )


def _member_state(status: str) -> MemberState:
    # "UP 1/3" is on its way down and still used, "DOWN 1/2" on its way up and not used yet.
    match status.partition(" ")[0]:
        case "UP":
            return MemberState.UP
        case "no":
            return MemberState.NO_CHECK
        case "DRAIN" | "NOLB":
            return MemberState.DRAIN
        case "MAINT":
            return MemberState.MAINT
        case _:
            return MemberState.DOWN


def read_metrics(amphora_id: str, statistics: str, *, haproxy_running: bool) -> Metrics:
    """Return HAProxy's words as what they tell; nothing for none."""
    listeners, members = parse_statistics(statistics) if statistics else ((), ())
    return Metrics(
        amphora_id=amphora_id,
        haproxy_running=haproxy_running,
        listeners=listeners,
        members=members,
        process=parse_process(statistics),
    )
