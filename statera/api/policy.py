"""Who may do what: the v2 roles (rules.md section 2, `contract/policies.csv`).

A target names an operation; each has a class of callers. Roles are those of the token: which role implies which is the
identity service's business. `policy_file.py` decides by a file of the operator instead.
"""

from enum import Enum
from typing import Protocol, assert_never

import msgspec

from statera.base.errors import Refusal, Refused


class Policy(Protocol):
    """Decides who may do what."""

    def allows(self, caller: "Caller", target: str, project_id: str | None) -> bool:
        """Say whether the caller may do `target` on an object of `project_id`."""
        ...


class RolePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Decides by the table `POLICY`. `legacy`: the old roles `load-balancer_*` count, too."""

    legacy: bool = False

    def allows(self, caller: "Caller", target: str, project_id: str | None) -> bool:
        """Say whether the caller may do `target` on an object of `project_id`."""
        return _admits(POLICY[target], caller, project_id, caller.roles if self.legacy else caller.roles - LEGACY_ROLES)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who sent the request. `is_admin`: may do anything, whatever the roles."""

    name: str
    project_id: str | None
    roles: frozenset[str] = frozenset()
    is_admin: bool = False
    user_id: str | None = None
    is_system: bool = False
    """The token is for the whole system and no project."""
    policy: Policy = RolePolicy()


class Who(Enum):
    """Classes of callers that a target admits, each as the rule of it in `contract/policies.csv`."""

    READ = "rule:load-balancer:read"
    READ_OR_SERVICE = "rule:load-balancer:read or rule:service"
    READ_GLOBAL = "rule:load-balancer:read-global"
    WRITE = "rule:load-balancer:write"
    READ_QUOTA = "rule:load-balancer:read-quota"
    READ_QUOTA_GLOBAL = "rule:load-balancer:read-quota-global"
    WRITE_QUOTA = "rule:load-balancer:write-quota"
    ADMIN = "rule:load-balancer:admin"


_READERS = frozenset({"reader", "member", "load-balancer_observer", "load-balancer_member"})
_WRITERS = frozenset({"member", "load-balancer_member"})
_ADMINS = frozenset({"admin", "load-balancer_admin"})
GLOBAL_OBSERVER = "load-balancer_global_observer"
QUOTA_ADMIN = "load-balancer_quota_admin"
LEGACY_ROLES = frozenset(
    {
        "load-balancer_observer", "load-balancer_member", "load-balancer_admin", GLOBAL_OBSERVER, QUOTA_ADMIN,
    }
)  # fmt: skip
"""Roles that count only where they are let in."""


def _targets(resource: str, *, is_listed_by_project: bool = True) -> dict[str, Who]:
    found = {f"{resource}:{verb}": Who.WRITE for verb in ("post", "put", "delete")}
    found |= {f"{resource}:{verb}": Who.READ for verb in ("get_all", "get_one")}
    return found | ({f"{resource}:get_all-global": Who.READ_GLOBAL} if is_listed_by_project else {})


def _offers(resource: str, *, read: Who) -> dict[str, Who]:
    found = {f"{resource}:{verb}": Who.ADMIN for verb in ("post", "put", "delete")}
    return found | {f"{resource}:{verb}": read for verb in ("get_all", "get_one")}


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
    **_targets("l7rule", is_listed_by_project=False),
    **{
        f"amphora:{verb}": Who.ADMIN
        for verb in ("get_all", "get_one", "get_stats", "put_config", "put_failover", "delete")
    },
    "quota:get_all": Who.READ_QUOTA,
    "quota:get_all-global": Who.READ_QUOTA_GLOBAL,
    "quota:get_one": Who.READ_QUOTA,
    "quota:get_defaults": Who.READ_QUOTA,
    "quota:put": Who.WRITE_QUOTA,
    "quota:delete": Who.WRITE_QUOTA,
    "provider:get_all": Who.READ,
    "provider-flavor:get_all": Who.ADMIN,
    "provider-availability-zone:get_all": Who.ADMIN,
    **_offers("flavor", read=Who.READ),
    **_offers("flavor-profile", read=Who.ADMIN),
    **_offers("availability-zone", read=Who.READ),
    **_offers("availability-zone-profile", read=Who.ADMIN),
}
"""Target without its prefix `os_load-balancer_api:` to who passes. A new operation adds its line here."""


def is_allowed(caller: Caller, target: str, project_id: str | None) -> bool:
    """Say whether the caller may do `target` on an object of `project_id`."""
    return caller.policy.allows(caller, target, project_id)


def is_cloud_admin(caller: Caller) -> bool:
    """Say whether the caller administers the cloud: for what no target of the API names."""
    return caller.is_admin or "admin" in caller.roles


def _admits(who: Who, caller: Caller, project_id: str | None, roles: frozenset[str]) -> bool:
    if caller.is_admin or not roles.isdisjoint(_ADMINS):
        return True
    is_own = project_id is not None and project_id == caller.project_id
    may_read = GLOBAL_OBSERVER in roles or (is_own and not roles.isdisjoint(_READERS))
    match who:
        case Who.READ:
            return may_read
        case Who.READ_OR_SERVICE:
            return may_read or "service" in roles
        case Who.WRITE:
            return is_own and not roles.isdisjoint(_WRITERS)
        case Who.READ_GLOBAL:
            return GLOBAL_OBSERVER in roles
        case Who.READ_QUOTA:
            return may_read or QUOTA_ADMIN in roles
        case Who.READ_QUOTA_GLOBAL:
            return not roles.isdisjoint({GLOBAL_OBSERVER, QUOTA_ADMIN})
        case Who.WRITE_QUOTA:
            return QUOTA_ADMIN in roles
        case Who.ADMIN:
            return False
        case _:
            assert_never(who)


def require(caller: Caller, target: str, project_id: str | None) -> None:
    """Refuse (FORBIDDEN) who may not."""
    if not is_allowed(caller, target, project_id):
        raise Refused(Refusal.FORBIDDEN, "Policy does not allow this request to be performed.")
