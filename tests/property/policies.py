"""Strategies for L7 policies and rules that the API would accept (rules.md section 18)."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from statera.base.errors import Refused
from statera.model.enums import COMPARES_OF_L7RULE, REDIRECT_HTTP_CODES, L7Action, L7CompareType, L7RuleType
from statera.model.l7rules import check_l7rule
from statera.model.tree import L7Policy, L7Rule, Listener

SIGNS = "abA./-_"
words = st.text(SIGNS, min_size=1, max_size=4)
hosts = st.sampled_from(["a.example", "B.example:8080", "a.b", "[::1]:80", "::1", "a:", "a,b", "a.b:80,c"]) | words
paths = st.text(SIGNS + "?=:,%1", max_size=8).map(lambda text: f"/{text}")
header_texts = st.text('ab,;"= \t\\$', max_size=8)
cookie_texts = st.text('ab=;, "$', max_size=10) | st.lists(
    st.tuples(st.sampled_from("ab"), st.text("ab", max_size=2)).map("=".join), max_size=3
).map("; ".join)
keys = st.sampled_from(["a", "b", "X-A", "$a", "A"])
REGEX_ATOMS = (
    "a", "b", ".", r"\.", "/", "[ab]", "[^a]", "(a|b)", "a*", "b+", "(?:ab)?", "^", "$", r"\b", r"\w", "a{1,2}",
    "(?i:A)", "(?=a)", "(?!b)", r"\d", r"\s", '"', ",", "(?P<n>a)(?P=n)", "", r"\x61", "é", "-f", " ",
)  # fmt: skip
regexes = st.lists(st.sampled_from(REGEX_ATOMS), min_size=1, max_size=4).map("".join)
wild_regexes = regexes | st.text("ab01(){}[]|?*+.^$\\-,:=!<>#&dwsbxPn '\"~é\t", min_size=1, max_size=20)
urls = st.text("ab/?&=%41$#'()*;:@!~", max_size=20).map(lambda text: f"https://a.example/{text.replace('%', '%25')}")


@st.composite
def other_values(draw: st.DrawFn, rule: L7Rule, expressions: st.SearchStrategy[str] = regexes) -> L7Rule:
    """The rule with another value that the API would accept."""
    values = _values(rule.type, rule.compare_type, expressions)
    accepted = values.filter(lambda value: is_accepted(rule.type, rule.compare_type, rule.key, value))
    return msgspec.structs.replace(rule, value=draw(accepted))


def _values(
    kind: L7RuleType, compare_type: L7CompareType, expressions: st.SearchStrategy[str]
) -> st.SearchStrategy[str]:
    if compare_type == L7CompareType.REGEX:
        return expressions
    if kind == L7RuleType.SSL_CONN_HAS_CERT:
        return st.just("true")
    if kind == L7RuleType.SSL_VERIFY_RESULT:
        return st.integers(0, 10**12).map(str)
    return words | header_texts | hosts | paths | words.map(lambda text: f'"{text} "')


@st.composite
def rules(draw: st.DrawFn, policy: L7Policy, number: int, expressions: st.SearchStrategy[str] = regexes) -> L7Rule:
    """Any rule of the policy; its regular expressions are drawn from `expressions`."""
    kind = draw(st.sampled_from(L7RuleType))
    compare_type = draw(st.sampled_from(COMPARES_OF_L7RULE[kind]))
    values = _values(kind, compare_type, expressions)
    keyed = kind in (L7RuleType.HEADER, L7RuleType.COOKIE)
    key = draw(keys) if keyed else "CN" if kind == L7RuleType.SSL_DN_FIELD else None
    return L7Rule(
        id=f"{policy.id}-rule{number}",
        project_id=policy.project_id,
        created_at=policy.created_at,
        load_balancer_id=policy.load_balancer_id,
        l7policy_id=policy.id,
        type=kind,
        compare_type=compare_type,
        key=key,
        value=draw(values.filter(lambda value: is_accepted(kind, compare_type, key, value))),
        invert=draw(st.integers(0, 3)) == 0,
        admin_state_up=draw(st.integers(0, 9)) > 0,
    )


def is_accepted(kind: L7RuleType, compare_type: L7CompareType, key: str | None, value: str) -> bool:
    common: dict[str, Any] = {"id": "", "project_id": "", "load_balancer_id": "", "l7policy_id": ""}
    at = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
    try:
        check_l7rule(L7Rule(**common, created_at=at, type=kind, compare_type=compare_type, key=key, value=value))
    except Refused:
        return False
    return True


@st.composite
def policies(
    draw: st.DrawFn, listener: Listener, position: int, pool_ids: Sequence[str], location: st.SearchStrategy[str] = urls
) -> L7Policy:
    """Any policy of the listener; one that chooses a pool chooses one of these."""
    action = draw(st.sampled_from([one for one in L7Action if pool_ids or one != L7Action.REDIRECT_TO_POOL]))
    url = draw(location)
    return L7Policy(
        id=f"{listener.id}-policy{position}",
        project_id=listener.project_id,
        created_at=listener.created_at,
        load_balancer_id=listener.load_balancer_id,
        listener_id=listener.id,
        action=action,
        position=position,
        redirect_pool_id=draw(st.sampled_from(pool_ids)) if action == L7Action.REDIRECT_TO_POOL else None,
        redirect_url=url if action == L7Action.REDIRECT_TO_URL else None,
        redirect_prefix=url.partition("?")[0] if action == L7Action.REDIRECT_PREFIX else None,
        redirect_http_code=draw(st.sampled_from(REDIRECT_HTTP_CODES)),
        admin_state_up=draw(st.integers(0, 9)) > 0,
    )
