"""Totals seen again and again, as rates."""

import datetime as dt
from collections.abc import Sequence

import msgspec

from statera.model.enums import OperatingStatus, ProvisioningStatus
from statera.model.statistics import Traffic

WINDOW_S = 10.0
"""Seconds that a rate is taken over: totals move every few seconds, when heartbeats have come."""


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """One load balancer at one moment."""

    id: str
    name: str
    project_id: str
    vip_address: str
    provisioning_status: ProvisioningStatus
    operating_status: OperatingStatus
    reason: str = ""
    """The sentence of its reason."""
    members: int = 0
    members_online: int = 0
    vip_on: tuple[str, ...] = ()
    """The hosts whose amphora has the VIP, of those that share it."""
    told_at: dt.datetime | None = None
    """When its totals were told last."""
    traffic: Traffic = Traffic()


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Per second, over the last seconds."""

    connections: float = 0.0
    bytes_in: float = 0.0
    bytes_out: float = 0.0
    errors: float = 0.0
    """Requests that were answered with an error by the load balancer itself, or not understood."""


def measure_rates(seen: Sequence[Glance]) -> Rates:
    """Return the rates of one load balancer, seen at several moments of the window, oldest first."""
    told = [glance for glance in seen if glance.told_at is not None]
    if not told:
        return Rates()
    first, last = told[0], told[-1]
    assert first.told_at is not None
    assert last.told_at is not None
    span_s = (last.told_at - first.told_at).total_seconds()
    if span_s <= 0:
        return Rates()
    before, now = first.traffic, last.traffic
    return Rates(
        connections=max(0, now.total_connections - before.total_connections) / span_s,
        bytes_in=max(0, now.bytes_in - before.bytes_in) / span_s,
        bytes_out=max(0, now.bytes_out - before.bytes_out) / span_s,
        errors=max(0, now.request_errors - before.request_errors) / span_s,
    )
