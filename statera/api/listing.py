"""Lists: the query arguments into a `ListQuery`, the page into its envelope with links (rules.md section 3)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_type_hints
from urllib.parse import urlencode, urlsplit

import msgspec

from statera.api.call import Call, answer_json
from statera.api.errors import Answer, Malformed
from statera.api.fields import FALSE_WORDS, TRUE_WORDS
from statera.api.policy import is_allowed, require
from statera.base.errors import Refusal, Refused
from statera.model.listing import ListQuery, Scalar, SortKey, TagFilter
from statera.store.views import Kind, list_views

PAGING = frozenset({"limit", "marker", "page_reverse", "sort", "sort_key", "sort_dir", "fields"})
TAG_KINDS = ("tags", "tags-any", "not-tags", "not-tags-any")


class Constant(msgspec.Struct, frozen=True):
    """An attribute that is the same in every object as long as nothing can set it."""

    value: Scalar


Column = str | Constant
"""The model's attribute behind a name of the API, or a constant."""


def same_columns(*names: str) -> dict[str, Column]:
    """Return attributes that have the same name in the API and in the model."""
    return {name: name for name in names}


class Collection(msgspec.Struct, frozen=True, kw_only=True):
    """What lists of one resource are made of."""

    kind: Kind
    singular: str
    plural: str
    links: str = ""
    """The key of the links, unless it is the plural's."""
    target: str
    """Prefix of its policy targets."""
    key: str = "id"
    """The model's attribute that paths and markers name."""
    is_shared: bool = False
    """Its objects belong to no project: who may list in the own project may list all."""
    columns: Mapping[str, Column]
    """Names to filter and sort by."""
    show: Callable[[Any], Any]
    """From the view to the struct in the answer."""
    is_for_admins: bool = False
    """Belongs to no project as such: there is one target for all who may list it."""


COMMON_COLUMNS: dict[str, Column] = {
    **same_columns(
        "id", "name", "project_id", "admin_state_up", "provisioning_status", "operating_status", "created_at",
        "updated_at",
    ),
    "enabled": "admin_state_up",
    "generation": "changed_at_generation",
}  # fmt: skip
"""Of every resource. Stored names leak into the contract's filters, `enabled` for one."""


def list_arguments(collection: Collection) -> tuple[str, ...]:
    """Return what the query of a list may hold: paging, filters, tags."""
    tags = TAG_KINDS if "tags" in collection.kind.__struct_fields__ else ()
    return (*sorted(PAGING), *collection.columns, *tags)


async def answer_list(call: Call, collection: Collection, *, parent_id: str | None = None) -> Answer:
    """Return one page of a collection, as far as the caller may see it."""
    project_id = None if parent_id is not None or collection.is_shared else _decide_scope(call, collection)
    if collection.is_shared:
        call.allow(f"{collection.target}:get_all", call.caller.project_id)
    query, is_impossible = _read_query(call, collection, project_id, parent_id)
    items: Sequence[Any] = ()
    if not is_impossible:
        items = (await list_views(call.room.store, collection.kind, query)).items
    shown = [collection.show(view) for view in items]
    links = _make_links(call, query, [getattr(view.resource, collection.key) for view in items])
    wanted = [value for name, value in call.query if name == "fields" and value]
    body = [keep_fields(item, wanted) for item in shown] if wanted else shown
    return answer_json({collection.plural: body, collection.links or f"{collection.plural}_links": links})


def answer_one(call: Call, collection: Collection, view: Any) -> Answer:
    """Return one object, of it the `fields` that are asked for."""
    call.require_arguments("fields")
    wanted = [value for _name, value in call.query if value]
    shown = collection.show(view)
    return answer_json({collection.singular: keep_fields(shown, wanted) if wanted else shown})


def keep_fields(shown: Any, wanted: Sequence[str]) -> Any:
    """Return only the wanted attributes of a shown object; unknown names are no attributes of it."""
    whole: dict[str, Any] = msgspec.to_builtins(shown)
    return {name: value for name, value in whole.items() if name in wanted}


def _decide_scope(call: Call, collection: Collection) -> str | None:
    wanted = call.argument("project_id")
    if collection.is_for_admins:
        require(call.caller, f"{collection.target}:get_all", None)
        return wanted
    if is_allowed(call.caller, f"{collection.target}:get_all-global", None):
        return wanted
    project_id = wanted or call.caller.project_id
    require(call.caller, f"{collection.target}:get_all", project_id)
    return project_id


def _read_query(
    call: Call, collection: Collection, project_id: str | None, parent_id: str | None
) -> tuple[ListQuery, bool]:
    filters: dict[str, Scalar] = {}
    tags: list[TagFilter] = []
    is_impossible = False
    hints = get_type_hints(collection.kind)
    for name, value in call.query:
        if name in PAGING or (name == "project_id" and parent_id is None and not collection.is_shared):
            continue
        if name in TAG_KINDS and "tags" in hints:
            tags.append(TagFilter(kind=name, tags=tuple(tag for tag in value.split(",") if tag)))  # type: ignore[arg-type]
            continue
        column = collection.columns.get(name)
        if column is None or column in filters:
            raise Refused(Refusal.INVALID, "One or more arguments are either duplicate or invalid")
        if isinstance(column, Constant):
            is_impossible = is_impossible or column.value is None or column.value != _convert(type(column.value), value)
            continue
        filters[column] = _convert(hints.get(column, str), value)
        is_impossible = is_impossible or filters[column] is None
    query = ListQuery(
        project_id=project_id,
        parent_id=parent_id,
        filters=filters,
        tags=_merge_tags(tags),
        sort=_read_sort(call, collection),
        limit=_read_limit(call),
        marker=call.argument("marker"),
        reverse=call.argument("page_reverse") == "True",
    )
    return query, is_impossible


def _merge_tags(given: Sequence[TagFilter]) -> tuple[TagFilter, ...]:
    merged: dict[Any, tuple[str, ...]] = {}
    for one in given:
        merged[one.kind] = (*merged.get(one.kind, ()), *one.tags)
    return tuple(TagFilter(kind=kind, tags=tags) for kind, tags in merged.items() if tags)


def _convert(hint: Any, text: str) -> Scalar:
    """Return the value to compare with, None when no object can have it."""
    kinds = set(get_args(hint)) or {hint}
    if bool in kinds:
        word = text.strip().lower()
        return True if word in TRUE_WORDS else False if word in FALSE_WORDS else None
    try:
        if int in kinds:
            return int(text)
        if float in kinds:
            return float(text)
    except ValueError:
        return None
    return text


def _read_limit(call: Call) -> int | None:
    most = call.room.settings.api.pagination_max_limit
    text = call.argument("limit")
    if text is None:
        return most
    if text == "infinite":
        return None
    try:
        limit = int(text)
    except ValueError:
        raise Malformed(f"Supplied pagination limit '{text}' is not valid.") from None
    return None if limit <= 0 else min(limit, most)


def _read_sort(call: Call, collection: Collection) -> tuple[SortKey, ...]:
    keys: list[SortKey] = []
    for name, descending in _read_sort_items(call):
        if name not in collection.columns:
            raise Refused(Refusal.INVALID, f"Supplied sort key '{name}' is not valid.")
        column = collection.columns[name]
        if isinstance(column, str):
            keys.append(SortKey(column, descending))
    return tuple(keys)


def _read_sort_items(call: Call) -> list[tuple[str, bool]]:
    items: list[tuple[str, bool]] = []
    for item in _split(call, "sort"):
        name, *direction = item.split(":")
        if len(direction) > 1:
            raise Malformed(f"Supplied sort key '{item}' is not valid.")
        items.append((name, _is_descending(direction[0] if direction else "asc")))
    if items:
        return items
    names, directions = _split(call, "sort_key"), _split(call, "sort_dir")
    if len(directions) > len(names):
        raise Malformed(f"Supplied sort direction '{directions[-1]}' is not valid.")
    directions += ["asc"] * (len(names) - len(directions))
    return [(name, _is_descending(direction)) for name, direction in zip(names, directions, strict=True)]


def _split(call: Call, argument: str) -> list[str]:
    return [item.strip() for name, value in call.query if name == argument for item in value.split(",") if item.strip()]


def _is_descending(direction: str) -> bool:
    if direction not in ("asc", "desc"):
        raise Malformed(f"Supplied sort direction '{direction}' is not valid.")
    return direction == "desc"


def _make_links(call: Call, query: ListQuery, ids: Sequence[str]) -> list[dict[str, str]]:
    if not ids:
        return []
    kept = [(name, value) for name, value in call.query if name not in ("limit", "marker", "page_reverse")]
    if query.limit is not None:
        kept.append(("limit", str(query.limit)))
    base = f"{call.base_url()}{urlsplit(call.url).path}"

    def link(rel: str, *more: tuple[str, str]) -> dict[str, str]:
        return {"rel": rel, "href": f"{base}?{urlencode([*kept, *more])}"}

    links: list[dict[str, str]] = []
    if query.marker is not None:
        links.append(link("previous", ("page_reverse", "True"), ("marker", ids[0])))
    if query.limit is not None and len(ids) >= query.limit:
        links.append(link("next", ("marker", ids[-1])))
    return links
