"""Members of a pool, one by one and as a whole set."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.call import Call, Route, answer_json
from statera.api.errors import Answer
from statera.api.fields import TRUE_WORDS, Address, Integer
from statera.api.listing import COMMON_COLUMNS, Collection, Constant, same_columns
from statera.api.loading import find_parent_pool
from statera.api.operations import Operations, Parent
from statera.api.places import Place
from statera.api.routing import make_routes
from statera.api.shown import Shown, list_common, view_of_member
from statera.api.wire import (
    NULLS_ON_CREATE,
    NULLS_ON_UPDATE,
    Name,
    OptionalFlag,
    OptionalUuid,
    ProjectId,
    Tags,
    Wire,
    list_kept,
)
from statera.base.errors import Refusal, Refused
from statera.base.ids import new_id
from statera.model.edits import Change, MemberWish, create_member, delete_member, set_members, update_member
from statera.model.tree import Member
from statera.model.views import MemberView

_ON_UPDATE = NULLS_ON_UPDATE | {"weight": 1, "backup": False}


class MemberUpdate(Wire, frozen=True, kw_only=True):
    name: Name = UNSET
    admin_state_up: OptionalFlag = UNSET
    tags: Tags = UNSET
    weight: Annotated[int | UnsetType | None, Integer(0, 256)] = UNSET
    backup: OptionalFlag = UNSET
    monitor_address: Annotated[str | UnsetType | None, Address()] = UNSET
    monitor_port: Annotated[int | UnsetType | None, Integer(1, 65535)] = UNSET


class NewMember(MemberUpdate, frozen=True, kw_only=True):
    address: Annotated[str, Address()]
    protocol_port: Annotated[int, Integer(1, 65535)]
    subnet_id: OptionalUuid = UNSET
    request_sriov: OptionalFlag = UNSET


class MemberCreate(NewMember, frozen=True, kw_only=True):
    project_id: ProjectId = UNSET
    tenant_id: ProjectId = UNSET


class MemberShown(Shown, frozen=True, kw_only=True):
    address: str
    protocol_port: int
    weight: int | None
    backup: bool
    subnet_id: str | None
    monitor_address: str | None
    monitor_port: int | None
    vnic_type: str = "normal"


_SAME = ("address", "protocol_port", "weight", "backup", "subnet_id", "monitor_address", "monitor_port")


def show_member(view: MemberView) -> MemberShown:
    """Return what the API shows of a member."""
    member = view.resource
    return MemberShown(**list_common(member), **{name: getattr(member, name) for name in _SAME})


COLLECTION = Collection(
    singular="member",
    plural="members",
    kind=Member,
    target="member",
    columns=COMMON_COLUMNS | same_columns(*_SAME, "pool_id") | {"vnic_type": Constant("normal")},
    show=show_member,
)


def build_member(wire: NewMember, pool: Place, reserved: tuple[str, ...], **more: Any) -> Member:
    """Return the member that a create request asks for. Raises `Refused`."""
    if wire.address in reserved:
        raise Refused(Refusal.INVALID, f"{wire.address} is not a valid option for member address")
    if wire.request_sriov is True:
        raise Refused(Refusal.INVALID, "The load balancer flavor does not allow SR-IOV member ports.")
    given = list_kept(wire, NULLS_ON_CREATE | {"backup": False}, Member.__struct_fields__)
    owned = {"project_id": pool.project_id, "load_balancer_id": pool.load_balancer_id, "pool_id": pool.id}
    return Member(**({"id": new_id()} | given | owned | more))


def change_member(wire: MemberUpdate) -> Change[Member]:
    """Return what an update request makes of the stored member."""
    given = list_kept(wire, _ON_UPDATE, Member.__struct_fields__)
    return lambda member: msgspec.structs.replace(member, **given)


def change_matched_member(wire: NewMember) -> Change[Member]:
    """Return what a whole set makes of a member it names again: what is left out gets the value of a new member."""
    fresh = {"weight": 1, "backup": False, "admin_state_up": True, "monitor_address": None, "monitor_port": None}
    given = fresh | list_kept(wire, _ON_UPDATE, Member.__struct_fields__)
    return lambda member: msgspec.structs.replace(member, **(given | {"address": member.address}))


async def check_subnet(call: Call, wire: NewMember) -> None:
    """Refuse (INVALID) a subnet that the network does not have."""
    if wire.subnet_id and await call.room.network.observe_subnet(wire.subnet_id) is None:
        raise Refused(Refusal.INVALID, f"Subnet {wire.subnet_id} not found.")


# Operations


OPERATIONS = Operations(
    collection=COLLECTION,
    delete=delete_member,
    word="Member",
    parent=Parent(find=find_parent_pool, attribute="pool_id"),
)


async def accept_create(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(MemberCreate, "member_", "member")
    pool = await find_parent_pool(call, "member:post")
    await check_subnet(call, wire)
    member = build_member(wire, pool, _reserved(call), created_at=call.room.clock.now())
    decide = create_member(member, call.terms())
    tree = await call.edit(pool.load_balancer_id, decide, f"Member {member.id} created.")
    return answer_json({"member": show_member(view_of_member(tree, member.id))}, 201)


async def accept_update(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(MemberUpdate, "member_", "member")
    member = await OPERATIONS.find(call, "put")
    decide = update_member(member.id, change_member(wire), call.terms())
    tree = await call.edit(member.load_balancer_id, decide, f"Member {member.id} updated.")
    return answer_json({"member": show_member(view_of_member(tree, member.id))})


async def accept_set(call: Call) -> Answer:
    """Replace the whole set."""
    call.require_arguments("additive_only")
    additive_only = (call.argument("additive_only") or "").strip().lower() in TRUE_WORDS
    wires = await call.read_list(MemberCreate, "members_", "members")
    pool = await find_parent_pool(call, "member:post")
    call.allow("member:put", pool.project_id)
    if not additive_only:
        call.allow("member:delete", pool.project_id)
    wishes = [await _wish(call, wire, pool, number) for number, wire in enumerate(wires)]
    decide = set_members(pool.id, wishes, additive_only=additive_only, terms=call.terms())
    await call.edit(pool.load_balancer_id, decide, f"Members of pool {pool.id} set: {len(wishes)} named.")
    return Answer(status=202)


async def _wish(call: Call, wire: MemberCreate, pool: Place, number: int) -> MemberWish:
    await check_subnet(call, wire)
    # Microseconds apart, so that lists keep the order of the request.
    created_at = call.room.clock.now().replace(microsecond=number)
    fresh = build_member(wire, pool, _reserved(call), created_at=created_at)
    return MemberWish(fresh=fresh, change=change_matched_member(wire))


def _reserved(call: Call) -> tuple[str, ...]:
    return call.room.settings.api.reserved_addresses


ROUTES = (
    *make_routes(
        COLLECTION,
        MemberShown,
        listed=OPERATIONS.accept_list,
        shown=OPERATIONS.accept_show,
        created=(accept_create, MemberCreate),
        updated=(accept_update, MemberUpdate),
        deleted=OPERATIONS.accept_delete,
        below="/pools/{pool_id}",
    ),
    Route(
        method="PUT",
        path="/pools/{pool_id}/members",
        act=accept_set,
        summary="Replace the members of a pool; with `additive_only=true` add and update only",
        status=202,
        arguments=("additive_only",),
        body=MemberCreate,
        root="members",
        is_list=True,
    ),
)
