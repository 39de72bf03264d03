"""What tenants and operators want beside single objects: whole trees, former generations, batches, profiles."""

import asyncio
import contextlib
from types import SimpleNamespace
from typing import cast

import msgspec

from statera.api.call import Room
from statera.api.capabilities import check_flavor_data, read_data
from statera.api.plans import LoadBalancerWanted, MemberWanted, RollbackWanted, _read_wish, describe_tree
from statera.api.policy import Caller
from statera.base.errors import Refused
from statera.base.settings import Settings
from statera.model.catalog import FlavorData, ZoneData
from statera.model.forecast import list_changes
from tests.fuzz.questions import make_call
from tests.unit.model.test_status import NOW, make_tree

LIVE = make_tree()
ROOM = cast(Room, SimpleNamespace(settings=Settings(), clock=SimpleNamespace(now=lambda: NOW)))
ADMIN = Caller(name="admin", project_id="p", is_admin=True)


def want_trees(data: bytes) -> None:
    """Read the body of a plan, of a rollback and of a batch, and make the tree so."""
    call = make_call(body=data, room=ROOM, caller=ADMIN)
    with contextlib.suppress(Refused):
        wire = asyncio.run(call.read(LoadBalancerWanted, "load_balancer", "loadbalancer"))
        after = _read_wish(call, wire)(LIVE)
        list_changes(LIVE, after)
        msgspec.json.encode(describe_tree(after))
    with contextlib.suppress(Refused):
        asyncio.run(call.read_flat(RollbackWanted, "rollback"))
    with contextlib.suppress(Refused):
        asyncio.run(call.read_list(MemberWanted, "members", "members"))


def read_profiles(data: bytes) -> None:
    """Read the data of a flavor's and an availability zone's profile: JSON that is a string in JSON."""
    text = data.decode("utf-8", errors="replace")
    with contextlib.suppress(Refused):
        check_flavor_data(read_data(FlavorData, text, "flavor_data"))
    with contextlib.suppress(Refused):
        read_data(ZoneData, text, "availability_zone_data")
