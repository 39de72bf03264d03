"""The OpenAPI document, made from the table of routes and the wire structs, and a page that shows it.

The page is whole in itself: it loads nothing from elsewhere.
"""

import html
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec

import statera
from statera.api.call import Act, Call, Route, answer_json
from statera.api.door import OPEN_PATHS
from statera.api.errors import Answer, Fault, Routing, TooLarge, Unauthenticated
from statera.api.fields import Schema
from statera.api.wire import Nested, Wire, fields_of, schema_of

_REF = "#/components/schemas/{name}"


def make_document_routes(routes: Sequence[Route]) -> tuple[Route, ...]:
    """Return the routes of the document and of its page."""
    document = build_document(routes)
    text = answer_json(document)
    page = Answer(status=200, body=render_page(document).encode(), media_type="text/html; charset=utf-8")

    async def show_document(_call: Call) -> Answer:
        return text

    async def show_page(_call: Call) -> Answer:
        return page

    def route(path: str, act: Act, summary: str) -> Route:
        return Route(method="GET", path=path, act=act, summary=summary)

    return (
        route("//openapi.json", show_document, "This document"),
        route("//docs", show_page, "The page made from it"),
    )


def build_document(routes: Sequence[Route]) -> dict[str, Any]:
    """Return an OpenAPI 3.1 document."""
    schemas: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path[1:] if route.path.startswith("//") else f"/v2/lbaas{route.path}"
        paths.setdefault(path, {})[route.method.lower()] = _describe(route, path, schemas)
    _, faults = msgspec.json.schema_components([Fault, Routing, Unauthenticated, TooLarge], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Statera: OpenStack Load Balancer API v2",
            "version": statera.__version__,
            "description": _ABOUT,
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}, {"password": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted((schemas | faults).items())),
            "responses": {_name_fault(status): _describe_fault(*told) for status, told in _FAULTS.items()},
            "headers": {"RequestId": _REQUEST_ID},
            "securitySchemes": _SECURITY,
        },
    }


_ABOUT = (
    "Attributes `generation`, `observed_generation` and `status_reason`, and the history below `/events`, are ours; "
    "all else follows the v2 API up to version 2.30. Paths answer below `/v2.0` as well, and without `lbaas`. "
    "Answers hold every attribute unless the argument `fields` asks for some. Requests may give integers as text, and "
    "booleans as `true`, `1`, `yes`, `on`, `t`, `y` and their opposites."
)
_SECURITY = {
    "token": {
        "type": "apiKey", "in": "header", "name": "X-Auth-Token", "description": "With identity `keystone`: a token.",
    },
    "password": {"type": "http", "scheme": "basic", "description": "With identity `basic`: user and password."},
}  # fmt: skip
_REQUEST_ID = {"description": "Names the request in logs.", "required": True, "schema": {"type": "string"}}


def _describe(route: Route, path: str, schemas: dict[str, Any]) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    parameters += [_describe_argument(name) for name in dict.fromkeys(route.arguments)]
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()} {path}").strip("_"),
        "tags": [_tag(path)],
        "responses": {str(route.status): _describe_answer(route, schemas), **_describe_faults(route, path, schemas)},
    }
    if parameters:
        operation["parameters"] = parameters
    if path in OPEN_PATHS:
        operation["security"] = []
    if route.body is not None:
        schema = _wrap(route, _describe_body(route.body, schemas), links="")
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


_ARGUMENTS: dict[str, tuple[str, Schema]] = {
    "limit": ("Objects in the answer at most; `infinite`, 0 or less: as many as there are.", {"type": "string"}),
    "marker": ("The id of the object before the first.", {"type": "string"}),
    "page_reverse": ("`True`: the page before the marker.", {"type": "string"}),
    "sort": ("`key:asc` or `key:desc`, several with commas.", {"type": "string"}),
    "sort_key": ("Keys to sort by, with commas.", {"type": "string"}),
    "sort_dir": ("`asc` or `desc` for each of them.", {"type": "string"}),
    "fields": ("Attributes that the answer is to hold.", {"type": "array", "items": {"type": "string"}}),
    "tags": ("Has all of these tags.", {"type": "string"}),
    "tags-any": ("Has one of these tags.", {"type": "string"}),
    "not-tags": ("Does not have all of these tags.", {"type": "string"}),
    "not-tags-any": ("Has none of these tags.", {"type": "string"}),
    "cascade": ("Whether what is below goes with it.", {"type": "string"}),
    "additive_only": ("Whether members that are not named stay.", {"type": "string"}),
}


def _describe_argument(name: str) -> dict[str, Any]:
    words, schema = _ARGUMENTS.get(name, ("Equals.", {"type": "string"}))
    return {"name": name, "in": "query", "description": words, "schema": schema}


def _tag(path: str) -> str:
    parts = [part for part in path.split("/") if part and not part.startswith("{") and part not in ("v2", "lbaas")]
    return "members" if "members" in parts else parts[0] if parts else "discovery"


def _describe_answer(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    words = "Accepted" if route.status in (202, 204) else "OK"
    answer: dict[str, Any] = {"description": words, "headers": _HEADERS}
    if route.shown is not None:
        schema = route.shown
        if not isinstance(schema, dict):
            schema = _add_struct(route.shown, schemas)
            # With `fields` some are left out. What is always there, the description says.
            schemas[route.shown.__name__].pop("required", None)
        schema = _wrap(route, schema, links=route.links)
        answer["content"] = {media_type: {"schema": schema} for media_type in route.media_types}
    return answer


_HEADERS = {"x-openstack-request-id": {"$ref": "#/components/headers/RequestId"}}


def _describe_faults(route: Route, path: str, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return every other answer that the operation may give."""
    if path.endswith("/healthcheck"):
        return {"404": _refer(404), "503": {"description": "Unhealthy", "headers": _HEADERS}}
    if path in OPEN_PATHS:
        return {"500": _refer(500)}
    faults = {status: _refer(status) for status in (400, 401, 403, 406, 500, 503)}
    if "{" in path or route.body is not None or path.startswith("/key-manager"):
        faults[404] = _refer(404)
    if route.missing is not None:
        _add_struct(route.missing, schemas)
        faults[404] = _describe_fault("Not there", Fault, Routing, route.missing)
    if route.method in ("POST", "PUT", "DELETE"):
        faults |= {status: _refer(status) for status in (409, 501)}
    if route.method in ("POST", "PUT"):
        faults |= {status: _refer(status) for status in (413, 415)}
    return {str(status): faults[status] for status in sorted(faults)}


def _refer(status: int) -> dict[str, Any]:
    return {"$ref": f"#/components/responses/{_name_fault(status)}"}


def _name_fault(status: int) -> str:
    return HTTPStatus(status).phrase.replace(" ", "")


def _describe_fault(words: str, *kinds: Any) -> dict[str, Any]:
    refs = [{"$ref": _REF.format(name=kind.__name__)} for kind in kinds]
    schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    if kinds == (TooLarge,):
        content["text/plain"] = {"schema": {"type": "string"}}
    return {"description": words, "headers": _HEADERS, "content": content}


_FAULTS: dict[int, tuple[Any, ...]] = {
    400: ("Cannot be meant so", Fault, Routing),
    401: ("Nobody who may ask", Unauthenticated),
    403: ("Not allowed, or beyond the quota", Fault, Routing),
    404: ("Not there", Fault, Routing),
    406: ("Not in the form that was asked for", Routing),
    409: ("Not as long as things are as they are", Fault, Routing),
    413: ("More than a request may hold", TooLarge),
    415: ("Not JSON", Fault),
    500: ("Failed", Fault),
    501: ("Nothing that this provider does", Fault),
    503: ("To be tried again later", Fault, Unauthenticated),
}


def _wrap(route: Route, schema: Schema, *, links: str) -> Schema:
    inner = {"type": "array", "items": schema} if route.is_list else schema
    if not route.root:
        return inner
    properties = {route.root: inner} | ({links: _LINKS} if links else {})
    return {"type": "object", "required": list(properties), "properties": properties}


_LINKS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["href", "rel"],
        "properties": {"href": {"type": "string"}, "rel": {"type": "string", "enum": ["previous", "next"]}},
    },
}


def _add_struct(kind: Any, schemas: dict[str, Any]) -> Schema:
    (schema,), found = msgspec.json.schema_components([kind], ref_template=_REF)
    for name, one in found.items():
        schemas.setdefault(name, one)
    return schema


def _describe_body(kind: Any, schemas: dict[str, Any]) -> Schema:
    if not issubclass(kind, Wire):
        return _add_struct(kind, schemas)
    _add_wire(kind, schemas)
    return {"$ref": _REF.format(name=kind.__name__)}


def _add_wire(kind: type[Wire], schemas: dict[str, Any]) -> None:
    if kind.__name__ in schemas:
        return
    schemas[kind.__name__] = schema_of(kind)
    for field, _mandatory in fields_of(kind).values():
        inner = getattr(field, "item", field)
        if isinstance(inner, Nested):
            _add_wire(inner.kind, schemas)


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1d2733}
h1{font-size:1.5rem}h2{margin-top:2rem;border-bottom:1px solid #d5dce4;font-size:1.15rem}
details{border:1px solid #d5dce4;border-radius:.4rem;margin:.4rem 0;padding:.3rem .8rem}
summary{cursor:pointer}code,pre,table{font-family:ui-monospace,monospace;font-size:.85rem}
b{display:inline-block;width:4.5rem}td,th{text-align:left;padding:.1rem 1rem .1rem 0;vertical-align:top}
.GET{color:#1a6b3c}.POST{color:#1d4f91}.PUT{color:#8a5a00}.DELETE{color:#a1262b}
"""


def render_page(document: dict[str, Any]) -> str:
    """Return one HTML page that shows every operation with its fields."""
    schemas = document["components"]["schemas"]
    sections: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            text = _render_operation(method.upper(), path, operation, schemas)
            sections.setdefault(operation["tags"][0], []).append(text)
    parts = [f"<h2>{html.escape(tag)}</h2>{''.join(texts)}" for tag, texts in sections.items()]
    title = html.escape(document["info"]["title"])
    about = html.escape(document["info"]["description"])
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    link = '<p>The same for programs: <a href="openapi.json">openapi.json</a></p>'
    return f"{head}<h1>{title}</h1><p>{about}</p>{link}{''.join(parts)}</html>"


def _render_operation(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    status, answer = next(iter(operation["responses"].items()))
    shown = answer.get("content", {}).get("application/json", {}).get("schema")
    tables = _render_fields("Request", body, schemas) + _render_fields(f"Answer {status}", shown, schemas)
    summary = f'<b class="{method}">{method}</b><code>{html.escape(path)}</code> {html.escape(operation["summary"])}'
    return f"<details><summary>{summary}</summary>{tables or f'<p>Answers {status}.</p>'}</details>"


def _render_fields(title: str, schema: Any, schemas: dict[str, Any]) -> str:
    if schema is None:
        return ""
    if "properties" not in schema and "$ref" not in schema:
        return ""
    root, inner = next(iter(schema["properties"].items())) if "properties" in schema else ("", schema)
    inner = inner.get("items", inner)
    found = schemas[inner["$ref"].rpartition("/")[2]] if "$ref" in inner else inner
    required = set(found.get("required", ()))
    rows = "".join(
        f"<tr><td>{html.escape(field)}{' *' if field in required else ''}</td><td>{html.escape(_tell(kind))}</td></tr>"
        for field, kind in found.get("properties", {}).items()
    )
    return f"<p>{html.escape(title)}: <code>{html.escape(root)}</code></p><table>{rows}</table>"


def _tell(schema: Schema) -> str:
    """Return a schema in few words."""
    if "anyOf" in schema and "type" not in schema:
        return " or ".join(_tell(one) for one in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(str(choice) for choice in schema["enum"])
    words = str(schema.get("format") or schema.get("type", "any"))
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {_tell(schema['items'])}" if isinstance(schema["items"], dict) else "list"
    bounds = [f"{sign} {schema[key]}" for key, sign in (("minimum", "≥"), ("maximum", "≤")) if key in schema]
    return " ".join([words, *bounds])
