"""The three kinds of failure. What the caller does next follows from the class alone.

`Refused`: the caller can mend it. `Transient`: the same call may work later. `Lasting`: it is retried only
when something changes, or slowly. HTTP status codes exist in `api/errors.py` only.
"""

import enum

from statera.base.reason import Reason


class StateraError(Exception):
    """Base of all errors that Statera raises on purpose; carries a `Reason`."""

    def __init__(self, slug: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = Reason(slug=slug, sentence=sentence)

    @property
    def sentence(self) -> str:
        return self.reason.sentence


class Refusal(enum.StrEnum):
    """Why a request was refused; `api/errors.py` maps each to a status code."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"
    OVER_QUOTA = "over-quota"
    UNSUPPORTED = "unsupported"


class Refused(StateraError):
    """The request cannot be accepted as it is; the sentence names the field or the object."""

    def __init__(self, kind: Refusal, sentence: str, *, slug: str | None = None) -> None:
        super().__init__(slug or f"request-{kind.value}", sentence)
        self.kind = kind


class Transient(StateraError):
    """It failed now and may work later; `retry_after_s` is a hint in seconds."""

    def __init__(self, slug: str, sentence: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(slug, sentence)
        self.retry_after_s = retry_after_s


class Lasting(StateraError):
    """It will fail again until an edit or the world changes, such as a configuration that HAProxy rejects."""


class LostClaim(StateraError):
    """Another worker holds this load balancer now: stop the pass and write nothing more."""

    def __init__(self, load_balancer_id: str, sentence: str = "") -> None:
        told = sentence or f"Another worker has taken over load balancer {load_balancer_id}."
        super().__init__("claim-lost", told)
