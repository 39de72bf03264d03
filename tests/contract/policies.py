"""The rules of `contract/policies.csv`, decided as the policy language does."""

from statera.api.policy import Caller
from tests.contract.tables import read_table

ROLES = (
    "reader", "member", "admin", "service", "load-balancer_observer", "load-balancer_member", "load-balancer_admin",
    "load-balancer_global_observer", "load-balancer_quota_admin",
)  # fmt: skip
_ROWS = {row["policy_target"]: row for row in read_table("policies")}
TARGETS = {target.partition(":")[2]: row["default_rule"] for target, row in _ROWS.items() if row["kind"] == "api"}
"""Each target without its prefix, and who passes."""


def evaluate(rule: str, caller: Caller, project_id: str | None, *, legacy: bool = False) -> bool:
    """Say whether a rule admits the caller to an object of the project. `legacy`: so do the rules of old, as well."""
    # `and` binds tighter than `or`.
    return any(
        all(_check(check.strip(), caller, project_id, legacy) for check in clause.split(" and "))
        for clause in rule.split(" or ")
    )


def _check(check: str, caller: Caller, project_id: str | None, legacy: bool) -> bool:
    kind, _, value = check.partition(":")
    if kind == "rule":
        row = _ROWS[value]
        rules = [row["default_rule"], *([row["legacy_rule_or_ed_when_new_defaults_not_enforced"]] if legacy else [])]
        return any(evaluate(rule, caller, project_id, legacy=legacy) for rule in rules if rule)
    if kind == "role":
        return value in caller.roles
    if kind == "is_admin":
        return caller.is_admin
    assert check == "project_id:%(project_id)s"
    return project_id is not None and caller.project_id == project_id
