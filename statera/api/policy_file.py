"""Who may do what by a file of oslo.policy: its rules stand in the place of ours of the same name.

Entry: `load_policy`. The file is read once, at the start; whatever is wrong with it stops the start. Names of rules and
targets are those of `contract/policies.csv`.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from statera.api.policy import POLICY, Caller, Policy, RolePolicy
from statera.base.settings import BadSettings, IdentitySettings

REMEMBERED = 4096
"""Decisions kept: one takes a quarter of a millisecond, and the rules do not change."""
PREFIX = "os_load-balancer_api:"
RULES: dict[str, tuple[str, str]] = {
    "context_is_admin": ("role:admin", "role:load-balancer_admin"),
    "load-balancer:owner": ("project_id:%(project_id)s", ""),
    "load-balancer:admin": ("is_admin:True or role:admin", "role:load-balancer_admin"),
    "load-balancer:global_observer": ("role:admin", "role:load-balancer_global_observer"),
    "load-balancer:quota-admin": ("role:admin", "role:load-balancer_quota_admin"),
    "load-balancer:member_and_owner": (
        "rule:project-member", "role:load-balancer_member and rule:load-balancer:owner",
    ),
    "load-balancer:observer_and_owner": (
        "rule:project-reader", "role:load-balancer_observer and rule:load-balancer:owner",
    ),
    "load-balancer:read": (
        "rule:load-balancer:observer_and_owner or rule:load-balancer:global_observer or "
        "rule:load-balancer:member_and_owner or rule:load-balancer:admin", "",
    ),
    "load-balancer:read-global": ("rule:load-balancer:global_observer or rule:load-balancer:admin", ""),
    "load-balancer:read-quota": (
        "rule:load-balancer:observer_and_owner or rule:load-balancer:global_observer or "
        "rule:load-balancer:member_and_owner or rule:load-balancer:quota-admin or rule:load-balancer:admin", "",
    ),
    "load-balancer:read-quota-global": (
        "rule:load-balancer:global_observer or rule:load-balancer:quota-admin or rule:load-balancer:admin", "",
    ),
    "load-balancer:write": ("rule:load-balancer:member_and_owner or rule:load-balancer:admin", ""),
    "load-balancer:write-quota": ("rule:load-balancer:quota-admin or rule:load-balancer:admin", ""),
    "project-member": ("role:member and project_id:%(project_id)s", ""),
    "project-reader": ("role:reader and project_id:%(project_id)s", ""),
    "service": ("role:service", ""),
}  # fmt: skip
"""Named rules: what they are, and which old roles pass them, too, where those are let in."""


def load_policy(settings: IdentitySettings) -> Policy:
    """Return the policy of the settings. Raises `BadSettings` naming a file that cannot be used."""
    if not settings.policy_file:
        return RolePolicy(legacy=settings.legacy_roles)
    try:
        import oslo_policy  # noqa: F401  # only for the message: the import below would tell of a part of it
    except ImportError as error:
        sentence = "Option identity.policy_file needs oslo.policy: install `statera[keystone]`."
        raise BadSettings(sentence) from error
    return FilePolicy(Path(settings.policy_file), legacy=settings.legacy_roles)


def list_defaults(*, legacy: bool) -> dict[str, str]:
    """Return our own rules by their full names, in the language of oslo.policy."""
    named = {name: f"{rule} or {old}" if legacy and old else rule for name, (rule, old) in RULES.items()}
    return named | {f"{PREFIX}{target}": who.value for target, who in POLICY.items()}


class FilePolicy:
    """Decides by our rules with those of a file in their place."""

    def __init__(self, file: Path, *, legacy: bool) -> None:
        from oslo_config.cfg import ConfigOpts
        from oslo_policy.policy import Enforcer, Rules

        given = _read_file(file)
        defaults = list_defaults(legacy=legacy)
        for name, rule in given.items():
            _check_rule(file, name, rule, defaults)
        rules = Rules.from_dict(defaults | given)
        # The parser takes what it does not understand for a rule that nobody passes.
        unread = [name for name, rule in given.items() if str(rules[name]) == "!" and rule != "!"]
        if unread:
            raise _bad(file, f"rule {unread[0]} is not understood: {given[unread[0]]}")
        self._enforcer = Enforcer(ConfigOpts(), use_conf=False)
        self._enforcer.set_rules(rules, use_conf=False)
        _check_references(file, self._enforcer)
        self._decide = lru_cache(REMEMBERED)(self._enforce)

    def allows(self, caller: Caller, target: str, project_id: str | None) -> bool:
        """Say whether the caller may do `target` on an object of `project_id`."""
        return self._decide(
            caller.roles, caller.is_admin, caller.project_id, caller.user_id, caller.is_system, target, project_id
        )

    def _enforce(
        self,
        roles: frozenset[str],
        is_admin: bool,
        own_project_id: str | None,
        user_id: str | None,
        is_system: bool,
        target: str,
        project_id: str | None,
    ) -> bool:
        creds: dict[str, Any] = {"roles": sorted(roles), "is_admin": is_admin}
        # What is left out equals nothing: a caller without a project owns no object without one.
        creds |= {"project_id": own_project_id} if own_project_id else {}
        creds |= {"user_id": user_id} if user_id else {}
        creds |= {"system_scope": "all"} if is_system else {}
        wanted = {"project_id": project_id} if project_id else {}
        return bool(self._enforcer.enforce(f"{PREFIX}{target}", wanted, creds))


def _read_file(file: Path) -> dict[str, str]:
    from oslo_policy.policy import parse_file_contents

    try:
        given: Any = parse_file_contents(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _bad(file, f"it cannot be read: {error.strerror}") from error
    except (ValueError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(file, f"it is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise _bad(file, "it is not a table of rules by name")
    return dict(given)


def _check_rule(file: Path, name: str, rule: Any, defaults: Mapping[str, str]) -> None:
    if name.startswith(PREFIX) and name not in defaults:
        raise _bad(file, f"there is no operation {name}")
    if not isinstance(rule, (str, list)):
        raise _bad(file, f"rule {name} is neither text nor a list")
    if any(scheme in str(rule) for scheme in ("http:", "https:")):
        raise _bad(file, f"rule {name} asks a server, which would hold up every request")


def _check_references(file: Path, enforcer: Any) -> None:
    from oslo_policy.policy import InvalidDefinitionError

    try:
        enforcer.check_rules(raise_on_violation=True)
    except InvalidDefinitionError as error:
        sentence = f"a rule of it names one that does not exist, or itself: {' '.join(str(error).split())}"
        raise _bad(file, sentence) from error


def _bad(file: Path, why: str) -> BadSettings:
    return BadSettings(f"Option identity.policy_file is wrong, {file}: {why}.")
