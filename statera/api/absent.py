"""Resources of the v2 API that have no objects here yet: lists are empty, ids are unknown, creation is not supported.

Clients ask some of them on their way to something else. Each becomes a resource module of its own when it is built.
"""

from collections.abc import Sequence

from statera.api.call import Act, Call, Route, not_found
from statera.api.errors import UNSUPPORTED_ACTION, Answer
from statera.api.listing import answer_empty_list
from statera.base.errors import Refusal, Refused


def _list(plural: str, target: str) -> Act:
    async def act(call: Call) -> Answer:
        return answer_empty_list(call, plural, target)

    return act


def _show(word: str) -> Act:
    async def act(call: Call) -> Answer:
        raise not_found(word, call.path["id"])

    return act


def _refuse(what: str, target: str) -> Act:
    async def act(call: Call) -> Answer:
        call.allow(target, call.caller.project_id)
        raise Refused(Refusal.UNSUPPORTED, what, slug=UNSUPPORTED_ACTION)

    return act


def _routes(path: str, key: str, word: str, target: str, *, is_created_by_tenants: bool) -> Sequence[Route]:
    routes = [
        Route(method="GET", path=path, act=_list(key, f"{target}:get_all"), summary=f"List {key} (none yet)"),
        Route(method="GET", path=f"{path}/{{id}}", act=_show(word), summary=f"Show one of {key} (none yet)"),
    ]
    if is_created_by_tenants:
        refusal = _refuse(word, f"{target}:post")
        routes.append(Route(method="POST", path=path, act=refusal, summary=f"Create one of {key} (not there yet)"))
    return routes


ROUTES: tuple[Route, ...] = (
    *_routes("/flavors", "flavors", "Flavor", "flavor", is_created_by_tenants=False),
    *_routes(
        "/availabilityzones", "availability_zones", "Availability Zone", "availability-zone",
        is_created_by_tenants=False,
    ),
)  # fmt: skip
