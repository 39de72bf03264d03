"""The ASGI application: tables of routes made into a Litestar application, behind the door.

uvicorn.run(create_application(store=..., network=..., settings=..., clock=SystemClock()))
"""

import functools
from collections.abc import Sequence
from typing import Any, cast

from litestar import HttpMethod, Litestar, Request, Response
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from statera.api.call import Call, Room, Route
from statera.api.door import Door, send_answer
from statera.api.errors import Answer, answer_error, answer_fault, answer_routing, answer_too_large
from statera.api.identity import make_identity
from statera.api.places import Places
from statera.api.policy import Caller
from statera.api.policy_file import load_policy
from statera.api.probe import DatabaseProbe
from statera.api.quotas import enforced_limits
from statera.api.routes import make_routes
from statera.base.clock import Clock
from statera.base.errors import Refusal, Refused, StateraError
from statera.base.settings import Settings
from statera.model.ports import ForecastPort, NetworkDriver, SecretsDriver, SecretsKeeper, TokenDriver
from statera.store.engine import Store
from statera.store.trees import TreeEditor

Request_ = Request[Any, Any, Any]

MOUNTS = ("/v2/lbaas", "/v2.0/lbaas", "/v2", "/v2.0")
"""`/v2.0` is another name of `/v2`; collections also answer without `lbaas` (rules.md section 1)."""
OPERATORS = "//v2/octavia/"
NOBODY = Caller(name="anonymous", project_id=None)


def create_application(
    *,
    store: Store,
    network: NetworkDriver,
    settings: Settings,
    clock: Clock,
    tokens: TokenDriver | None = None,
    secrets: SecretsDriver | None = None,
    keeper: SecretsKeeper | None = None,
    forecaster: ForecastPort | None = None,
    provider_name: str = "amphora",
) -> ASGIApp:
    """Return the API. It opens nothing itself: the caller closes the store. Raises `BadSettings`.

    `tokens` checks those of callers when `identity.mode` is `keystone`.
    """
    identity, policy = make_identity(settings.identity, tokens), load_policy(settings.identity)
    limits = enforced_limits(settings)
    room = Room(
        store=store,
        editor=TreeEditor(store, limits),
        limits=limits,
        places=Places(store),
        probe=DatabaseProbe(store),
        network=network,
        secrets=secrets or keeper,
        keeper=keeper,
        forecaster=forecaster,
        settings=settings,
        clock=clock,
        provider=provider_name,
    )
    litestar = _assemble(settings.api.max_body_bytes)

    async def enter(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["room"] = room
        await litestar(scope, receive, send)

    return Door(enter, identity, policy, provider_name)


@functools.cache
def _assemble(max_body_bytes: int) -> Litestar:
    """Return what is the same for all applications: each request brings its room. It takes some tenths of a second."""

    def answer_http_error(request: Request_, error: HTTPException) -> Response[bytes]:
        if error.status_code == 413:
            return _respond(answer_too_large(max_body_bytes, request.headers.get("accept", "")))
        if error.status_code >= 500:
            return _respond(answer_fault(error))
        headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        return _respond(answer_routing(error.status_code, headers=headers))

    return Litestar(
        route_handlers=[_make_handler(route) for route in make_routes()],
        exception_handlers={
            HTTPException: answer_http_error,
            StateraError: lambda request, error: _respond(answer_error(error, _room_of(request).provider)),
            Exception: lambda _request, error: _respond(answer_fault(error)),
        },
        openapi_config=None,
        logging_config=None,
        request_max_body_size=max_body_bytes,
    )


def _room_of(request: Request_) -> Room:
    room: Room = request.scope["state"]["room"]
    return room


def _make_handler(route: Route) -> HTTPRouteHandler:
    operation = f"{route.method} {route.path}"

    async def handle(request: Request_) -> ASGIApp:
        request.scope["state"]["operation"] = operation
        call = _make_call(_room_of(request), request)
        try:
            return _reply(await route.act(call), request)
        except Refused as error:
            if error.kind is not Refusal.NOT_FOUND or not call.recalled:
                raise
            # What was remembered is gone: the second time it is looked up.
            return _reply(await route.act(call), request)

    return HTTPRouteHandler(
        path=_list_paths(route.path),
        http_method=HttpMethod(route.method),
        status_code=200,  # each answer brings its own
    )(handle)


def _list_paths(path: str) -> Sequence[str]:
    typed = path.replace("}", ":str}")
    if typed.startswith(OPERATORS):
        return [typed[1:], typed[1:].replace("/v2/", "/v2.0/", 1)]
    return [typed[1:]] if typed.startswith("//") else [f"{mount}{typed}" for mount in MOUNTS]


def _make_call(room: Room, request: Request_) -> Call:
    scope = request.scope
    headers = scope["state"]["headers"]
    host = headers.get("host") or request.url.netloc
    return Call(
        room=room,
        caller=scope["state"].get("caller", NOBODY),
        method=scope["method"],
        url=f"{scope['scheme']}://{host}{scope.get('root_path', '')}{scope['path']}",
        path=scope["path_params"],
        query=tuple(request.query_params.multi_items()) if scope["query_string"] else (),
        headers=headers,
        load_body=request.body,
    )


class _Ready:
    """An answer that Litestar has nothing to add to: for its `Response` it reads and copies as much as a show costs."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send_answer(self._answer, send)


def _reply(answer: Answer, request: Request_) -> ASGIApp:
    # Texts get a character set, and 204 and HEAD no body and no length: that is Litestar's to know.
    is_plain = answer.media_type == "application/json" and answer.status != 204 and request.scope["method"] != "HEAD"
    return _Ready(answer) if is_plain else cast(ASGIApp, _respond(answer))


def _respond(answer: Answer) -> Response[bytes]:
    return Response(
        content=answer.body, status_code=answer.status, media_type=answer.media_type, headers=answer.headers
    )
