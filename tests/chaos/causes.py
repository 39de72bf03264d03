"""Which fault a failed request comes from, and whether it failed for longer than it may. Pure.

A fault explains an outage of a VIP only where it struck an amphora of that VIP, and only near the time at which it did.
"""

from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from bench.watch import Outage
from tests.chaos.story import Fault

EARLIER_S = 1.0
"""An outage counts from when its first request was sent: one that was under way when the fault began."""
RECOVERY_S = 5.0
"""What the product promises: traffic flows again so soon after the fault is over, or another amphora has taken the VIP
over so soon after it began. No outage begins later."""
BUSY_S = 5.0
"""More than that where an agent must start before: the whole ground keeps two cores so busy that this
takes 6 s."""
LEAVES_TWO = ("power", "cut-both")
LATE_S = 1.0
"""A single amphora that was replaced while its host was away comes back with it, and has the VIP beside its successor
until the control plane comes to remove it, which may itself be hurt for long. Then neighbours that send to it are
refused for a moment."""


class Blow(msgspec.Struct, frozen=True, kw_only=True):
    """A fault as it was done: `vips` are those whose amphora was on its host, or is the one that was struck."""

    fault: Fault
    began_s: float
    ended_s: float
    vips: frozenset[str]


class Explained(msgspec.Struct, kw_only=True):
    """Failed requests by kind of fault, and what no fault explains, in words."""

    causes: Counter[str]
    wrong: list[str]


def explain_outages(blows: Sequence[Blow], outages: Sequence[Outage], pairs: Collection[str]) -> Explained:
    """Find the cause of each outage; `pairs` are the VIPs that a second amphora takes over."""
    explained = Explained(causes=Counter(), wrong=[])
    for outage in outages:
        cause = find_cause(blows, outage)
        if cause is None and outage.vip not in pairs:
            cause = find_late_cause(blows, outage)
        explained.causes[cause.fault.kind if cause else "unexplained"] += outage.failed
        if cause is None:
            explained.wrong.append(f"outage without a cause: {outage}")
            continue
        lasted_s, most_s = outage.ended_s - outage.began_s, find_longest_s(blows, outage, pairs)
        if lasted_s > most_s:
            told = f"outage of {lasted_s:.1f} s, at most {most_s:.1f} s after {cause.fault.tell().strip()}"
            explained.wrong.append(f"{told}: {outage}")
    return explained


def find_cause(blows: Sequence[Blow], outage: Outage) -> Blow | None:
    """Return the nearest fault that may have begun an outage, of those that stand at the time the latest."""
    near = [
        blow
        for blow in blows
        if blow.fault.stops_traffic
        and outage.vip in blow.vips
        and blow.began_s - EARLIER_S <= outage.began_s <= blow.ended_s + RECOVERY_S
    ]
    return min(near, key=lambda blow: (_distance_s(blow, outage), -blow.began_s), default=None)


def find_late_cause(blows: Sequence[Blow], outage: Outage) -> Blow | None:
    """Return the last fault that may have left two with the VIP, of an outage that is as short as the end of one."""
    if outage.ended_s - outage.began_s > LATE_S:
        return None
    left = [blow for blow in blows if blow.fault.kind in LEAVES_TWO and outage.vip in blow.vips]
    return max((blow for blow in left if blow.ended_s < outage.began_s), key=lambda blow: blow.ended_s, default=None)


def find_longest_s(blows: Sequence[Blow], outage: Outage, pairs: Collection[str]) -> float:
    """Return how long an outage may last: until a while after the last of the faults that stood in its way, one after
    the other, where its amphora is.

    What strikes one host of a pair does not: the other amphora takes over, unless it is HAProxy alone that hangs.
    """
    own = sorted((blow for blow in blows if outage.vip in blow.vips), key=lambda blow: blow.began_s)
    recent = [blow for blow in own if blow.ended_s + RECOVERY_S > outage.began_s and blow.began_s < outage.ended_s]
    stopped = {blow.fault.place for blow in recent if blow.fault.stops_traffic}
    hangs = any(blow.fault.kind == "engine-pause" for blow in recent)
    if outage.vip in pairs and len(stopped) < 2 and not hangs:
        return RECOVERY_S
    until_s = outage.began_s
    for blow in recent:
        # One that begins when all should be over is no excuse.
        if blow.began_s <= until_s + RECOVERY_S:
            until_s = max(until_s, blow.ended_s)
    return until_s + RECOVERY_S + BUSY_S - outage.began_s


def _distance_s(blow: Blow, outage: Outage) -> float:
    return max(blow.began_s - outage.began_s, 0.0, outage.began_s - blow.ended_s)
