"""L7 policies as HAProxy's rules. What they mean is said by `model/l7.py`; here stands how HAProxy is told.

Each rule is an ACL named after it; lines of one name are OR-ed. A condition then is a line of names, `!` before those
of inverted rules. The lines keep the order of the spec, in which all `http-request` stand before all `use_backend`: so
HAProxy runs them.

What a rule compares with stands in a file of its own, so that it changes at run time. Rules cannot share one: HAProxy
reads what is in a file in one way for all lines that name it, and an edit of one rule must not touch another.
"""

from collections.abc import Callable, Iterator

from statera.model.document import ListPart
from statera.model.enums import L7Action, L7CompareType, L7RuleType
from statera.model.l7 import wanted_text, wanted_verify_result
from statera.model.spec import L7PolicySpec, L7RuleSpec, ListenerSpec
from statera.render import tokens
from statera.render.paths import HaproxyPaths
from statera.render.tokens import Token

_METHODS = {
    L7CompareType.EQUAL_TO: "str",
    L7CompareType.STARTS_WITH: "beg",
    L7CompareType.ENDS_WITH: "end",
    L7CompareType.CONTAINS: "sub",
    L7CompareType.REGEX: "reg",
}


def list_l7_lines(listener: ListenerSpec, name_backend: Callable[[str], Token], paths: HaproxyPaths) -> Iterator[str]:
    """Return the lines of a frontend; `name_backend` names the backend in which a pool serves the listener."""
    for policy in listener.l7policies:
        for rule in policy.rules:
            for test in _list_tests(rule, paths):
                yield f"    acl {tokens.name(rule.id)} {test}"
    for policy in listener.l7policies:
        yield f"    {_action(policy, name_backend)} if {_condition(policy)}"


def list_l7_values(listener: ListenerSpec) -> Iterator[ListPart]:
    """Return the files of values that those lines name."""
    for policy in listener.l7policies:
        for rule in policy.rules:
            value = _listed_value(rule)
            if value is not None:
                yield ListPart(name=_values_file(rule), entries=(str(value),))


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


def _list_tests(rule: L7RuleSpec, paths: HaproxyPaths) -> Iterator[str]:
    match rule.type:
        case L7RuleType.SSL_CONN_HAS_CERT:
            yield "ssl_c_used"
        case L7RuleType.SSL_VERIFY_RESULT:
            yield f"ssl_c_verify -f {paths.list_file(_values_file(rule))}"
        case _:
            for fetch in _list_fetches(rule):
                yield f"{fetch} {_comparison(rule, paths)}"


def _list_fetches(rule: L7RuleSpec) -> Iterator[str]:
    match rule.type:
        case L7RuleType.HOST_NAME:
            yield "req.hdr(host)"
            yield "req.hdr(host),host_only"
        case L7RuleType.PATH:
            yield "path"
        case L7RuleType.FILE_TYPE:
            yield "path,field(-1,.)"
        case L7RuleType.HEADER:
            yield _fetch("req.hdr", rule)
            yield _fetch("req.fhdr", rule)
        case L7RuleType.COOKIE:
            yield _fetch("req.cook", rule)
        case L7RuleType.SSL_DN_FIELD:
            yield _fetch("ssl_c_s_dn", rule)


def _fetch(name: str, rule: L7RuleSpec) -> Token:
    return tokens.quoted(f"{name}({tokens.argument(rule.key or '', 'key')})", "key")


def _comparison(rule: L7RuleSpec, paths: HaproxyPaths) -> str:
    method = _METHODS[rule.compare_type]
    flags = " -i" if rule.type == L7RuleType.HOST_NAME else ""
    if _listed_value(rule) is not None:
        return f"-m {method}{flags} -f {paths.list_file(_values_file(rule))}"
    text = wanted_text(rule.type, rule.compare_type, rule.value)
    if not text:
        # An empty word would end the list of patterns, and the ACL would have none.
        method, text = "reg", b"^$" if rule.compare_type == L7CompareType.EQUAL_TO else b"^"
    # Behind `--` nothing is a flag any more.
    return f"-m {method}{flags} -- {tokens.pattern(text, 'value')}"


def _listed_value(rule: L7RuleSpec) -> Token | None:
    """Return what stands in a rule's file of values; None for a rule that has none."""
    match rule.type:
        case L7RuleType.SSL_CONN_HAS_CERT:
            return None
        case L7RuleType.SSL_VERIFY_RESULT:
            return tokens.number(wanted_verify_result(rule.value))
        case _:
            return tokens.listed(wanted_text(rule.type, rule.compare_type, rule.value))


def _values_file(rule: L7RuleSpec) -> str:
    return f"l7-{tokens.name(rule.id)}"
