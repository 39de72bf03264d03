"""What `statera events` says of an event."""

import datetime as dt

import pytest

from statera.base.reason import Reason
from statera.cli.events import tell_event
from statera.model.work import Event


@pytest.mark.parametrize(
    ("what", "why", "told"),
    [
        ("Not applied yet.", "The host is full.", "Not applied yet. The host is full."),
        ("Pool x is DEGRADED, was ONLINE", "One fails.", "Pool x is DEGRADED, was ONLINE: One fails."),
        ("Settle generation 1.", "", "Settle generation 1."),
    ],
)
def test_what_happened_and_why(what: str, why: str, told: str) -> None:
    reason = Reason(slug="s", sentence=why) if why else None
    at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert tell_event(Event(load_balancer_id="l", generation=1, what=what, reason=reason, at=at)) == told
