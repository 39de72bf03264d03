"""What every request passes before Litestar routes it: a request id, what the client accepts, and who it is."""

import functools
import re
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import Counter, Histogram

from statera.api.errors import (
    Answer,
    TooManyTries,
    answer_error,
    answer_fault,
    answer_not_identified,
    answer_routing,
    answer_unauthenticated,
)
from statera.api.identity import Identity
from statera.api.policy import Policy
from statera.base.errand import REQUEST_HEADER, Errand, new_request_id, on_errand, read_headers
from statera.base.errors import Refusal, Refused, StateraError, Transient
from statera.base.logging import get_logger
from statera.base.metrics import counter, histogram
from statera.base.tracing import span

log = get_logger("api")

REQUESTS = counter("statera_api_requests_total", "Requests that were answered.", "operation", "status")
REQUEST_SECONDS = histogram("statera_api_request_seconds", "From a request to the end of its answer.", "operation")
NO_OPERATION = "none"
"""Of a request that ends before it is routed, or whose path leads nowhere."""

OPEN_PATHS = frozenset({"/", "/network", "/healthcheck", "/load-balancer/healthcheck", "/openapi.json", "/docs"}) | {
    "/key-manager",
    "/key-manager/v1",
}
"""Served without identity, and in other forms than JSON. Clients discover versions before they authenticate."""
MOUNT = "/load-balancer"
"""Where service catalogues usually have this API; it answers there as well."""
KEY_MANAGER = "/key-manager/"
HOST = re.compile(r"[A-Za-z0-9._~%:-]*|\[[0-9A-Fa-f:.]+\](?::[0-9]*)?")
"""What links may begin with; of another one no URL could be made."""
JSON_RANGES = frozenset({"application/json", "application/*", "*/*"})


class Answered(msgspec.Struct):
    """What became of a request."""

    begun: float
    status: int = 0
    """0: its client hung up before."""


def read_scope_headers(scope: Scope) -> dict[str, str]:
    """Return the headers of a request, their names in lower case."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _note(scope: Any, answered: Answered) -> None:
    seconds = time.monotonic() - answered.begun
    operation = scope.get("state", {}).get("operation", NO_OPERATION)
    _find_counter(operation, answered.status).inc()
    _find_histogram(operation).observe(seconds)
    if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
        told = {"path": scope["path"], "status": answered.status, "seconds": round(seconds, 4)}
        log.info("request", method=scope["method"], **told)


@functools.cache
def _find_counter(operation: str, status: int) -> Counter:
    return REQUESTS.labels(operation, str(status))


@functools.cache
def _find_histogram(operation: str) -> Histogram:
    return REQUEST_SECONDS.labels(operation)


class Door:
    """The outermost ASGI application."""

    def __init__(self, inner: ASGIApp, identity: Identity, policy: Policy, provider: str) -> None:
        self._inner = inner
        self._identity = identity
        self._policy = policy
        self._provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._inner(scope, receive, send)
            return
        headers = read_scope_headers(scope)
        scope.setdefault("state", {})["headers"] = headers
        # One that another service has made names the whole of what its user asked for.
        given = read_headers(headers)
        request_id = given.request_id or new_request_id()
        answered = Answered(begun=time.monotonic())

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (REQUEST_HEADER.encode(), request_id.encode())]
                answered.status = message["status"]
            await send(message)

        with on_errand(Errand(request_id=request_id, trace=given.trace)):
            try:
                with span(f"api {scope['method']}", "server", **{"url.path": scope["path"]}):
                    refusal = await self._check(scope, headers)
                    if refusal is None:
                        await self._inner(scope, receive, send_marked)
                    else:
                        await send_answer(refusal, send_marked)
            finally:
                _note(scope, answered)
                structlog.contextvars.unbind_contextvars("load_balancer_id")

    async def _check(self, scope: Any, headers: Mapping[str, str]) -> Answer | None:
        """Prepare the scope for routing; return the answer of a request that ends here."""
        if scope["path"] == MOUNT or scope["path"].startswith(f"{MOUNT}/"):
            # Litestar puts it in front of the URL again.
            scope["root_path"] = MOUNT
            scope["path"] = scope["path"].removeprefix(MOUNT)
        scope["path"] = _plain_path(scope["path"])
        scope["raw_path"] = scope["path"].encode()
        if not HOST.fullmatch(headers.get("host", "")):
            return answer_routing(400)
        if scope["path"] in OPEN_PATHS:
            return None
        try:
            # That of the client: uvicorn has put it in place of a trusted proxy's.
            address, _ = scope.get("client") or ("", 0)
            caller = await self._identity.identify(headers, address)
            scope.setdefault("state", {})["caller"] = msgspec.structs.replace(caller, policy=self._policy)
        except Refused as error:
            if error.kind is Refusal.UNAUTHENTICATED:
                return answer_unauthenticated(self._identity.challenge)
            return answer_error(error, self._provider)
        except (Transient, TooManyTries) as error:
            return answer_not_identified(error)
        except StateraError as error:
            return answer_error(error, self._provider)
        except Exception as error:
            return answer_fault(error)
        # Payloads of secrets come in the form that they were stored in.
        is_free = scope["path"].startswith(KEY_MANAGER)
        return None if is_free or _accepts_json(headers) else answer_routing(406)


def _plain_path(path: str) -> str:
    path = path.rstrip("/") or "/"
    if path.endswith(".json") and path != "/openapi.json":
        path = path.removesuffix(".json")
    return path


def _accepts_json(headers: Mapping[str, str]) -> bool:
    accept = headers.get("accept", "").strip()
    ranges = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return not accept or not JSON_RANGES.isdisjoint(ranges)


async def send_answer(answer: Answer, send: Send) -> None:
    """Send an answer without Litestar's help."""
    headers = {"content-type": answer.media_type, "content-length": str(len(answer.body)), **answer.headers}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})
