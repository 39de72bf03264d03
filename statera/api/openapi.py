"""The OpenAPI document, made from the table of routes and the wire structs, and a page that shows it.

The page is whole in itself: it loads nothing from elsewhere.
"""

import html
import re
from collections.abc import Sequence
from typing import Any

import msgspec

import statera
from statera.api.call import Act, Call, Route, answer_json
from statera.api.errors import Answer, Fault
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
    _, faults = msgspec.json.schema_components([Fault], ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Statera: OpenStack Load Balancer API v2",
            "version": statera.__version__,
            "description": "Attributes `generation`, `observed_generation` and `status_reason`, and the history below "
            "`/events`, are Statera's own; all else follows the v2 API up to version 2.30.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": dict(sorted((schemas | faults).items()))},
    }


def _describe(route: Route, path: str, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()} {path}").strip("_"),
        "tags": [_tag(path)],
        "responses": {str(route.status): _describe_answer(route, schemas), "default": _FAULT},
    }
    names = re.findall(r"{(\w+)}", path)
    if names:
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if route.body is not None:
        _add_wire(route.body, schemas)
        content = {"application/json": {"schema": _wrap(route, {"$ref": _REF.format(name=route.body.__name__)})}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


_FAULT = {
    "description": "Refused or failed",
    "content": {"application/json": {"schema": {"$ref": _REF.format(name="Fault")}}},
}


def _tag(path: str) -> str:
    parts = [part for part in path.split("/") if part and not part.startswith("{") and part not in ("v2", "lbaas")]
    return "members" if "members" in parts else parts[0] if parts else "discovery"


def _describe_answer(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Accepted" if route.status in (202, 204) else "OK"}
    if route.shown is not None:
        (schema,), found = msgspec.json.schema_components([route.shown], ref_template=_REF)
        schemas |= found
        answer["content"] = {"application/json": {"schema": _wrap(route, schema)}}
    return answer


def _wrap(route: Route, schema: Schema) -> Schema:
    inner = {"type": "array", "items": schema} if route.is_list else schema
    return {"type": "object", "required": [route.root], "properties": {route.root: inner}}


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
    ((root, inner),) = schema["properties"].items()
    name = inner.get("items", inner)["$ref"].rpartition("/")[2]
    found = schemas[name]
    required = set(found.get("required", ()))
    rows = "".join(
        f"<tr><td>{html.escape(field)}{' *' if field in required else ''}</td><td>{html.escape(_tell(kind))}</td></tr>"
        for field, kind in found["properties"].items()
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
