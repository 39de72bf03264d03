"""A list request after the API has checked it: plain data that the store turns into one statement."""

from typing import Literal

import msgspec

Scalar = str | int | float | bool | None


class SortKey(msgspec.Struct, frozen=True):
    field: str
    """An attribute of the model struct, such as `created_at`."""
    descending: bool = False


class TagFilter(msgspec.Struct, frozen=True):
    kind: Literal["tags", "tags-any", "not-tags", "not-tags-any"]
    tags: tuple[str, ...]


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`filters` maps attributes of the model struct to the wanted value, all of which must match.

    `project_id` None means all projects. `parent_id` narrows members to a pool, rules to a policy. Equals in `sort` are
    sorted by `created_at` and the id. `limit` None means no limit; `marker` is the id of the object to start after, or
    with `reverse` to end before.
    """

    project_id: str | None = None
    parent_id: str | None = None
    filters: dict[str, Scalar] = {}
    tags: tuple[TagFilter, ...] = ()
    sort: tuple[SortKey, ...] = ()
    limit: int | None = None
    marker: str | None = None
    reverse: bool = False
