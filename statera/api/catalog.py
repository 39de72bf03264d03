"""The operations that flavors, availability zones and their profiles have in common.

They belong to no project. A module describes each kind by an `Offer`; `make_offer_routes` makes the five operations.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from statera.api.call import Call, Room, Route, answer_json, not_found
from statera.api.capabilities import read_data, require_provider
from statera.api.errors import Answer
from statera.api.listing import Collection, answer_list, answer_one
from statera.api.routing import make_list_route
from statera.api.wire import Wire, list_given
from statera.base.ids import new_id
from statera.model.catalog import RECORD_WORDS, Profile, Record
from statera.model.views import RecordView
from statera.store.catalog import insert_record, remove_record, update_profile, update_record
from statera.store.views import load_record


def make_profile_check(name: str, kind: type[Any]) -> Callable[[Room, dict[str, Any]], None]:
    """Return what looks at a request for a profile, whose data are in the field `name`, JSON of `kind`."""

    def check(room: Room, given: dict[str, Any]) -> None:
        if "provider_name" in given:
            require_provider(room, given["provider_name"])
        if name in given:
            read_data(kind, given[name], name)

    return check


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What the operations need to know of one kind."""

    kind: type[Record]
    collection: Collection
    path: str
    argument: str
    """The name in the path."""
    shown: Any
    create: type[Wire]
    update: type[Wire]
    nulls_on_create: Mapping[str, Any]
    nulls_on_update: Mapping[str, Any]
    check: Callable[[Room, dict[str, Any]], None] = lambda _room, _given: None
    """Look at what a request gives. Raises `Refused`."""

    @property
    def root(self) -> str:
        return self.collection.singular

    async def accept_list(self, call: Call) -> Answer:
        return await answer_list(call, self.collection)

    async def accept_show(self, call: Call) -> Answer:
        return answer_one(call, self.collection, await self._load(call, "get_one"))

    async def accept_create(self, call: Call) -> Answer:
        call.require_arguments()
        wire = await call.read(self.create, self.root, self.root)
        call.allow(f"{self.collection.target}:post", call.caller.project_id)
        given = list_given(wire, self.nulls_on_create)
        self.check(call.room, given)
        own = {"id": new_id()} if "id" in self.kind.__struct_fields__ else {}
        record = self.kind(**given, **own, created_at=call.room.clock.now())
        await insert_record(call.room.store, record)
        return answer_json({self.root: show_record(self.shown, record)}, 201)

    async def accept_update(self, call: Call) -> Answer:
        call.require_arguments()
        wire = await call.read(self.update, self.root, self.root)
        await self._load(call, "put")
        given = list_given(wire, self.nulls_on_update)
        self.check(call.room, given)
        key, update = call.path[self.argument], update_profile if issubclass(self.kind, Profile) else update_record
        record = await update(call.room.store, self.kind, key, given)
        if record is None:
            raise self._not_found(call)
        return answer_json({self.root: show_record(self.shown, record)})

    async def accept_delete(self, call: Call) -> Answer:
        call.require_arguments()
        await self._load(call, "delete")
        if not await remove_record(call.room.store, self.kind, call.path[self.argument]):
            raise self._not_found(call)
        return Answer(status=204)

    async def _load(self, call: Call, verb: str) -> RecordView:
        # Before existence: names of what is not offered to everybody are nobody's business.
        call.allow(f"{self.collection.target}:{verb}", call.caller.project_id)
        found = await load_record(call.room.store, self.kind, call.path[self.argument])
        if found is None:
            raise self._not_found(call)
        return found

    def _not_found(self, call: Call) -> Exception:
        return not_found(RECORD_WORDS[self.kind], call.path[self.argument])


def show_record(shown: Any, record: Any) -> Any:
    """Return the struct that the API shows, which is the record without what is only ours."""
    return shown(**{name: getattr(record, name) for name in shown.__struct_fields__})


def make_collection(kind: type[Record], shown: Any, **more: Any) -> Collection:
    """Return the collection of a kind, whose columns are what is shown."""
    columns = {name: name for name in shown.__struct_fields__}
    show: Callable[[Any], Any] = lambda view: show_record(shown, view.resource)  # noqa: E731
    return Collection(kind=kind, columns=columns, show=show, is_shared=True, **more)


def make_offer_routes(offer: Offer) -> tuple[Route, ...]:
    """Return list, create, show, update and delete."""
    many, one = offer.path, f"{offer.path}/{{{offer.argument}}}"
    word = RECORD_WORDS[offer.kind].lower()
    told = {"root": offer.root, "shown": offer.shown}
    return (
        make_list_route(offer.collection, offer.shown, many, offer.accept_list, f"List the {word}s"),
        Route(
            method="POST", path=many, act=offer.accept_create, summary=f"Create a {word}", status=201,
            body=offer.create, **told,
        ),
        Route(
            method="GET", path=one, act=offer.accept_show, summary=f"Show a {word}", arguments=("fields",), **told
        ),
        Route(method="PUT", path=one, act=offer.accept_update, summary=f"Update a {word}", body=offer.update, **told),
        Route(method="DELETE", path=one, act=offer.accept_delete, summary=f"Delete a {word}", status=204),
    )  # fmt: skip
