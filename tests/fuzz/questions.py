"""What tenants ask the API with, beside bodies of resources: queries of lists, secrets, requests to be explained."""

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from litestar._parsers import parse_query_string
from litestar.datastructures import MultiDict

from statera.api import (
    amphorae,
    availabilityzones,
    flavors,
    healthmonitors,
    keymanager,
    l7policies,
    l7rules,
    listeners,
    loadbalancers,
    members,
    neutron,
    pools,
    quotas,
)
from statera.api.application import NOBODY
from statera.api.call import Call, Room
from statera.api.explain import RequestGiven, _read_request
from statera.api.listing import Collection, _make_links, _read_query
from statera.api.wire import read_body
from statera.base.errors import Refused
from statera.base.settings import Settings
from statera.model.enums import COMPARES_OF_L7RULE, L7CompareType
from statera.model.l7 import explain
from statera.model.tree import L7Rule, Tree
from statera.store.views import _filters, _order
from tests.unit.model.test_l7edits import COMMON, TREE, a_policy

ROOM = cast(Room, SimpleNamespace(settings=Settings()))
_MODULES: tuple[Any, ...] = (
    amphorae, availabilityzones, flavors, healthmonitors, l7policies, l7rules, listeners, loadbalancers, members, pools,
    quotas,
)  # fmt: skip
COLLECTIONS = [one for module in _MODULES for one in vars(module).values() if isinstance(one, Collection)]
NETWORK = {"id": "n", "name": "net", "shared": True, "mtu": 1500, "tags": []}


def _make_rules() -> tuple[L7Rule, ...]:
    """Return one rule of each kind and comparison that the API judges itself."""
    pairs = [(kind, one) for kind, all_of in COMPARES_OF_L7RULE.items() for one in all_of]
    below: dict[str, Any] = {**COMMON, "load_balancer_id": "b", "value": "a"}
    return tuple(
        L7Rule(**below, id=f"r{number}", l7policy_id=f"p{number}", type=kind, compare_type=one, key="a")
        for number, (kind, one) in enumerate(pairs)
        if one != L7CompareType.REGEX
    )


RULES = _make_rules()
JUDGED: Tree = msgspec.structs.replace(
    TREE,
    listeners=tuple(msgspec.structs.replace(one, allowed_cidrs=("10.0.0.0/8",)) for one in TREE.listeners),
    l7policies=tuple(a_policy(rule.l7policy_id, number) for number, rule in enumerate(RULES, 1)),
    l7rules=RULES,
)


def make_call(query: bytes = b"", body: bytes = b"", **more: Any) -> Call:
    """Return a call as the API makes one of a request."""

    async def load_body() -> bytes:
        return body

    plain: dict[str, Any] = {"room": ROOM, "caller": NOBODY, "method": "GET", "path": {}, "headers": {}}
    pairs = tuple(MultiDict(parse_query_string(query)).multi_items())
    return Call(**(plain | more), url="http://api/v2/lbaas/all", query=pairs, load_body=load_body)


def ask_lists(data: bytes) -> None:
    """Read a query as every list does, up to the parts of its statement."""
    call = make_call(data, headers={"host": "api"})
    for collection in COLLECTIONS:
        for parent_id in (None, "parent"):
            with contextlib.suppress(Refused):
                query, _ = _read_query(call, collection, "project", parent_id)
                _filters(collection.kind, query)
                _order(collection.kind, query.sort)
                _make_links(call, query, ["a"])
    with contextlib.suppress(Refused):
        keymanager._line(call.argument("name"))
        keymanager._read_page(call)
    with contextlib.suppress(Refused):
        keymanager._read_filters(call, keymanager.SECRET_FILTERS)
    wanted = {name: {value} for name, value in call.query}
    neutron._matches(NETWORK, wanted)
    neutron._select(call, NETWORK)


def keep_secrets(data: bytes) -> None:
    """Read the body of a new secret and a new container."""
    with contextlib.suppress(Refused):
        container = asyncio.run(keymanager._read(make_call(body=data), keymanager.NewContainer))
        keymanager._line(container.name)
    with contextlib.suppress(Refused):
        secret = asyncio.run(keymanager._read(make_call(body=data), keymanager.NewSecret))
        keymanager._line(secret.name)
        keymanager._read_time(secret.expiration)
        keymanager._read_payload(secret)


def explain_requests(data: bytes) -> None:
    """Read a described request and judge it."""
    with contextlib.suppress(Refused):
        wire = read_body(RequestGiven, msgspec.json.decode(data), "request_", "request")
        msgspec.json.encode(explain(JUDGED, _read_request(wire)))
