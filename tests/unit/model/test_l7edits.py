"""Edits of L7 policies: whatever is made, moved and deleted, positions are 1 to n and only the named one is pending."""

import datetime as dt
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from statera.model.drafts import Decide, Terms, join_edits
from statera.model.enums import L7Action, L7CompareType, L7RuleType, ListenerProtocol, ProvisioningStatus
from statera.model.l7edits import create_l7policy, delete_l7policy, update_l7policy
from statera.model.tree import L7Policy, L7Rule, Listener, LoadBalancer, Tree, Vip

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
TERMS = Terms(now=NOW)
COMMON: dict[str, Any] = {"project_id": "project", "created_at": NOW, "provisioning_status": ProvisioningStatus.ACTIVE}
VIP = Vip(address="192.0.2.1", subnet_id=None, network_id="n", port_id="p")
LISTENER = Listener(**COMMON, id="l", load_balancer_id="b", protocol=ListenerProtocol.HTTP, protocol_port=80)
TREE = Tree(load_balancer=LoadBalancer(**COMMON, id="b", vip=VIP), listeners=(LISTENER,))


def a_policy(name: str, position: int = 2**31 - 1) -> L7Policy:
    below = {"load_balancer_id": "b", "listener_id": "l", "action": L7Action.REJECT}
    return L7Policy(**COMMON, **below, id=name, position=position)  # type: ignore[arg-type]


def move(position: int) -> Any:
    return lambda policy: msgspec.structs.replace(policy, position=position)


places = st.integers(1, 6) | st.just(2**31 - 1)
steps = st.lists(st.tuples(st.sampled_from(["create", "move", "delete"]), st.integers(0, 9), places), max_size=12)


@given(steps)
def test_positions_have_no_gaps(steps: list[tuple[str, int, int]]) -> None:
    tree, order = TREE, list[str]()
    for number, (verb, choice, position) in enumerate(steps):
        name = f"p{number}" if verb == "create" or not order else order[choice % len(order)]
        decide: Decide = create_l7policy(a_policy(name, position), (), TERMS)
        if name in order:
            order.remove(name)
            decide = delete_l7policy(name, TERMS) if verb == "delete" else update_l7policy(name, move(position), TERMS)
        if verb != "delete" or name == f"p{number}":
            order.insert(position - 1, name)
        before = {policy.id: policy for policy in tree.l7policies}
        tree = decide(tree)
        wanted = [policy for policy in tree.list_l7policies("l") if not policy.deleting]
        assert [(policy.id, policy.position) for policy in wanted] == [(n, i) for i, n in enumerate(order, start=1)]
        for policy in tree.l7policies:
            if policy.id != name:
                moved = msgspec.structs.replace(before[policy.id], position=policy.position)
                assert policy == moved


def test_joined_edits_are_one() -> None:
    common = COMMON | {"load_balancer_id": "b", "l7policy_id": "p1"}
    rule = L7Rule(**common, id="r", type=L7RuleType.PATH, compare_type=L7CompareType.EQUAL_TO, value="/a")
    decide = join_edits([create_l7policy(a_policy(name), [rule][: name == "p1"], TERMS) for name in ("p1", "p2")])
    tree = decide(TREE)
    assert tree.load_balancer.generation == TREE.load_balancer.generation + 1
    rows = (tree.load_balancer, *tree.listeners, *tree.l7policies, *tree.l7rules)
    assert {row.changed_at_generation for row in rows} == {tree.load_balancer.generation}
    assert [policy.position for policy in tree.l7policies] == [1, 2]
    assert decide(TREE) == join_edits([decide])(TREE)
    assert join_edits([])(TREE) == TREE
