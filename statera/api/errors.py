"""Refusals and failures as HTTP: the only place that knows status codes of errors, and the contract's four bodies.

Shapes A to D are those of rules.md section 5: A from a resource, B from routing and paging, C from authentication, D
from the limit on bodies.
"""

from http import HTTPStatus
from typing import assert_never

import msgspec

from statera.base.errors import Lasting, Refusal, Refused, StateraError, Transient
from statera.base.logging import get_logger
from statera.base.secret import Discreet

log = get_logger("api")


class Malformed(Refused):
    """Shape B with 400: a paging argument that cannot be read."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Refusal.INVALID, sentence, slug="request-malformed")


class ParentMissing(Refused):
    """Shape B with 404 and an odd title: the object in the middle of a path does not exist."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Refusal.NOT_FOUND, sentence, slug="request-parent-missing")


class Unreadable(Refused):
    """Shape A with 415: a body of another media type."""

    def __init__(self, sentence: str) -> None:
        super().__init__(Refusal.INVALID, sentence, slug="request-media-type")


class TooManyTries(StateraError):
    """Shape C with 429: too many failures lately, `whose` in words; `retry_after_s` is in seconds."""

    def __init__(self, retry_after_s: float, whose: str) -> None:
        super().__init__("too-many-log-ins", f"Too many failed log-ins {whose}: wait before the next one.")
        self.retry_after_s = retry_after_s


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """Shape A."""

    faultcode: str
    faultstring: str
    debuginfo: None = None


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """Shape B."""

    code: int
    title: str
    description: str = ""


class Title(msgspec.Struct, frozen=True, kw_only=True):
    code: int
    title: str
    message: str


class Unauthenticated(msgspec.Struct, frozen=True, kw_only=True):
    """Shape C."""

    error: Title


class TooLarge(msgspec.Struct, frozen=True, kw_only=True):
    """Shape D, for who asks for JSON."""

    message: str
    code: str
    title: str


class Answer(Discreet, msgspec.Struct, frozen=True, kw_only=True):
    """What goes back to the client."""

    unprinted = frozenset({"body"})
    # The key manager's may be a private key.
    status: int
    body: bytes = b""
    media_type: str = "application/json"
    headers: dict[str, str] = {}


def answer_error(error: StateraError, provider: str) -> Answer:
    """Return the answer that an error deserves."""
    if isinstance(error, Malformed):
        return answer_routing(400, error.sentence)
    if isinstance(error, ParentMissing):
        return _json(404, Routing(code=404, title="Bad Request", description=error.sentence))
    if isinstance(error, Unreadable):
        return _fault(415, error.sentence)
    if isinstance(error, Refused):
        return _fault(_status_of(error.kind), _tell_refusal(error, provider))
    if isinstance(error, Transient):
        return _fault(503, error.sentence, {"Retry-After": str(max(1, round(error.retry_after_s)))})
    if isinstance(error, Lasting):
        return _fault(500, f"Provider '{provider}' reports error: {error.sentence}")
    return _fault(500, "Something unknown went wrong")


def answer_fault(error: Exception) -> Answer:
    """Log an error that nobody meant to raise, and answer without its details."""
    log.error("request failed", exc_info=error)
    return _fault(500, "Something unknown went wrong")


def answer_plain_refusal(error: Refused) -> Answer:
    """Return a refusal in shape B, which clients of other services than this API's read."""
    return answer_routing(_status_of(error.kind), error.sentence)


def answer_routing(status: int, description: str = "", headers: dict[str, str] | None = None) -> Answer:
    """Return shape B."""
    body = Routing(code=status, title=HTTPStatus(status).phrase, description=description)
    return _json(status, body, headers)


def answer_unauthenticated(challenge: str) -> Answer:
    """Return shape C."""
    message = "The request you have made requires authentication."
    body = Unauthenticated(error=Title(code=401, title="Unauthorized", message=message))
    return _json(401, body, {"WWW-Authenticate": challenge})


def answer_not_identified(error: Transient | TooManyTries) -> Answer:
    """Return shape C with 503 or 429: it is not found out now who sent the request."""
    status = HTTPStatus.TOO_MANY_REQUESTS if isinstance(error, TooManyTries) else HTTPStatus.SERVICE_UNAVAILABLE
    body = Unauthenticated(error=Title(code=status, title=status.phrase, message=error.sentence))
    return _json(status, body, {"Retry-After": str(max(1, round(error.retry_after_s)))})


def answer_too_large(limit: int, accept: str) -> Answer:
    """Return shape D: text, or JSON for who asks for it."""
    title = "Request Entity Too Large"
    message = f"Request is too large. Larger than max_request_body_size ({limit})."
    if "json" not in accept:
        return Answer(status=413, body=f"{message}\n".encode(), media_type="text/plain")
    return _json(413, TooLarge(message=message, code=f"413 {title}", title=title))


def _status_of(kind: Refusal) -> int:
    match kind:
        case Refusal.INVALID:
            return 400
        case Refusal.UNAUTHENTICATED:
            return 401
        case Refusal.FORBIDDEN | Refusal.OVER_QUOTA:
            return 403
        case Refusal.NOT_FOUND:
            return 404
        case Refusal.CONFLICT:
            return 409
        case Refusal.UNSUPPORTED:
            return 501
        case _:
            assert_never(kind)


def _tell_refusal(error: Refused, provider: str) -> str:
    if error.kind is not Refusal.UNSUPPORTED:
        return error.sentence
    return f"Provider '{provider}' does not support a requested option: {error.sentence}"


def _fault(status: int, sentence: str, headers: dict[str, str] | None = None) -> Answer:
    code = "Client" if status < 500 else "Server"
    return _json(status, Fault(faultcode=code, faultstring=sentence), headers)


def _json(status: int, body: object, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status=status, body=msgspec.json.encode(body), headers=headers or {})
