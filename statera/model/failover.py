"""What automatic replacements are decided and bounded by, beyond a single load balancer."""

import datetime as dt
import math

import msgspec

from statera.base.settings import FailoverSettings

MINUTE_S = 60.0
WINDOW_S = 600.0
"""Over which the share of the fleet is counted."""
ALWAYS = 10
"""Replacements in a window that the share never forbids: of a small fleet one host may hold more than any share."""


class Voices(msgspec.Struct, frozen=True, kw_only=True):
    """The amphorae of one host: how many should speak, and how many of those keep silent."""

    serving: int
    silent: int


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How many automatic replacements there may be."""

    is_on: bool = True
    per_minute: int
    fleet_percent: float
    """Of all amphorae, within `WINDOW_S`."""

    def most_in_window(self, fleet: int) -> int:
        """Return how many of so many amphorae may be replaced within a window."""
        return max(ALWAYS, math.floor(fleet * self.fleet_percent / 100))


def read_limits(options: FailoverSettings) -> Limits:
    """Return the limits as they are configured."""
    return Limits(is_on=options.automatic, per_minute=options.per_minute, fleet_percent=options.fleet_percent)


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What has been replaced lately, of how many."""

    limits: Limits
    fleet: int
    in_minute: int
    in_window: int

    def tell_spent(self) -> str:
        """Return a sentence that says why no more is replaced now, "" when more may be."""
        if not self.limits.is_on:
            return "automatic replacement is switched off (failover.automatic)."
        if self.in_minute >= self.limits.per_minute:
            return f"{self.limits.per_minute} in a minute are as many as may be (failover.per_minute)."
        most = self.limits.most_in_window(self.fleet)
        if self.in_window >= most:
            minutes = round(WINDOW_S / 60)
            return f"{most} of {self.fleet} in {minutes} minutes are as many as may be (failover.fleet_percent)."
        return ""


class Lookout(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the fleet when an amphora looks dead."""

    silent_since: dict[str, dt.datetime] = {}
    """Of the load balancer's amphorae those of which health hears nothing now, having listened for long enough."""
    hosts: dict[str, Voices] = {}
    """By name."""
    answers: dict[str, bool] = {}
    """By amphora: whether it still answers on its network, as seen from other hosts; none that nobody could ask."""
    budget: Budget
