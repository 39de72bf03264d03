"""Where objects belong. It never changes while they exist, so an edit need not read it again.

Accepting an edit then costs no read of its own: that the object is still there, the edit itself finds out.
"""

import asyncio

import msgspec

from statera.base.recent import remember
from statera.model.tree import L7Rule, Member, Resource
from statera.store.engine import Store
from statera.store.views import load_view

REMEMBERED = 20_000
"""Objects; some 10 MiB."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """An object's load balancer and project, the pool of a member and the policy of a rule."""

    id: str
    load_balancer_id: str
    project_id: str
    pool_id: str | None = None
    l7policy_id: str | None = None


class Places:
    """The places of objects seen lately."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[type[Resource], str], Place] = {}
        self._asked: dict[tuple[type[Resource], str], asyncio.Task[Place | None]] = {}

    def recall(self, kind: type[Resource], object_id: str) -> Place | None:
        """Return what is remembered; the object may be gone."""
        return self._known.get((kind, object_id))

    async def load(self, kind: type[Resource], object_id: str) -> Place | None:
        """Look the object up and remember it; None when there is none. Many who ask at once cost one look."""
        key = (kind, object_id)
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._look(kind, object_id))
            self._asked[key].add_done_callback(lambda _task: self._asked.pop(key))
        # Shielded: whoever hangs up must not take the answer from the others.
        return await asyncio.shield(self._asked[key])

    async def _look(self, kind: type[Resource], object_id: str) -> Place | None:
        view = await load_view(self._store, kind, object_id)
        if view is None:
            self._known.pop((kind, object_id), None)
            return None
        place = place_of(view.resource)
        remember(self._known, (kind, object_id), place, REMEMBERED)
        return place


def place_of(resource: Resource) -> Place:
    """Return where an object belongs."""
    return Place(
        id=resource.id,
        load_balancer_id=getattr(resource, "load_balancer_id", resource.id),
        project_id=resource.project_id,
        pool_id=resource.pool_id if isinstance(resource, Member) else None,
        l7policy_id=resource.l7policy_id if isinstance(resource, L7Rule) else None,
    )
