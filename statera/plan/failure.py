"""What a failed pass means: when to try next, and whether tenants see ERROR yet."""

import datetime as dt

import msgspec

from statera.base.errors import Lasting, StateraError
from statera.base.settings import ReconcileSettings
from statera.model.work import Claim
from statera.plan.backoff import backoff_s


class FailureVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What to record of a failed pass."""

    as_error: bool
    """Show ERROR; else what is pending stays pending, with the reason."""
    retry_s: float


def decide_failure(
    error: StateraError, claim: Claim, settings: ReconcileSettings, *, now: dt.datetime, chance: float
) -> FailureVerdict:
    """Decide what a failure means. `chance` is a random number in [0, 1).

    What needs a change (`Lasting`) is ERROR at once. Anything else may pass by itself and is ERROR only when it has
    gone on for `error_after_s`. Both are tried again: the world may change without an edit.
    """
    failing_for_s = (now - claim.failing_since).total_seconds() if claim.failing_since else 0.0
    return FailureVerdict(
        as_error=isinstance(error, Lasting) or failing_for_s >= settings.error_after_s,
        retry_s=backoff_s(
            claim.failures + 1, first_s=settings.backoff_first_s, most_s=settings.backoff_most_s, chance=chance
        ),
    )
