"""Edits of L7 policies and rules; how edits work is told in `edits.py`.

Positions of a listener's policies stay 1 to n: an edit that moves, adds or drops one renumbers the others, whose
statuses do not change by it (rules.md section 18).
"""

from collections.abc import Sequence

import msgspec

from statera.base.errors import Refusal, Refused
from statera.model.drafts import (
    Change,
    Decide,
    Draft,
    Terms,
    find_row,
    is_busy,
    open_draft,
    refuse_immutable,
    require_wanted,
)
from statera.model.rules import check_l7_listener, check_listener_pool
from statera.model.tree import L7Policy, L7Rule, Listener, Pool, Tree

MOST_RULES = 50
"""Of one policy (rules.md section 18). All of them fit on one line of HAProxy's configuration, which has 64 words."""


def create_l7policy(policy: L7Policy, rules: Sequence[L7Rule], terms: Terms) -> Decide:
    """Add a policy with its rules, before the one that holds its position; beyond the end it becomes the last."""

    def decide(tree: Tree) -> Tree:
        listener = find_row(tree, Listener, policy.listener_id)
        _check_l7policy(tree, listener, policy)
        draft = _open_listener(tree, listener, terms)
        draft.add(policy)
        _place(draft, policy)
        if len(rules) > MOST_RULES:
            _refuse_rules(policy.id)
        for rule in rules:
            draft.add(rule)
        return draft.finish()

    return decide


def update_l7policy(policy_id: str, change: Change[L7Policy], terms: Terms) -> Decide:
    """Change a policy; another position moves it."""

    def decide(tree: Tree) -> Tree:
        policy = find_row(tree, L7Policy, policy_id)
        listener = find_row(tree, Listener, policy.listener_id)
        wanted = change(policy)
        _check_l7policy(tree, listener, wanted)
        draft = _open_listener(tree, listener, terms)
        require_wanted(policy)
        draft.change(wanted)
        if wanted.position != policy.position:
            _place(draft, wanted)
        return draft.finish()

    return decide


def delete_l7policy(policy_id: str, terms: Terms) -> Decide:
    """Want a policy gone with its rules; the later ones move up."""

    def decide(tree: Tree) -> Tree:
        policy = find_row(tree, L7Policy, policy_id)
        listener = find_row(tree, Listener, policy.listener_id)
        draft = _open_listener(tree, listener, terms, deleting_too=True)
        if policy.deleting or listener.deleting:
            return tree
        draft.delete(policy)
        _renumber(draft, _list_others(draft, policy))
        return draft.finish()

    return decide


def create_l7rule(rule: L7Rule, terms: Terms) -> Decide:
    """Add a rule to its policy. Refuses (CONFLICT) the 51st."""

    def decide(tree: Tree) -> Tree:
        policy = find_row(tree, L7Policy, rule.l7policy_id)
        present = [one for one in tree.list_l7rules(policy.id) if not one.deleting]
        if len(present) >= MOST_RULES:
            _refuse_rules(policy.id)
        draft = _open_l7policy(tree, policy, terms)
        draft.add(rule)
        return draft.finish()

    return decide


def update_l7rule(rule_id: str, change: Change[L7Rule], terms: Terms) -> Decide:
    """Change a rule."""

    def decide(tree: Tree) -> Tree:
        rule = find_row(tree, L7Rule, rule_id)
        wanted = change(rule)
        draft = _open_l7policy(tree, find_row(tree, L7Policy, rule.l7policy_id), terms)
        require_wanted(rule)
        draft.change(wanted)
        return draft.finish()

    return decide


def delete_l7rule(rule_id: str, terms: Terms) -> Decide:
    """Want a rule gone."""

    def decide(tree: Tree) -> Tree:
        rule = find_row(tree, L7Rule, rule_id)
        policy = find_row(tree, L7Policy, rule.l7policy_id)
        draft = _open_l7policy(tree, policy, terms, deleting_too=True)
        if rule.deleting or policy.deleting or find_row(tree, Listener, policy.listener_id).deleting:
            return tree
        draft.delete(rule)
        return draft.finish()

    return decide


def _check_l7policy(tree: Tree, listener: Listener, policy: L7Policy) -> None:
    check_l7_listener(listener)
    if policy.redirect_pool_id is None:
        return
    pool = find_row(tree, Pool, policy.redirect_pool_id)
    check_listener_pool(listener, pool)
    if pool.deleting:
        refuse_immutable(pool)


def _refuse_rules(policy_id: str) -> None:
    raise Refused(Refusal.CONFLICT, f"Too many rules on L7 policy {policy_id}")


def _open_listener(tree: Tree, listener: Listener, terms: Terms, *, deleting_too: bool = False) -> Draft:
    """Begin an edit below a listener, which becomes pending with it."""
    draft = open_draft(tree, terms)
    if listener.deleting and not deleting_too:
        refuse_immutable(listener)
    draft.change(listener)
    return draft


def _open_l7policy(tree: Tree, policy: L7Policy, terms: Terms, *, deleting_too: bool = False) -> Draft:
    """Begin an edit below a policy: it and its listener become pending with it."""
    listener = find_row(tree, Listener, policy.listener_id)
    draft = _open_listener(tree, listener, terms, deleting_too=deleting_too)
    if is_busy(tree, policy, terms) or (policy.deleting and not deleting_too):
        refuse_immutable(policy, "L7Policy")
    draft.change(policy)
    return draft


def _list_others(draft: Draft, policy: L7Policy) -> list[L7Policy]:
    others = [
        one
        for one in draft.list_rows(L7Policy)
        if one.listener_id == policy.listener_id and one.id != policy.id and not one.deleting
    ]
    return sorted(others, key=lambda one: one.position)


def _place(draft: Draft, policy: L7Policy) -> None:
    """Move a policy of the draft to the position that it wishes, or to the end."""
    ordered = _list_others(draft, policy)
    own = next(one for one in draft.list_rows(L7Policy) if one.id == policy.id)
    ordered.insert(policy.position - 1, own)
    _renumber(draft, ordered)


def _renumber(draft: Draft, ordered: Sequence[L7Policy]) -> None:
    for number, policy in enumerate(ordered, start=1):
        if policy.position != number:
            draft.put(msgspec.structs.replace(policy, position=number))
