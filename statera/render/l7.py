"""L7 policies as HAProxy's rules. What they mean is said by `model/l7.py`; here stands how HAProxy is told.

Each rule is an ACL named after it; lines of one name are OR-ed. A condition then is a line of names, `!` before those
of inverted rules. The lines keep the order of the spec, in which all `http-request` stand before all `use_backend`: so
HAProxy runs them.
"""

from collections.abc import Callable, Iterator

from statera.model.enums import L7Action, L7CompareType, L7RuleType
from statera.model.l7 import wanted_text, wanted_verify_result
from statera.model.spec import L7PolicySpec, L7RuleSpec, ListenerSpec
from statera.render import tokens
from statera.render.tokens import Token

_METHODS = {
    L7CompareType.EQUAL_TO: "str",
    L7CompareType.STARTS_WITH: "beg",
    L7CompareType.ENDS_WITH: "end",
    L7CompareType.CONTAINS: "sub",
    L7CompareType.REGEX: "reg",
}


def list_l7_lines(listener: ListenerSpec, name_backend: Callable[[str], Token]) -> Iterator[str]:
    """Return the lines of a frontend; `name_backend` names the backend in which a pool serves the listener."""
    for policy in listener.l7policies:
        for rule in policy.rules:
            for test in _list_tests(rule):
                yield f"    acl {tokens.name(rule.id)} {test}"
    for policy in listener.l7policies:
        yield f"    {_action(policy, name_backend)} if {_condition(policy)}"


def _condition(policy: L7PolicySpec) -> str:
    return " ".join(f"{'!' if rule.invert else ''}{tokens.name(rule.id)}" for rule in policy.rules)


def _action(policy: L7PolicySpec, name_backend: Callable[[str], Token]) -> str:
    match policy.action:
        case L7Action.REJECT:
            return "http-request deny deny_status 403"
        case L7Action.REDIRECT_TO_URL:
            url = tokens.format_literal(policy.target, "redirect_url")
            return f"http-request redirect location {url} code {tokens.number(policy.http_code)}"
        case L7Action.REDIRECT_PREFIX:
            prefix = tokens.format_literal(policy.target, "redirect_prefix")
            return f"http-request redirect prefix {prefix} code {tokens.number(policy.http_code)}"
        case L7Action.REDIRECT_TO_POOL:
            return f"use_backend {name_backend(policy.target)}"


def _list_tests(rule: L7RuleSpec) -> Iterator[str]:
    match rule.type:
        case L7RuleType.HOST_NAME:
            yield _compare(rule, "req.hdr(host)", ignore_case=True)
            yield _compare(rule, "req.hdr(host),host_only", ignore_case=True)
        case L7RuleType.PATH:
            yield _compare(rule, "path")
        case L7RuleType.FILE_TYPE:
            yield _compare(rule, "path,field(-1,.)")
        case L7RuleType.HEADER:
            yield _compare(rule, _fetch("req.hdr", rule))
            yield _compare(rule, _fetch("req.fhdr", rule))
        case L7RuleType.COOKIE:
            yield _compare(rule, _fetch("req.cook", rule))
        case L7RuleType.SSL_CONN_HAS_CERT:
            yield "ssl_c_used"
        case L7RuleType.SSL_VERIFY_RESULT:
            yield f"ssl_c_verify {tokens.number(wanted_verify_result(rule.value))}"
        case L7RuleType.SSL_DN_FIELD:
            yield _compare(rule, _fetch("ssl_c_s_dn", rule))


def _fetch(name: str, rule: L7RuleSpec) -> Token:
    return tokens.quoted(f"{name}({tokens.argument(rule.key or '', 'key')})", "key")


def _compare(rule: L7RuleSpec, fetch: str, *, ignore_case: bool = False) -> str:
    method, text = _METHODS[rule.compare_type], wanted_text(rule.type, rule.compare_type, rule.value)
    if not text:
        # An empty word would end the list of patterns, and the ACL would have none.
        method, text = "reg", b"^$" if rule.compare_type == L7CompareType.EQUAL_TO else b"^"
    flags = " -i" if ignore_case else ""
    # Behind `--` nothing is a flag any more.
    return f"{fetch} -m {method}{flags} -- {tokens.pattern(text, 'value')}"
