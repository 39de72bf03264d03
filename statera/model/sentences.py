"""The words in which tenants are told how their load balancer fares: HAProxy's short ones made readable, names in rows.

A sentence holds no number that moves by itself (ages, counts of connections): it would be news with every heartbeat.
"""

import datetime as dt
from collections.abc import Sequence

from statera.model.engines import EngineName
from statera.model.enums import MonitorType
from statera.model.heartbeat import MemberObserved
from statera.model.network import endpoint
from statera.model.observed import Misheld, Observed
from statera.model.tree import HealthMonitor, Member

_ENGINE_WORDS = {EngineName.HAPROXY: "HAProxy", EngineName.NGINX: "nginx", EngineName.LVS: "keepalived"}
_MOST_NAMED = 3
"""Objects that a sentence names before it says "and n more"."""

_CHECK_WORDS = {
    "SOCKERR": "the connection could not be opened, or it broke",
    "L4TOUT": "no connection within the timeout (layer 4)",
    "L4CON": "the connection failed (layer 4)",
    "L6TOUT": "no TLS handshake within the timeout (layer 6)",
    "L6RSP": "the TLS handshake failed (layer 6)",
    "L7TOUT": "no answer within the timeout (layer 7)",
    "L7RSP": "the answer was not understood (layer 7)",
    "L7STS": "the answer was not the expected one (layer 7)",
    "PROCTOUT": "the check took longer than its timeout",
    "PROCERR": "the check could not be run to its end",
}
"""HAProxy's short check statuses (management guide 9.1, `check_status`) in words."""
_PING_WORDS = {"PROCTOUT": "no answer within the timeout", "PROCERR": "the member did not answer"}
_NOT_IN_BODY = "HTTP content check did not match"
"""HAProxy's words for a body without the expected text; its short status says any bad answer."""


def tell_check(member: Member, monitor: HealthMonitor, seen: MemberObserved) -> str:
    """Say which check of a member fails, and how."""
    target = endpoint(member.monitor_address or member.address, member.monitor_port or member.protocol_port)
    words = _CHECK_WORDS.get(seen.check, "the member is down")
    if monitor.type is MonitorType.PING:
        words = _PING_WORDS.get(seen.check, words)
    elif seen.check == "L7RSP" and seen.text.startswith(_NOT_IN_BODY):
        words = "the answer does not hold the expected text (layer 7)"
    code = f", code {seen.code}" if seen.code else ""
    check, text = (_keep_printable(one) for one in (seen.check, seen.text))
    said = f": {text}" if text else ""
    short = f" [{check}{code}{said}]" if check else ""
    return f"The {monitor.type.value} check of {target} fails: {words}{short}."


def _keep_printable(text: str) -> str:
    return "".join(sign for sign in text if sign.isprintable()).strip()


def tell_silence(observed: Observed) -> str:
    """Say which amphorae keep silent, at least one, and since when."""
    first = observed.silent[0]
    more = f", nor of {len(observed.silent) - 1} more" if len(observed.silent) > 1 else ""
    since = first.since.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"Nothing was heard of amphora {first.amphora_id} on host {first.host} since {since}{more}."


def tell_misheld(misheld: Misheld) -> str:
    """Say on which amphorae the VIPs are that should be on one."""
    if not misheld.amphora_ids:
        return "None of its amphorae has the VIP, so nobody reaches it."
    named = ", ".join(misheld.amphora_ids)
    return f"More than one of its amphorae has the VIP ({named}): they do not hear each other."


def tell_dead(engines: Sequence[EngineName], observed: Observed) -> str:
    """Say which engines do not run, at least one, and where."""
    words = " and ".join(_ENGINE_WORDS[engine] for engine in engines)
    return f"{words} {'do' if len(engines) > 1 else 'does'} not run in amphora {name_some(observed.stopped)}."


def name_members(members: Sequence[Member]) -> str:
    """Return the first of them by address and port, "none" where there is none."""
    return name_some([endpoint(member.address, member.protocol_port) for member in members], ", ") or "none"


def name_some(names: Sequence[str], between: str = " ") -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return between.join(names[:_MOST_NAMED]) + (f"{between}and {more} more" if more > 0 else "")
