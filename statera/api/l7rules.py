"""Rules of an L7 policy."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.call import Call, answer_json
from statera.api.errors import Answer
from statera.api.fields import Choice, Text
from statera.api.listing import COMMON_COLUMNS, Collection, same_columns
from statera.api.loading import find_parent_l7policy
from statera.api.operations import Operations, Parent
from statera.api.places import Place
from statera.api.routing import make_routes
from statera.api.shown import ShownObject, list_common, view_of_l7rule
from statera.api.wire import (
    NULLS_ON_CREATE,
    NULLS_ON_UPDATE,
    REFUSE,
    OptionalFlag,
    ProjectId,
    Tags,
    Wire,
    list_kept,
)
from statera.base.ids import new_id
from statera.model.edits import Change
from statera.model.enums import L7CompareType, L7RuleType
from statera.model.l7edits import create_l7rule, delete_l7rule, update_l7rule
from statera.model.l7rules import WITHOUT_KEY, check_l7rule
from statera.model.tree import L7Rule
from statera.model.views import L7RuleView

ONE_LINE = r"^[^\r\n]*$"
_REQUIRED = {"type": REFUSE, "compare_type": REFUSE, "value": REFUSE}


class L7RuleUpdate(Wire, frozen=True, kw_only=True):
    admin_state_up: OptionalFlag = UNSET
    tags: Tags = UNSET
    type: Annotated[L7RuleType | UnsetType | None, Choice(L7RuleType)] = UNSET
    compare_type: Annotated[L7CompareType | UnsetType | None, Choice(L7CompareType)] = UNSET
    key: Annotated[str | UnsetType | None, Text(255, pattern=ONE_LINE)] = UNSET
    value: Annotated[str | UnsetType | None, Text(255, pattern=ONE_LINE)] = UNSET
    invert: OptionalFlag = UNSET


class NewL7Rule(L7RuleUpdate, frozen=True, kw_only=True):
    type: Annotated[L7RuleType, Choice(L7RuleType)]
    compare_type: Annotated[L7CompareType, Choice(L7CompareType)]
    value: Annotated[str, Text(255, pattern=ONE_LINE)]


class L7RuleCreate(NewL7Rule, frozen=True, kw_only=True):
    project_id: ProjectId = UNSET
    tenant_id: ProjectId = UNSET


class L7RuleShown(ShownObject, frozen=True, kw_only=True):
    type: str
    compare_type: str
    key: str | None
    value: str
    invert: bool


_SAME = ("type", "compare_type", "key", "value", "invert")


def show_l7rule(view: L7RuleView) -> L7RuleShown:
    """Return what the API shows of a rule."""
    rule = view.resource
    common = {name: value for name, value in list_common(rule).items() if name != "name"}
    return L7RuleShown(**common, **{name: getattr(rule, name) for name in _SAME})


COLLECTION = Collection(
    singular="rule",
    plural="rules",
    kind=L7Rule,
    target="l7rule",
    # Rules have no name. The SDK filters by the policy that is in the path already.
    columns={name: column for name, column in COMMON_COLUMNS.items() if name != "name"}
    | same_columns(*_SAME, "l7policy_id"),
    show=show_l7rule,
)


def build_l7rule(wire: NewL7Rule, policy: Place, **more: Any) -> L7Rule:
    """Return the rule that a create request asks for. Raises `Refused`."""
    given = list_kept(wire, NULLS_ON_CREATE | {"invert": False}, L7Rule.__struct_fields__)
    owned = {"project_id": policy.project_id, "load_balancer_id": policy.load_balancer_id, "l7policy_id": policy.id}
    rule = L7Rule(**({"id": new_id()} | given | owned | more))
    check_l7rule(rule)
    return rule


def change_l7rule(wire: L7RuleUpdate) -> Change[L7Rule]:
    """Return what an update request makes of the stored rule; the whole is checked again."""
    given = list_kept(wire, NULLS_ON_UPDATE | _REQUIRED | {"tags": (), "invert": False}, L7Rule.__struct_fields__)

    def change(rule: L7Rule) -> L7Rule:
        changed = msgspec.structs.replace(rule, **given)
        if changed.type in WITHOUT_KEY:
            changed = msgspec.structs.replace(changed, key=None)
        check_l7rule(changed)
        return changed

    return change


# Operations


OPERATIONS = Operations(
    collection=COLLECTION,
    delete=delete_l7rule,
    word="L7 rule",
    parent=Parent(find=find_parent_l7policy, attribute="l7policy_id"),
)


async def accept_create(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(L7RuleCreate, "rule_", "rule")
    policy = await find_parent_l7policy(call, "l7rule:post")
    rule = build_l7rule(wire, policy, created_at=call.room.clock.now())
    tree = await call.edit(policy.load_balancer_id, create_l7rule(rule, call.terms()), f"L7 rule {rule.id} created.")
    return answer_json({"rule": show_l7rule(view_of_l7rule(tree, rule.id))}, 201)


async def accept_update(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(L7RuleUpdate, "l7rule_", "rule")
    rule = await OPERATIONS.find(call, "put")
    decide = update_l7rule(rule.id, change_l7rule(wire), call.terms())
    tree = await call.edit(rule.load_balancer_id, decide, f"L7 rule {rule.id} updated.")
    return answer_json({"rule": show_l7rule(view_of_l7rule(tree, rule.id))})


ROUTES = make_routes(
    COLLECTION,
    L7RuleShown,
    listed=OPERATIONS.accept_list,
    shown=OPERATIONS.accept_show,
    created=(accept_create, L7RuleCreate),
    updated=(accept_update, L7RuleUpdate),
    deleted=OPERATIONS.accept_delete,
    below="/l7policies/{l7policy_id}",
    identifier="l7rule_id",
)
