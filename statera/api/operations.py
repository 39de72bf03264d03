"""The operations that say the same of every kind of resource: list, show, delete; and how the others find their object.

What creating and updating mean is each module's own.
"""

from collections.abc import Awaitable, Callable
from typing import cast

import msgspec

from statera.api.call import Call, not_found
from statera.api.errors import Answer
from statera.api.listing import Collection, answer_list, answer_one
from statera.api.loading import find, load_any
from statera.api.places import Place
from statera.model.edits import Decide, Terms
from statera.model.rules import WORDS
from statera.model.tree import Resource


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    """The object in the middle of the path, which the one at its end must belong to."""

    find: Callable[[Call, str], Awaitable[Place]]
    """By the call and the policy target."""
    attribute: str
    """Where the child keeps the parent's id."""


class Operations(msgspec.Struct, frozen=True, kw_only=True):
    """Of one kind of resource, whose id stands in the path under its policy target's name."""

    collection: Collection
    delete: Callable[[str, Terms], Decide]
    word: str
    """What the history calls it."""
    parent: Parent | None = None

    async def accept_list(self, call: Call) -> Answer:
        return await answer_list(call, self.collection, parent_id=await self._find_parent(call, "get_all"))

    async def accept_show(self, call: Call) -> Answer:
        parent_id = await self._find_parent(call, "get_one")
        view = await load_any(call, self._kind, self._read_id(call), self._target("get_one"))
        self._check_parent(view.resource, view.resource.id, parent_id)
        return answer_one(call, self.collection, view)

    async def accept_delete(self, call: Call) -> Answer:
        call.require_arguments()
        place = await self.find(call, "delete")
        await call.edit(place.load_balancer_id, self.delete(place.id, call.terms()), f"{self.word} {place.id} deleted.")
        return Answer(status=204)

    async def find(self, call: Call, verb: str) -> Place:
        """Return where the object of an edit belongs. Refuses (NOT_FOUND), then (FORBIDDEN)."""
        parent_id = await self._find_parent(call, verb)
        place = await find(call, self._kind, self._read_id(call), self._target(verb))
        self._check_parent(place, place.id, parent_id)
        return place

    @property
    def _kind(self) -> type[Resource]:
        return cast(type[Resource], self.collection.kind)

    def _target(self, verb: str) -> str:
        return f"{self.collection.target}:{verb}"

    def _read_id(self, call: Call) -> str:
        return call.path[f"{self.collection.target}_id"]

    async def _find_parent(self, call: Call, verb: str) -> str | None:
        return None if self.parent is None else (await self.parent.find(call, self._target(verb))).id

    def _check_parent(self, child: Resource | Place, child_id: str, parent_id: str | None) -> None:
        if self.parent is not None and getattr(child, self.parent.attribute) != parent_id:
            raise not_found(WORDS[self._kind], child_id)
