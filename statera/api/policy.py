"""Who may do what: the v2 roles (rules.md section 2, `contract/policies.csv`).

A target names an operation; each has a class of callers. Roles are those of the token: which role implies which is the
identity service's business.
"""

from enum import Enum
from typing import assert_never

import msgspec

from statera.base.errors import Refusal, Refused


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent the request. `is_admin`: may do anything, whatever the roles."""

    name: str
    project_id: str | None
    roles: frozenset[str] = frozenset()
    is_admin: bool = False


class Who(Enum):
    """Classes of callers that a target admits."""

    READ = "reader or member of the owning project, or admin"
    READ_OR_SERVICE = "as READ, or a service"
    READ_GLOBAL = "admin"
    WRITE = "member of the owning project, or admin"
    ADMIN = "admin, of any project"


def _targets(resource: str, *, is_listed_by_project: bool = True) -> dict[str, Who]:
    found = {f"{resource}:{verb}": Who.WRITE for verb in ("post", "put", "delete")}
    found |= {f"{resource}:{verb}": Who.READ for verb in ("get_all", "get_one")}
    return found | ({f"{resource}:get_all-global": Who.READ_GLOBAL} if is_listed_by_project else {})


POLICY: dict[str, Who] = {
    **_targets("loadbalancer"),
    "loadbalancer:get_stats": Who.READ,
    "loadbalancer:get_status": Who.READ,
    "loadbalancer:post:vip_sg_ids": Who.WRITE,
    "loadbalancer:put:vip_sg_ids": Who.WRITE,
    "loadbalancer:put_failover": Who.ADMIN,
    **_targets("listener"),
    "listener:get_stats": Who.READ,
    **_targets("pool"),
    **_targets("member", is_listed_by_project=False),
    "member:get_all": Who.READ_OR_SERVICE,
    **_targets("healthmonitor"),
    **_targets("l7policy"),
    "provider:get_all": Who.READ,
    "flavor:get_all": Who.READ,
    "availability-zone:get_all": Who.READ,
}
"""Target without its prefix `os_load-balancer_api:` to who passes. A new operation adds its line here."""


def is_allowed(caller: Caller, target: str, project_id: str | None) -> bool:
    """Say whether the caller may do `target` on an object of `project_id`."""
    if caller.is_admin or "admin" in caller.roles:
        return True
    who = POLICY[target]
    is_own = project_id is not None and project_id == caller.project_id
    match who:
        case Who.READ:
            return is_own and not caller.roles.isdisjoint({"reader", "member"})
        case Who.READ_OR_SERVICE:
            return "service" in caller.roles or (is_own and not caller.roles.isdisjoint({"reader", "member"}))
        case Who.WRITE:
            return is_own and "member" in caller.roles
        case Who.READ_GLOBAL | Who.ADMIN:
            return False
        case _:
            assert_never(who)


def require(caller: Caller, target: str, project_id: str | None) -> None:
    """Refuse (FORBIDDEN) who may not."""
    if not is_allowed(caller, target, project_id):
        raise Refused(Refusal.FORBIDDEN, "Policy does not allow this request to be performed.")
