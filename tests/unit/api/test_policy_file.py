"""Policies by a file: without a word in it they are ours, and a wrong one stops the start."""

import itertools
from pathlib import Path

import pytest

from statera.api.policy import LEGACY_ROLES, POLICY, Caller, RolePolicy
from statera.api.policy_file import PREFIX, FilePolicy, list_defaults, load_policy
from statera.base.settings import BadSettings, IdentitySettings
from tests.contract.tables import read_table

ROLES = ("reader", "member", "admin", "service", *sorted(LEGACY_ROLES), "stranger")


def make_policy(folder: Path, text: str, *, legacy: bool = False) -> FilePolicy:
    file = folder / "policy with space.yaml"
    file.write_text(text, encoding="utf-8")
    policy = load_policy(IdentitySettings(policy_file=str(file), legacy_roles=legacy))
    assert isinstance(policy, FilePolicy)
    return policy


def list_callers() -> list[Caller]:
    held = [roles for count in range(3) for roles in itertools.combinations(ROLES, count)]
    return [
        Caller(name="x", project_id=own, roles=frozenset(roles), is_admin=is_admin)
        for roles, own, is_admin in itertools.product(held, ("mine", "other", None), (False, True))
    ]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("target", {who: target for target, who in sorted(POLICY.items())}.values())
def test_an_empty_file_changes_nothing(tmp_path: Path, target: str, legacy: bool) -> None:
    by_file, by_roles = make_policy(tmp_path, "", legacy=legacy), RolePolicy(legacy=legacy)
    for caller in list_callers():
        for project_id in ("mine", None):
            told = by_file.allows(caller, target, project_id)
            assert told == by_roles.allows(caller, target, project_id), (caller, project_id)


@pytest.mark.parametrize("legacy", [False, True])
def test_our_rules_are_those_of_the_contract(legacy: bool) -> None:
    rules = list_defaults(legacy=legacy)
    for row in read_table("policies"):
        if row["kind"] == "named rule":
            old = row["legacy_rule_or_ed_when_new_defaults_not_enforced"]
            wanted = set(row["default_rule"].split(" or ")) | (set(old.split(" or ")) - {""} if legacy else set())
            assert set(rules[row["policy_target"]].split(" or ")) == wanted
        elif row["policy_target"] in rules:
            assert rules[row["policy_target"]] == row["default_rule"]


def test_a_file_overrides_operations_and_roles(tmp_path: Path) -> None:
    text = f'''
"{PREFIX}loadbalancer:post": "role:creator and project_id:%(project_id)s"
"{PREFIX}pool:get_one": "@"
"{PREFIX}pool:delete": "!"
"{PREFIX}listener:put": [["role:editor"], ["user_id:u1"]]
"{PREFIX}member:get_all": "system_scope:all"
"load-balancer:global_observer": "role:auditor"
"our-own": "role:x"
"{PREFIX}provider:get_all": "rule:our-own"
'''
    policy = make_policy(tmp_path, text)

    def passes(target: str, *roles: str, project_id: str | None = "mine", **more: object) -> bool:
        caller = Caller(name="x", project_id="mine", roles=frozenset(roles), **more)  # type: ignore[arg-type]
        return policy.allows(caller, target, project_id)

    assert passes("loadbalancer:post", "creator")
    assert not passes("loadbalancer:post", "creator", project_id="other")
    assert not passes("loadbalancer:post", "member", "admin")
    assert passes("pool:get_one", project_id="other")
    assert not passes("pool:delete", "admin", is_admin=True)
    assert passes("listener:put", "editor")
    assert passes("listener:put", user_id="u1")
    assert not passes("listener:put", "member")
    assert passes("member:get_all", is_system=True)
    assert passes("loadbalancer:get_all-global", "auditor", project_id=None)
    assert passes("loadbalancer:get_one", "auditor", project_id="other")
    assert passes("provider:get_all", "x")
    assert passes("loadbalancer:put", "member")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "neither YAML nor JSON"),
        ("- a", "not a table of rules"),
        ("5: role:admin", "not a table of rules"),
        (f"'{PREFIX}loadbalancer:psot': role:admin", "no operation os_load-balancer_api:loadbalancer:psot"),
        (f"'{PREFIX}loadbalancer:post': 5", "loadbalancer:post is neither text nor a list"),
        (f"'{PREFIX}loadbalancer:post': role:admin or or", "loadbalancer:post is not understood"),
        (f"'{PREFIX}loadbalancer:post': http://x/%(name)s", "asks a server"),
        (f"'{PREFIX}loadbalancer:post': rule:nowhere", "names one that does not exist"),
        ("a: rule:b\nb: rule:a", "or itself"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(BadSettings, match=r"identity\.policy_file.*policy with space\.yaml") as error:
        make_policy(tmp_path, text)
    assert told in error.value.sentence


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"policy_file is wrong, .*nowhere: it cannot be read"):
        load_policy(IdentitySettings(policy_file=str(tmp_path / "nowhere")))
