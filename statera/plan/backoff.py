"""When to try again after failures, and what a failure means for the status. Pure: chance comes as an argument."""

import datetime as dt

import msgspec

from statera.base.errors import Lasting, StateraError
from statera.base.reason import Reason


def decide_backoff(failures: int, *, first_s: float, most_s: float, chance: float) -> float:
    """Return the seconds to wait after `failures` failed tries in a row (0 before this one).

    Doubles up to `most_s`; `chance` in [0, 1) spreads the wait over the upper half, so that many do not return at once.
    """
    whole = min(most_s, first_s * 2.0 ** min(failures, 32))
    return whole * (0.5 + chance / 2)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a failed pass writes."""

    reason: Reason
    as_error: bool
    retry_s: float


def decide_failure(
    error: StateraError,
    *,
    failures: int,
    failing_since: dt.datetime | None,
    now: dt.datetime,
    generation: int,
    error_after_s: float,
    first_s: float,
    most_s: float,
    chance: float,
) -> Verdict:
    """Judge one failure: ERROR at once for what cannot work unchanged, else after `error_after_s` of failing."""
    since = failing_since or now
    is_lasting = isinstance(error, Lasting)
    as_error = is_lasting or (now - since).total_seconds() >= error_after_s
    # A lasting fault is mended by an edit, which makes the row due at once; until then look only now and then.
    retry = decide_backoff(failures + (4 if is_lasting else 0), first_s=first_s, most_s=most_s, chance=chance)
    reason = msgspec.structs.replace(error.reason, since=since, generation=generation)
    return Verdict(reason=reason, as_error=as_error, retry_s=retry)
