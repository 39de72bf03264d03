"""The built-in key manager: the part of the Barbican v1 API that `openstack secret` and containers need.

A reference to a secret in it is what a listener or a pool names. Payloads can be written again (PUT): load balancers
that use the secret then serve the new one. There is none here when another store of secrets is configured.
"""

import base64
import binascii
import datetime as dt
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Meta

from statera.api.call import OBJECT, Call, Route, answer_json
from statera.api.errors import Answer, answer_plain_refusal, answer_routing
from statera.api.fields import MOST_INTEGER
from statera.api.policy import is_cloud_admin
from statera.base.errors import Refusal, Refused
from statera.base.ids import new_id
from statera.base.secret import Discreet, Secret
from statera.base.unreadable import UNREADABLE
from statera.model.ports import SecretsKeeper
from statera.model.secrets import MOST_PAYLOAD_BYTES, ContainerRow, SecretReader, SecretRow, parse_reference

T = TypeVar("T")
Act = Callable[[Call, SecretsKeeper], Awaitable[Answer]]

ROOT = "/key-manager"
TEXT, BYTES = "text/plain", "application/octet-stream"
CONTAINER_TYPES = ("certificate", "generic", "rsa")
CERTIFICATE_PARTS = frozenset({"certificate", "private_key", "private_key_passphrase", "intermediates"})
MOST_LISTED = 100
SECRET_FILTERS = {
    "name": "name",
    "alg": "algorithm",
    "mode": "mode",
    "bits": "bit_length",
    "secret_type": "secret_type",
}
CONTAINER_FILTERS = {"name": "name", "type": "type"}
"""Arguments of lists, and what they are compared with."""
_PAYLOAD_TYPES = (TEXT, BYTES, "application/pkcs8", "application/pkix-cert")


class NewSecret(Discreet, msgspec.Struct, frozen=True, kw_only=True):
    """What `POST /v1/secrets` takes; a missing payload follows by PUT."""

    unprinted = frozenset({"payload"})
    name: str | None = None
    payload: str | None = None
    payload_content_type: str | None = None
    payload_content_encoding: str | None = None
    secret_type: str | None = None
    algorithm: str | None = None
    bit_length: Annotated[int, Meta(ge=0, le=MOST_INTEGER)] | None = None
    mode: str | None = None
    expiration: str | None = None


class NewPart(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    secret_ref: str


class NewContainer(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    name: str | None = None
    secret_refs: tuple[NewPart, ...] = ()


def reader_of(call: Call) -> SecretReader:
    """Return the caller as one who reads secrets."""
    caller = call.caller
    token = call.headers.get("x-auth-token")
    return SecretReader(
        project_id=caller.project_id,
        is_admin=is_cloud_admin(caller),
        token=Secret(token) if token else None,
    )


# Who may


def _own_project(call: Call) -> str:
    if call.caller.project_id is None:
        raise Refused(Refusal.FORBIDDEN, "Secrets belong to a project, and this caller has none.")
    return call.caller.project_id


def _require_writer(call: Call) -> None:
    if not (reader_of(call).is_admin or "member" in call.caller.roles):
        raise Refused(Refusal.FORBIDDEN, "Reading and writing secrets needs the role `member`.")


def _is_own(call: Call, project_id: str) -> bool:
    return reader_of(call).is_admin or call.caller.project_id == project_id


async def _find_secret(call: Call, keeper: SecretsKeeper) -> SecretRow:
    row = await keeper.find_secret(call.path["id"])
    if row is None or not _is_own(call, row.project_id):
        raise Refused(Refusal.NOT_FOUND, "Secret not found.")
    return row


async def _find_container(call: Call, keeper: SecretsKeeper) -> ContainerRow:
    row = await keeper.find_container(call.path["id"])
    if row is None or not _is_own(call, row.project_id):
        raise Refused(Refusal.NOT_FOUND, "Container not found.")
    return row


# Secrets


async def accept_create_secret(call: Call, keeper: SecretsKeeper) -> Answer:
    _require_writer(call)
    wanted = await _read(call, NewSecret)
    payload = _read_payload(wanted)
    now = call.room.clock.now()
    row = SecretRow(
        id=new_id(),
        project_id=_own_project(call),
        name=_line(wanted.name),
        secret_type=_line(wanted.secret_type) or "opaque",
        algorithm=_line(wanted.algorithm) or None,
        bit_length=wanted.bit_length,
        mode=_line(wanted.mode) or None,
        content_type=None if payload is None else _media_type(wanted.payload_content_type),
        expiration=_read_time(wanted.expiration),
        creator=call.caller.name,
        created_at=now,
        updated_at=now,
    )
    await keeper.ensure_secret(row, payload)
    return answer_json({"secret_ref": _secret_ref(call, row.id)}, 201)


async def accept_list_secrets(call: Call, keeper: SecretsKeeper) -> Answer:
    limit, offset = _read_page(call)
    rows, total = await keeper.list_secrets(
        _own_project(call), _read_filters(call, SECRET_FILTERS), limit=limit, offset=offset
    )
    return answer_json(
        {"secrets": [_show_secret(call, row) for row in rows]} | _page(call, limit, offset, total, SECRET_FILTERS)
    )


async def accept_show_secret(call: Call, keeper: SecretsKeeper) -> Answer:
    row = await _find_secret(call, keeper)
    if call.headers.get("accept", "").partition(";")[0].strip() in _PAYLOAD_TYPES:
        return await accept_show_payload(call, keeper)
    return answer_json(_show_secret(call, row))


async def accept_show_payload(call: Call, keeper: SecretsKeeper) -> Answer:
    row = await _find_secret(call, keeper)
    _require_writer(call)
    payload = await keeper.load_payload(row)
    if payload is None or row.content_type is None:
        raise Refused(Refusal.NOT_FOUND, "This secret has no payload.")
    asked = {part.partition(";")[0].strip() for part in call.headers.get("accept", "*/*").split(",")}
    if asked.isdisjoint({row.content_type, "*/*", "application/*" if row.content_type != TEXT else "text/*"}):
        kept = (
            f"The payload is {row.content_type}: ask for that (openstack secret get -t {row.content_type} --payload)."
        )
        return answer_routing(406, kept)
    return Answer(status=200, body=payload.reveal(), media_type=row.content_type)


async def accept_write_payload(call: Call, keeper: SecretsKeeper) -> Answer:
    """Give a secret its payload, or another one."""
    row = await _find_secret(call, keeper)
    _require_writer(call)
    content_type = _media_type(call.headers.get("content-type"))
    body = await call.load_body()
    payload = _decode_base64(body) if call.headers.get("content-encoding") == "base64" else body
    _check_size(payload)
    changed = msgspec.structs.replace(row, content_type=content_type, updated_at=call.room.clock.now())
    await keeper.ensure_secret(changed, Secret(payload))
    return Answer(status=204)


async def accept_delete_secret(call: Call, keeper: SecretsKeeper) -> Answer:
    row = await _find_secret(call, keeper)
    _require_writer(call)
    await keeper.remove_secret(row.id)
    return Answer(status=204)


def _show_secret(call: Call, row: SecretRow) -> dict[str, Any]:
    shown = {
        "secret_ref": _secret_ref(call, row.id),
        "name": row.name or None,
        "status": "ACTIVE",
        "secret_type": row.secret_type,
        "algorithm": row.algorithm,
        "bit_length": row.bit_length,
        "mode": row.mode,
        "expiration": None if row.expiration is None else _tell(row.expiration),
        "creator_id": row.creator,
        "created": _tell(row.created_at),
        "updated": _tell(row.updated_at),
    }
    return shown | ({} if row.content_type is None else {"content_types": {"default": row.content_type}})


def _read_payload(wanted: NewSecret) -> Secret[bytes] | None:
    if wanted.payload is None:
        return None
    content_type = _media_type(wanted.payload_content_type)
    if wanted.payload_content_encoding not in (None, "base64"):
        raise _invalid("payload_content_encoding must be base64.")
    if content_type != TEXT and wanted.payload_content_encoding is None:
        raise _invalid(f"payload_content_encoding must be given for {content_type}.")
    payload = wanted.payload.encode()
    payload = payload if wanted.payload_content_encoding is None else _decode_base64(payload)
    _check_size(payload)
    return Secret(payload)


def _check_size(payload: bytes) -> None:
    if not payload:
        raise _invalid("The payload is empty.")
    if len(payload) > MOST_PAYLOAD_BYTES:
        raise _invalid(f"The payload has more than {MOST_PAYLOAD_BYTES} bytes.")


def _media_type(given: str | None) -> str:
    kind = (given or "").partition(";")[0].strip().lower()
    if kind not in _PAYLOAD_TYPES:
        raise _invalid(f"payload_content_type must be one of: {', '.join(_PAYLOAD_TYPES)}.")
    return kind


def _decode_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("The payload is not base64.") from None


def _read_time(text: str | None) -> dt.datetime | None:
    if not text:
        return None
    try:
        at = dt.datetime.fromisoformat(text)
        # In UTC the first and the last day may lie beyond what a time can tell.
        return at.astimezone(dt.UTC) if at.tzinfo else at.replace(tzinfo=dt.UTC)
    except (ValueError, OverflowError):
        raise _invalid("expiration must be a time in ISO 8601.") from None


# Containers


async def accept_create_container(call: Call, keeper: SecretsKeeper) -> Answer:
    _require_writer(call)
    wanted = await _read(call, NewContainer)
    if wanted.type not in CONTAINER_TYPES:
        raise _invalid(f"type must be one of: {', '.join(CONTAINER_TYPES)}.")
    secret_ids: dict[str, str] = {}
    for part in wanted.secret_refs:
        name = _line(part.name)
        if name in secret_ids:
            raise _invalid(f"Two secrets have the name {name}.")
        secret_ids[name] = await _find_part(call, keeper, part.secret_ref)
    if wanted.type == "certificate" and ("certificate" not in secret_ids or secret_ids.keys() - CERTIFICATE_PARTS):
        raise _invalid(
            f"A certificate container needs a certificate; its parts are: {', '.join(sorted(CERTIFICATE_PARTS))}."
        )
    now = call.room.clock.now()
    row = ContainerRow(
        id=new_id(),
        project_id=_own_project(call),
        name=_line(wanted.name),
        type=wanted.type,
        secret_ids=secret_ids,
        creator=call.caller.name,
        created_at=now,
        updated_at=now,
    )
    await keeper.ensure_container(row)
    return answer_json({"container_ref": _container_ref(call, row.id)}, 201)


async def _find_part(call: Call, keeper: SecretsKeeper, ref: str) -> str:
    kind, secret_id = parse_reference(ref) or ("", "")
    row = await keeper.find_secret(secret_id) if kind == "secrets" else None
    if row is None or not _is_own(call, row.project_id):
        raise Refused(Refusal.NOT_FOUND, "A secret of the container does not exist.")
    return row.id


async def accept_list_containers(call: Call, keeper: SecretsKeeper) -> Answer:
    limit, offset = _read_page(call)
    rows, total = await keeper.list_containers(
        _own_project(call), _read_filters(call, CONTAINER_FILTERS), limit=limit, offset=offset
    )
    return answer_json(
        {"containers": [_show_container(call, row) for row in rows]}
        | _page(call, limit, offset, total, CONTAINER_FILTERS)
    )


async def accept_show_container(call: Call, keeper: SecretsKeeper) -> Answer:
    return answer_json(_show_container(call, await _find_container(call, keeper)))


async def accept_delete_container(call: Call, keeper: SecretsKeeper) -> Answer:
    row = await _find_container(call, keeper)
    _require_writer(call)
    await keeper.remove_container(row.id)
    return Answer(status=204)


def _show_container(call: Call, row: ContainerRow) -> dict[str, Any]:
    parts = [{"name": name, "secret_ref": _secret_ref(call, one)} for name, one in row.secret_ids.items()]
    return {
        "container_ref": _container_ref(call, row.id),
        "name": row.name or None,
        "type": row.type,
        "status": "ACTIVE",
        "secret_refs": parts,
        "consumers": [],
        "creator_id": row.creator,
        "created": _tell(row.created_at),
        "updated": _tell(row.updated_at),
    }


# What both need


async def _read(call: Call, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(await call.load_body(), type=kind)
    except UNREADABLE as error:
        # msgspec names the place and the types, never the value.
        raise _invalid(f"The body cannot be read: {error}.") from None


def _line(text: str | None) -> str:
    if text is not None and ("\0" in text or len(text) > 255):
        raise _invalid("A name has at most 255 characters, and no NUL.")
    return text or ""


def _read_filters(call: Call, names: Mapping[str, str]) -> dict[str, str | int]:
    given = {column: value for name, column in names.items() if (value := call.argument(name)) is not None}
    return {column: _read_number(value) if column == "bit_length" else _line(value) for column, value in given.items()}


def _read_number(text: str) -> int:
    if not text.isdecimal() or len(text) > len(str(MOST_INTEGER)) or int(text) > MOST_INTEGER:
        raise _invalid("bits is a number.")
    return int(text)


def _read_page(call: Call) -> tuple[int, int]:
    limit, offset = call.argument("limit") or "10", call.argument("offset") or "0"
    if not (limit.isdecimal() and offset.isdecimal()) or len(limit + offset) > 15:
        raise _invalid("limit and offset are numbers.")
    return min(int(limit), MOST_LISTED), int(offset)


def _page(call: Call, limit: int, offset: int, total: int, filters: Iterable[str]) -> dict[str, Any]:
    asked = {name: value for name in filters if (value := call.argument(name)) is not None}

    def link(at: int) -> str:
        return f"{call.url}?{urlencode({'limit': limit, 'offset': at} | asked)}"

    links = {"next": link(offset + limit)} if 0 < limit < total - offset else {}
    return {"total": total} | links | ({"previous": link(max(0, offset - limit))} if offset else {})


def _secret_ref(call: Call, secret_id: str) -> str:
    return f"{call.base_url()}{ROOT}/v1/secrets/{secret_id}"


def _container_ref(call: Call, container_id: str) -> str:
    return f"{call.base_url()}{ROOT}/v1/containers/{container_id}"


def _tell(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _invalid(why: str) -> Refused:
    return Refused(Refusal.INVALID, why)


async def show_version(call: Call) -> Answer:
    """Show the one version, which every path of the root leads to."""
    links = [{"rel": "self", "href": f"{call.base_url()}{ROOT}/v1/"}]
    return answer_json({"versions": [{"id": "v1", "status": "STABLE", "links": links}]})


def _within(act: Act) -> Callable[[Call], Awaitable[Answer]]:
    """Give an operation the store, and its refusals the shape that clients of a key manager read."""

    async def answer(call: Call) -> Answer:
        keeper = call.room.keeper
        try:
            if keeper is None:
                raise Refused(Refusal.NOT_FOUND, "This installation keeps no secrets itself.")
            return await act(call, keeper)
        except Refused as error:
            return answer_plain_refusal(error)

    return answer


def _route(method: str, path: str, act: Act, summary: str, status: int = 200, **more: Any) -> Route:
    told = {"shown": OBJECT} if status in (200, 201) else {}
    path = f"/{ROOT}/v1{path}"
    return Route(method=method, path=path, act=_within(act), summary=summary, status=status, **(told | more))


_VERSION: dict[str, Any] = {"method": "GET", "act": show_version, "shown": OBJECT}
_PAGED = ("limit", "offset")
_SECRETS: dict[str, Any] = {"arguments": (*_PAGED, *SECRET_FILTERS)}
_CONTAINERS: dict[str, Any] = {"arguments": (*_PAGED, *CONTAINER_FILTERS)}
_PAYLOAD: dict[str, Any] = {"media_types": _PAYLOAD_TYPES, "shown": {"type": "string"}}
ROUTES: tuple[Route, ...] = (
    Route(path=f"/{ROOT}", summary="Key manager: versions", **_VERSION),
    Route(path=f"/{ROOT}/v1", summary="Key manager: version", **_VERSION),
    _route("GET", "/secrets", accept_list_secrets, "Key manager: list secrets", **_SECRETS),
    _route("POST", "/secrets", accept_create_secret, "Key manager: store a secret", 201, body=NewSecret),
    _route("GET", "/secrets/{id}", accept_show_secret, "Key manager: show a secret, without its payload"),
    _route(
        "GET", "/secrets/{id}/payload", accept_show_payload, "Key manager: show the payload of a secret", **_PAYLOAD
    ),
    _route("PUT", "/secrets/{id}", accept_write_payload, "Key manager: write the payload of a secret", 204),
    _route("DELETE", "/secrets/{id}", accept_delete_secret, "Key manager: delete a secret", 204),
    _route("GET", "/containers", accept_list_containers, "Key manager: list containers", **_CONTAINERS),
    _route("POST", "/containers", accept_create_container, "Key manager: create a container", 201, body=NewContainer),
    _route("GET", "/containers/{id}", accept_show_container, "Key manager: show a container"),
    _route("DELETE", "/containers/{id}", accept_delete_container, "Key manager: delete a container", 204),
)
