"""L7 policies of a listener."""

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.call import Call, answer_json
from statera.api.errors import Answer
from statera.api.fields import MOST_INTEGER, Choice, Integer, OneOf, Several, Url, Uuid
from statera.api.l7rules import NewL7Rule, build_l7rule
from statera.api.listing import COMMON_COLUMNS, Collection, same_columns
from statera.api.loading import find
from statera.api.operations import Operations
from statera.api.places import Place, place_of
from statera.api.routing import make_routes
from statera.api.shown import Shown, list_common, list_ids, view_of_l7policy
from statera.api.wire import (
    KEEP,
    NULLS_ON_CREATE,
    NULLS_ON_UPDATE,
    REFUSE,
    Name,
    Nested,
    OptionalFlag,
    OptionalUuid,
    ProjectId,
    Tags,
    Wire,
    list_kept,
)
from statera.base.errors import Refusal, Refused
from statera.base.ids import new_id
from statera.model.edits import Change, Decide, Terms
from statera.model.enums import REDIRECT_HTTP_CODES, L7Action
from statera.model.l7edits import create_l7policy, delete_l7policy, update_l7policy
from statera.model.tree import L7Policy, L7Rule, Listener
from statera.model.views import L7PolicyView

LAST = MOST_INTEGER
"""The position of a policy that comes after all others."""
DEFAULT_HTTP_CODE = 302
_TARGETS = {
    L7Action.REDIRECT_TO_POOL: "redirect_pool_id",
    L7Action.REDIRECT_TO_URL: "redirect_url",
    L7Action.REDIRECT_PREFIX: "redirect_prefix",
}
"""What each action needs; the first one given decides when the action leaves it open."""
_BY_URL = (L7Action.REDIRECT_TO_URL, L7Action.REDIRECT_PREFIX)
_URL_LENGTH = 255

RedirectUrl = Annotated[str | UnsetType | None, Url(_URL_LENGTH)]


class L7PolicyGiven(Wire, frozen=True, kw_only=True):
    name: Name = UNSET
    description: Name = UNSET
    admin_state_up: OptionalFlag = UNSET
    tags: Tags = UNSET
    action: Annotated[L7Action | UnsetType | None, Choice(L7Action)] = UNSET
    position: Annotated[int | UnsetType | None, Integer(1, LAST)] = UNSET
    redirect_url: RedirectUrl = UNSET
    redirect_prefix: RedirectUrl = UNSET
    redirect_http_code: Annotated[int | UnsetType | None, OneOf(REDIRECT_HTTP_CODES)] = UNSET


class L7PolicyUpdate(L7PolicyGiven, frozen=True, kw_only=True):
    redirect_pool_id: OptionalUuid = UNSET


class NewL7Policy(L7PolicyGiven, frozen=True, kw_only=True):
    action: Annotated[L7Action, Choice(L7Action)]
    rules: Annotated[tuple[NewL7Rule, ...] | UnsetType | None, Several(Nested(NewL7Rule))] = UNSET


class L7PolicyCreate(NewL7Policy, frozen=True, kw_only=True):
    listener_id: Annotated[str, Uuid()]
    redirect_pool_id: OptionalUuid = UNSET
    project_id: ProjectId = UNSET
    tenant_id: ProjectId = UNSET


class L7PolicyShown(Shown, frozen=True, kw_only=True):
    listener_id: str
    description: str
    action: str
    position: int
    redirect_pool_id: str | None
    redirect_url: str | None
    redirect_prefix: str | None
    redirect_http_code: int | None
    rules: tuple[Any, ...]


_SAME = (
    "listener_id", "description", "action", "position", "redirect_pool_id", "redirect_url", "redirect_prefix",
    "redirect_http_code",
)  # fmt: skip


def show_l7policy(view: L7PolicyView, rules: Sequence[Any] | None = None) -> L7PolicyShown:
    """Return what the API shows of a policy, with the ids of its rules or with these whole rules."""
    policy = view.resource
    shown = list_ids(view.rule_ids) if rules is None else tuple(rules)
    return L7PolicyShown(**list_common(policy), **{name: getattr(policy, name) for name in _SAME}, rules=shown)


COLLECTION = Collection(
    singular="l7policy",
    plural="l7policies",
    kind=L7Policy,
    target="l7policy",
    columns=COMMON_COLUMNS | same_columns(*_SAME),
    show=show_l7policy,
)


def build_l7policy(wire: NewL7Policy, listener: Place, **more: Any) -> L7Policy:
    """Return the policy that a create request asks for. Raises `Refused`."""
    nulls = NULLS_ON_CREATE | {"position": LAST, "action": REFUSE}
    targets = {name: more[name] for name in _TARGETS.values() if name in more}
    given = _settle_action(list_kept(wire, nulls, L7Policy.__struct_fields__) | targets, is_new=True)
    owned = {"project_id": listener.project_id, "load_balancer_id": listener.load_balancer_id}
    values: dict[str, Any] = {"id": new_id(), "listener_id": listener.id, "position": LAST}
    return L7Policy(**(values | more | given | owned))


def list_policy_edits(
    wires: Sequence[NewL7Policy], listener: Listener, now: dt.datetime, pool_ids: Sequence[str | None] = ()
) -> list[Decide]:
    """Return the edits that add a new listener's policies; `pool_ids` are those that they redirect to, in order."""
    decisions: list[Decide] = []
    owner = place_of(listener)
    for number, (wire, pool_id) in enumerate(itertools.zip_longest(wires, pool_ids)):
        created_at = listener.created_at + dt.timedelta(microseconds=number)
        policy = build_l7policy(
            wire, owner, created_at=created_at, **({"redirect_pool_id": pool_id} if pool_id else {})
        )
        decisions.append(create_l7policy(policy, build_rules(wire, policy), Terms(now=now)))
    return decisions


def build_rules(wire: NewL7Policy, policy: L7Policy) -> list[L7Rule]:
    """Return the rules that come with a policy, later by a microsecond each, so that lists keep their order."""
    owner = place_of(policy)
    return [
        build_l7rule(rule, owner, created_at=policy.created_at + dt.timedelta(microseconds=number))
        for number, rule in enumerate(wire.rules or ())
    ]


def change_l7policy(wire: L7PolicyUpdate) -> Change[L7Policy]:
    """Return what an update request makes of the stored policy."""
    nulls = NULLS_ON_UPDATE | {"tags": (), "position": KEEP, "action": REFUSE}
    given = _settle_action(list_kept(wire, nulls, L7Policy.__struct_fields__), is_new=False)

    def change(policy: L7Policy) -> L7Policy:
        changed = msgspec.structs.replace(policy, **given)
        target = _TARGETS.get(changed.action)
        if target is not None and getattr(changed, target) is None:
            raise _tell_missing(changed.action)
        if changed.action in _BY_URL and changed.redirect_http_code is None:
            changed = msgspec.structs.replace(changed, redirect_http_code=DEFAULT_HTTP_CODE)
        return changed

    return change


def _settle_action(given: dict[str, Any], *, is_new: bool) -> dict[str, Any]:
    """Make the action and the redirect fields of one body agree, as rules.md section 18 has it."""
    action = given.get("action")
    wanted = {target: given.get(target) or None for target in _TARGETS.values()}
    if action in _TARGETS and not wanted[_TARGETS[action]]:
        raise _tell_missing(action)
    if action is not None and action != L7Action.REDIRECT_PREFIX:
        wanted = {target: value for target, value in wanted.items() if target == _TARGETS.get(action)}
    if wanted.get("redirect_pool_id") and (wanted.get("redirect_url") or wanted.get("redirect_prefix")):
        raise _invalid("Cannot specify redirect_pool_id and redirect_url or redirect_prefix at the same time")
    action = next((one for one, target in _TARGETS.items() if wanted.get(target)), action)
    if action is None:
        return given
    settled = {target: wanted.get(target) if target == _TARGETS.get(action) else None for target in _TARGETS.values()}
    code = given.get("redirect_http_code")
    if action in _BY_URL:
        code = code or DEFAULT_HTTP_CODE
    elif action == L7Action.REDIRECT_TO_POOL or not is_new:
        code = None
    return given | settled | {"action": action, "redirect_http_code": code}


def _tell_missing(action: L7Action) -> Refused:
    target = _TARGETS[action]
    what = "redirect_pool_id or redirect_pool" if target == "redirect_pool_id" else target
    return _invalid(f"{what} must not be None")


def _invalid(why: str) -> Refused:
    return Refused(Refusal.INVALID, f"Invalid L7 Policy arguments: {why}")


# Operations


OPERATIONS = Operations(collection=COLLECTION, delete=delete_l7policy, word="L7 policy")


async def accept_create(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(L7PolicyCreate, "l7policy_", "l7policy")
    listener = await find(call, Listener, wire.listener_id, "l7policy:post")
    policy = build_l7policy(wire, listener, created_at=call.room.clock.now())
    decide = create_l7policy(policy, build_rules(wire, policy), call.terms())
    tree = await call.edit(listener.load_balancer_id, decide, f"L7 policy {policy.id} created.")
    return answer_json({"l7policy": show_l7policy(view_of_l7policy(tree, policy.id))}, 201)


async def accept_update(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(L7PolicyUpdate, "l7policy_", "l7policy")
    if all(getattr(wire, name) is UNSET for name in wire.__struct_fields__):
        raise _invalid("Invalid update options")
    policy = await OPERATIONS.find(call, "put")
    decide = update_l7policy(policy.id, change_l7policy(wire), call.terms())
    tree = await call.edit(policy.load_balancer_id, decide, f"L7 policy {policy.id} updated.")
    return answer_json({"l7policy": show_l7policy(view_of_l7policy(tree, policy.id))})


ROUTES = make_routes(
    COLLECTION,
    L7PolicyShown,
    listed=OPERATIONS.accept_list,
    shown=OPERATIONS.accept_show,
    created=(accept_create, L7PolicyCreate),
    updated=(accept_update, L7PolicyUpdate),
    deleted=OPERATIONS.accept_delete,
)
