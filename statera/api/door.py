"""What every request passes before Litestar routes it: a request id, what the client accepts, and who it is."""

from collections.abc import Mapping
from typing import Any

import msgspec
import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from statera.api.errors import (
    Answer,
    answer_error,
    answer_fault,
    answer_identity_unavailable,
    answer_routing,
    answer_unauthenticated,
)
from statera.api.identity import Identity
from statera.api.policy import Policy
from statera.base.errors import Refusal, Refused, StateraError, Transient
from statera.base.ids import new_id

OPEN_PATHS = frozenset({"/", "/network", "/healthcheck", "/load-balancer/healthcheck", "/openapi.json", "/docs"}) | {
    "/key-manager",
    "/key-manager/v1",
}
"""Served without identity, and in other forms than JSON. Clients discover versions before they authenticate."""
MOUNT = "/load-balancer"
"""Where service catalogues usually have this API; it answers there as well."""
KEY_MANAGER = "/key-manager/"
JSON_RANGES = frozenset({"application/json", "application/*", "*/*"})


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
        request_id = f"req-{new_id()}"
        structlog.contextvars.bind_contextvars(request_id=request_id)

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-openstack-request-id", request_id.encode())]
            await send(message)

        try:
            refusal = await self._check(scope)
            if refusal is None:
                await self._inner(scope, receive, send_marked)
            else:
                await send_answer(refusal, send_marked)
        finally:
            structlog.contextvars.unbind_contextvars("request_id")

    async def _check(self, scope: Any) -> Answer | None:
        """Prepare the scope for routing; return the answer of a request that ends here."""
        if scope["path"] == MOUNT or scope["path"].startswith(f"{MOUNT}/"):
            # Litestar puts it in front of the URL again.
            scope["root_path"] = MOUNT
            scope["path"] = scope["path"].removeprefix(MOUNT)
        scope["path"] = _plain_path(scope["path"])
        scope["raw_path"] = scope["path"].encode()
        if scope["path"] in OPEN_PATHS:
            return None
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            caller = await self._identity.identify(headers)
            scope.setdefault("state", {})["caller"] = msgspec.structs.replace(caller, policy=self._policy)
        except Refused as error:
            if error.kind is Refusal.UNAUTHENTICATED:
                return answer_unauthenticated(self._identity.challenge)
            return answer_error(error, self._provider)
        except Transient as error:
            return answer_identity_unavailable(error)
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
