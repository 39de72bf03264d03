"""The five operations that every resource has, as table entries."""

from typing import Any

from statera.api.call import Act, Route
from statera.api.listing import Collection, list_arguments
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
    on_delete: tuple[str, ...] = (),
) -> tuple[Route, ...]:
    """Return list, create, show, update and delete of a resource, `below` a path, its id named `identifier` there.

    Deletion takes the arguments `on_delete`.
    """
    name, names = collection.singular, collection.plural
    many = f"{below}/{names}"
    one = f"{many}/{{{identifier or f'{name}_id'}}}"
    told = {"root": name, "shown": answer}
    return (
        make_list_route(collection, answer, many, listed, f"List {names}"),
        Route(
            method="POST", path=many, act=created[0], summary=f"Create a {name}", status=201, body=created[1], **told
        ),
        Route(method="GET", path=one, act=shown, summary=f"Show a {name}", arguments=("fields",), **told),
        Route(method="PUT", path=one, act=updated[0], summary=f"Update a {name}", body=updated[1], **told),
        Route(method="DELETE", path=one, act=deleted, summary=f"Delete a {name}", status=204, arguments=on_delete),
    )


def make_list_route(collection: Collection, answer: Any, path: str, act: Act, summary: str) -> Route:
    """Return the list of a resource as a table entry."""
    return Route(
        method="GET",
        path=path,
        act=act,
        summary=summary,
        arguments=list_arguments(collection),
        root=collection.plural,
        shown=answer,
        is_list=True,
        links=collection.links or f"{collection.plural}_links",
    )
