"""What all answers have in common: the attributes of every resource, times, reasons, and views made from a tree."""

import datetime as dt
from typing import Any, TypeVar

import msgspec

from statera.base.reason import Reason
from statera.model.tree import Resource, Tree
from statera.model.views import (
    HealthMonitorView,
    L7PolicyView,
    L7RuleView,
    ListenerView,
    LoadBalancerView,
    MemberView,
    PoolView,
)

R = TypeVar("R", bound=Resource)


class Id(msgspec.Struct, frozen=True):
    """A reference to an object that is shown elsewhere."""

    id: str


class ReasonShown(msgspec.Struct, frozen=True, kw_only=True):
    """Why an object is as it is: `slug` for machines, `sentence` for people. Beyond the v2 API."""

    slug: str
    sentence: str
    since: str | None
    generation: int | None


class ShownObject(msgspec.Struct, frozen=True, kw_only=True):
    """The attributes of every resource. `generation` and `status_reason` are beyond the v2 API."""

    id: str
    provisioning_status: str
    operating_status: str
    admin_state_up: bool
    project_id: str
    tenant_id: str
    created_at: str
    updated_at: str | None
    tags: tuple[str, ...]
    generation: int
    status_reason: ReasonShown | None


class Shown(ShownObject, frozen=True, kw_only=True):
    """The attributes of every resource that has a name."""

    name: str


def list_common(resource: Resource) -> dict[str, Any]:
    """Return the values of `Shown`."""
    return {
        "id": resource.id,
        "name": resource.name,
        "provisioning_status": resource.provisioning_status,
        "operating_status": resource.operating_status,
        "admin_state_up": resource.admin_state_up,
        "project_id": resource.project_id,
        "tenant_id": resource.project_id,
        "created_at": format_time(resource.created_at),
        "updated_at": None if resource.updated_at is None else format_time(resource.updated_at),
        "tags": resource.tags,
        "generation": resource.changed_at_generation,
        "status_reason": None if resource.reason is None else show_reason(resource.reason),
    }


def format_time(at: dt.datetime) -> str:
    """Return UTC in whole seconds, without saying that it is UTC: so the v2 API does."""
    return at.strftime("%Y-%m-%dT%H:%M:%S") if at.tzinfo is dt.UTC else at.astimezone(dt.UTC).isoformat()[:19]


def show_reason(reason: Reason) -> ReasonShown:
    return ReasonShown(
        slug=reason.slug,
        sentence=reason.sentence,
        since=None if reason.since is None else format_time(reason.since),
        generation=reason.generation,
    )


def list_ids(ids: tuple[str, ...]) -> tuple[Id, ...]:
    return tuple([Id(one) for one in ids])


def view_of_load_balancer(tree: Tree) -> LoadBalancerView:
    return LoadBalancerView(
        resource=tree.load_balancer,
        listener_ids=tuple(listener.id for listener in tree.listeners),
        pool_ids=tuple(pool.id for pool in tree.pools),
    )


def view_of_listener(tree: Tree, listener_id: str) -> ListenerView:
    return ListenerView(
        resource=_pick(tree.listeners, listener_id),
        l7policy_ids=tuple(policy.id for policy in tree.list_l7policies(listener_id)),
    )


def view_of_pool(tree: Tree, pool_id: str) -> PoolView:
    monitor = tree.find_health_monitor(pool_id)
    return PoolView(
        resource=_pick(tree.pools, pool_id),
        listener_ids=tuple(listener.id for listener in tree.list_listeners_using(pool_id)),
        member_ids=tuple(member.id for member in tree.list_members(pool_id)),
        health_monitor_id=None if monitor is None else monitor.id,
    )


def view_of_member(tree: Tree, member_id: str) -> MemberView:
    return MemberView(resource=_pick(tree.members, member_id))


def view_of_health_monitor(tree: Tree, monitor_id: str) -> HealthMonitorView:
    return HealthMonitorView(resource=_pick(tree.health_monitors, monitor_id))


def view_of_l7policy(tree: Tree, l7policy_id: str) -> L7PolicyView:
    return L7PolicyView(
        resource=_pick(tree.l7policies, l7policy_id),
        rule_ids=tuple(rule.id for rule in tree.list_l7rules(l7policy_id)),
    )


def view_of_l7rule(tree: Tree, l7rule_id: str) -> L7RuleView:
    return L7RuleView(resource=_pick(tree.l7rules, l7rule_id))


def _pick(rows: tuple[R, ...], object_id: str) -> R:
    # After an accepted edit of this very object: it is there.
    return next(row for row in rows if row.id == object_id)
