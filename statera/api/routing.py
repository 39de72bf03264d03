"""The five operations that every resource has, as table entries."""

from typing import Any

from statera.api.call import Act, Route
from statera.api.listing import Collection
from statera.api.wire import Wire


def make_routes(
    collection: Collection,
    answer: Any,
    *,
    listed: Act,
    shown: Act,
    created: tuple[Act, type[Wire]],
    updated: tuple[Act, type[Wire]],
    deleted: Act,
    below: str = "",
    identifier: str = "",
) -> tuple[Route, ...]:
    """Return list, create, show, update and delete of a resource, `below` a path, its id named `identifier` there."""
    name, names = collection.singular, collection.plural
    many = f"{below}/{names}"
    one = f"{many}/{{{identifier or f'{name}_id'}}}"
    told = {"root": name, "shown": answer}
    return (
        Route(method="GET", path=many, act=listed, summary=f"List {names}", root=names, shown=answer, is_list=True),
        Route(
            method="POST", path=many, act=created[0], summary=f"Create a {name}", status=201, body=created[1], **told
        ),
        Route(method="GET", path=one, act=shown, summary=f"Show a {name}", **told),
        Route(method="PUT", path=one, act=updated[0], summary=f"Update a {name}", body=updated[1], **told),
        Route(method="DELETE", path=one, act=deleted, summary=f"Delete a {name}", status=204),
    )
