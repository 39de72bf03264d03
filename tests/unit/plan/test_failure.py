"""What a failed pass means for tenants, and when it is tried again."""

import datetime as dt

import pytest

from statera.base.errors import Lasting, Refusal, Refused, StateraError, Transient
from statera.base.settings import ReconcileSettings
from statera.model.work import Claim
from statera.plan.failure import decide_failure

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
SETTINGS = ReconcileSettings(error_after_s=60.0, backoff_first_s=0.5, backoff_most_s=30.0)
TRANSIENT = Transient("agent-unreachable", "The host does not answer.")
LASTING = Lasting("configuration-rejected", "HAProxy says no.")
REFUSED = Refused(Refusal.CONFLICT, "Address 10.0.0.5 is taken.", slug="vip-address-in-use")


def make_claim(*, failures: int = 0, failing_for_s: float | None = None) -> Claim:
    since = None if failing_for_s is None else NOW - dt.timedelta(seconds=failing_for_s)
    return Claim(
        load_balancer_id="balancer", owner="me", epoch=1, lease_until=NOW, failures=failures, failing_since=since
    )


@pytest.mark.parametrize(
    ("error", "failing_for_s", "as_error"),
    [
        (TRANSIENT, None, False),
        (TRANSIENT, 59.9, False),
        (TRANSIENT, 60.0, True),
        (TRANSIENT, 86_400.0, True),
        (REFUSED, None, False),
        (REFUSED, 61.0, True),
        (LASTING, None, True),
        (LASTING, 1.0, True),
    ],
)
def test_error_at_once_or_after_a_while(error: StateraError, failing_for_s: float | None, as_error: bool):
    claim = make_claim(failing_for_s=failing_for_s)
    assert decide_failure(error, claim, SETTINGS, now=NOW, chance=0.0).as_error is as_error


@pytest.mark.parametrize(
    ("failures", "least", "most"), [(0, 0.25, 0.5), (1, 0.5, 1.0), (5, 8.0, 16.0), (50, 15.0, 30.0)]
)
@pytest.mark.parametrize("error", [TRANSIENT, LASTING])
def test_it_is_always_tried_again(error: StateraError, failures: int, least: float, most: float):
    for chance in (0.0, 0.5, 0.999):
        verdict = decide_failure(error, make_claim(failures=failures), SETTINGS, now=NOW, chance=chance)
        assert least <= verdict.retry_s <= most
