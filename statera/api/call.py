"""One request as handlers see it, and the table entry that leads to them. Litestar ends at `application.py`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import structlog

from statera.api.errors import Answer, Unreadable
from statera.api.places import Place, Places
from statera.api.policy import Caller, require
from statera.api.probe import DatabaseProbe
from statera.api.wire import W, read_body, read_list_body
from statera.base.clock import Clock
from statera.base.errors import Refusal, Refused
from statera.base.secret import Discreet
from statera.base.settings import Settings
from statera.model.edits import Decide, Terms
from statera.model.features import Installed, refuse_lacking
from statera.model.ports import ForecastPort, NetworkDriver, SecretsDriver, SecretsKeeper
from statera.model.quota import Limits
from statera.model.tree import Resource, Tree
from statera.store.engine import Store
from statera.store.trees import TreeEditor

V = TypeVar("V")
R = TypeVar("R", bound=Resource)


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What all requests share."""

    store: Store
    editor: TreeEditor
    places: Places
    probe: DatabaseProbe
    network: NetworkDriver
    secrets: SecretsDriver | None = None
    keeper: SecretsKeeper | None = None
    """The same store when it is Statera's own."""
    forecaster: ForecastPort | None = None
    """None: this process cannot ask the hosts."""
    settings: Settings
    limits: Limits | None
    """The default quotas of projects, None where quotas are not enforced."""
    clock: Clock
    provider: str
    """The provider's own name; `octavia` is another name of it."""


class Call(Discreet, msgspec.Struct, frozen=True, kw_only=True):
    """One authenticated request."""

    unprinted = frozenset({"headers"})
    room: Room
    caller: Caller
    method: str
    url: str
    """As the client wrote it, without the query."""
    path: Mapping[str, str]
    query: Sequence[tuple[str, str]]
    recalled: set[str] = msgspec.field(default_factory=set)
    """Objects whose place was remembered, not looked up."""
    headers: Mapping[str, str]
    load_body: Callable[[], Awaitable[bytes]]

    def allow(self, target: str, project_id: str | None) -> None:
        """Refuse (FORBIDDEN) a caller who may not do `target` on an object of this project."""
        require(self.caller, target, project_id)

    def require_arguments(self, *known: str) -> None:
        """Refuse (INVALID) an argument in the query that the operation does not have."""
        for name, _value in self.query:
            if name not in known:
                raise Refused(Refusal.INVALID, f'Unknown argument: "{name}"')

    def argument(self, name: str) -> str | None:
        """Return the last value of an argument in the query."""
        return next((value for given, value in reversed(self.query) if given == name), None)

    async def read(self, kind: type[W], argument: str, root: str) -> W:
        """Return the request's body. Raises `Refused` (INVALID) in the contract's words."""
        return read_body(kind, await self._decode(argument), argument, root)

    async def read_flat(self, kind: type[W], argument: str) -> W:
        """Return a body that is the object itself, without a root."""
        return read_body(kind, {argument: await self._decode(argument)}, argument, argument)

    async def read_list(self, kind: type[W], argument: str, root: str) -> tuple[W, ...]:
        return read_list_body(kind, await self._decode(argument), argument, root)

    async def _decode(self, argument: str) -> Any:
        text = await self.load_body()
        if not text.strip():
            raise Refused(Refusal.INVALID, f'Missing argument: "{argument}"')
        media_type = self.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise Unreadable(f"Unknown mimetype: {media_type}")
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise Refused(Refusal.INVALID, "Request is not in valid JSON format") from None

    async def find_place(self, kind: type[Resource], object_id: str) -> Place | None:
        """Return where an object belongs; it may be gone when the place was remembered."""
        known = None if object_id in self.recalled else self.room.places.recall(kind, object_id)
        if known is None:
            return await self.room.places.load(kind, object_id)
        self.recalled.add(object_id)
        return known

    def terms(self) -> Terms:
        """Return the terms of an edit that is made now."""
        return Terms(now=self.room.clock.now(), strict=self.room.settings.api.strict_immutable)

    async def edit(self, load_balancer_id: str, decide: Decide, what: str) -> Tree:
        """Have an edit accepted; return the tree right after it."""
        self.note_concern(load_balancer_id)
        decide = refuse_lacking(decide, self.recall_engines())
        return await self.room.editor.edit(load_balancer_id, decide, actor=self.caller.name, what=what)

    def recall_engines(self) -> tuple[Installed, ...]:
        """Return the HAProxy of every host, nothing while one is not known."""
        return self.room.forecaster.recall_engines() if self.room.forecaster is not None else ()

    def note_concern(self, load_balancer_id: str) -> None:
        """Have the request's log lines tell which load balancer it is about."""
        structlog.contextvars.bind_contextvars(load_balancer_id=load_balancer_id)

    def base_url(self) -> str:
        """Return scheme and host for links: the configured ones, else the request's."""
        configured = self.room.settings.api.base_uri.rstrip("/")
        parts = urlsplit(self.url)
        return configured or f"{parts.scheme}://{parts.netloc}"


Act = Callable[[Call], Awaitable[Answer]]
OBJECT = {"type": "object"}
"""The schema of an answer in the shape of another service's API, where that one is described."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: where it is found, who acts, and what the OpenAPI document says of it.

    `path` follows `/v2/lbaas` unless it begins with `//`, which stands for the root.
    """

    method: str
    path: str
    act: Act
    summary: str
    status: int = 200
    arguments: tuple[str, ...] = ()
    """What the query may hold."""
    body: Any = None
    """The wire struct of the request's object."""
    root: str = ""
    """The key around the request's or the answer's object, "" for none."""
    shown: Any = None
    """The struct of the answer's object, or its schema."""
    is_list: bool = False
    links: str = ""
    """The key of a list's links, "" for none."""
    media_types: tuple[str, ...] = ("application/json",)
    """Of the answer."""
    missing: Any = None
    """The struct of the answer 404, where it is another than everywhere."""


_encoder = msgspec.json.Encoder()


def answer_json(value: Any, status: int = 200) -> Answer:
    """Return a JSON answer."""
    return Answer(status=status, body=_encoder.encode(value))


def not_found(word: str, object_id: str) -> Refused:
    """Return the refusal of an id that is none."""
    return Refused(Refusal.NOT_FOUND, f"{word} {object_id} not found.")
