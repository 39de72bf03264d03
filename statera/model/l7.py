"""L7 policies as one pure function: what a request meets on a load balancer, and why it meets nothing else.

Entry: `explain`. The same meaning is rendered for HAProxy (`render/l7.py`); a test draws rules and requests and
compares the choice of the real HAProxy with this one.

The order of evaluation: policies that reject, then those that redirect to a URL or prefix, then those that choose a
pool, each by position; the first whose rules all match decides (rules.md section 18). Else the default pool does.
"""

import ipaddress
import re
from collections.abc import Iterator

import msgspec

from statera.model.engines import DATAGRAM_PROTOCOLS
from statera.model.enums import L7_LISTENER_PROTOCOLS, L7Action, L7CompareType, L7RuleType, ListenerProtocol
from statera.model.enums import OperatingStatus as Operating
from statera.model.regex import compile_regex
from statera.model.tree import L7Policy, L7Rule, Listener, Member, Pool, Tree

ORDER = {
    L7Action.REJECT: 0,
    L7Action.REDIRECT_TO_URL: 1,
    L7Action.REDIRECT_PREFIX: 1,
    L7Action.REDIRECT_TO_POOL: 2,
}
_MOST_VERIFY_RESULT = 2**31 - 1


class ClientCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """What a client showed while the TLS connection was made."""

    verify_result: int = 0
    """OpenSSL's code, 0 for a good one."""
    subject: dict[str, str] = {}
    """Fields of the distinguished name, such as `CN`."""


METRICS_PATH = "/metrics"
"""The only one that a PROMETHEUS listener answers."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request as a client sends it. `path` may have a query; the host has a header of its own."""

    port: int
    method: str = "GET"
    path: str = "/"
    host: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    client_address: str | None = None
    """None: unknown, and taken for one that is allowed."""
    certificate: ClientCertificate | None = None


class RuleVerdict(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    type: L7RuleType
    matched: bool
    sentence: str


class PolicyVerdict(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    position: int
    action: L7Action
    matched: bool
    sentence: str
    rules: tuple[RuleVerdict, ...] = ()


class MemberVerdict(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    address: str
    protocol_port: int
    takes_requests: bool
    sentence: str


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to a request: to whom it goes, or what HAProxy answers itself."""

    sentence: str
    listener_id: str | None = None
    l7policy_id: str | None = None
    pool_id: str | None = None
    status_code: int | None = None
    """What HAProxy answers by itself; None when a member answers, or nobody does."""
    location: str | None = None
    l7policies: tuple[PolicyVerdict, ...] = ()
    """In the order of evaluation."""
    members: tuple[MemberVerdict, ...] = ()


def explain(tree: Tree, request: Request) -> Explanation:
    """Say what the request meets, once all that is wanted is live."""
    listener = _find_listener(tree, request.port)
    if listener is None:
        return Explanation(sentence=_tell_no_listener(tree, request.port))
    told = Explanation(sentence="", listener_id=listener.id)
    if not _is_allowed(listener, request.client_address):
        address = request.client_address
        return _say(told, f"The listener's allowed_cidrs do not hold {address}: the connection is closed.")
    verdicts = judge_policies(tree, listener, request)
    told = msgspec.structs.replace(told, l7policies=verdicts)
    matched = {verdict.id for verdict in verdicts if verdict.matched}
    chosen = next((policy for policy in tree.l7policies if policy.id in matched), None)
    if chosen is None:
        if listener.protocol == ListenerProtocol.PROMETHEUS:
            return _explain_scrape(request, told)
        return _explain_default(tree, listener, told)
    return _explain_policy(tree, chosen, request, msgspec.structs.replace(told, l7policy_id=chosen.id))


def order_policies(tree: Tree, listener: Listener) -> tuple[L7Policy, ...]:
    """Return a listener's policies in the order of evaluation."""
    wanted = [policy for policy in tree.list_l7policies(listener.id) if not policy.deleting]
    return tuple(sorted(wanted, key=lambda policy: ORDER[policy.action]))


def tell_idle(tree: Tree, policy: L7Policy) -> str | None:
    """Say why a policy has no effect at all, None when it has one."""
    if not policy.admin_state_up:
        return "The policy is administratively down."
    if not list_effective_rules(tree, policy):
        return "The policy has no enabled rule."
    if policy.action != L7Action.REDIRECT_TO_POOL:
        return None
    pool = tree.find_pool(policy.redirect_pool_id or "")
    if pool is None or pool.deleting:
        return "The policy's pool is gone."
    return None if pool.admin_state_up else "The policy's pool is administratively down."


def list_effective_rules(tree: Tree, policy: L7Policy) -> tuple[L7Rule, ...]:
    """Return the rules that a request must match."""
    return tuple(rule for rule in tree.list_l7rules(policy.id) if rule.admin_state_up and not rule.deleting)


def _say(told: Explanation, sentence: str) -> Explanation:
    return msgspec.structs.replace(told, sentence=sentence)


def _find_listener(tree: Tree, port: int) -> Listener | None:
    if not tree.load_balancer.admin_state_up or tree.load_balancer.deleting:
        return None
    wanted = (one for one in tree.listeners if one.admin_state_up and not one.deleting)
    there = [one for one in wanted if one.protocol_port == port]
    # One of each transport may share a port; a request that tells of nothing else is for the one over TCP.
    return min(there, key=lambda one: one.protocol in DATAGRAM_PROTOCOLS, default=None)


def _tell_no_listener(tree: Tree, port: int) -> str:
    if not tree.load_balancer.admin_state_up:
        return "The load balancer is administratively down."
    down = [one for one in tree.listeners if one.protocol_port == port and not one.deleting and not one.admin_state_up]
    return f"The listener on port {port} is administratively down." if down else f"No listener is on port {port}."


def _is_allowed(listener: Listener, address: str | None) -> bool:
    if not listener.allowed_cidrs or address is None:
        return True
    client = ipaddress.ip_address(address)
    return any(client in ipaddress.ip_network(cidr) for cidr in listener.allowed_cidrs)


# Policies and their rules


def judge_policies(tree: Tree, listener: Listener, request: Request) -> tuple[PolicyVerdict, ...]:
    """Judge all policies in the order of evaluation; those after the first that matched are told as not asked."""
    if listener.protocol not in L7_LISTENER_PROTOCOLS:
        return ()
    # Only a listener that ends TLS sees a certificate.
    if listener.protocol != ListenerProtocol.TERMINATED_HTTPS:
        request = msgspec.structs.replace(request, certificate=None)
    verdicts: list[PolicyVerdict] = []
    for policy in order_policies(tree, listener):
        winner = next((verdict for verdict in verdicts if verdict.matched), None)
        verdicts.append(_judge_policy(tree, policy, request, winner))
    return tuple(verdicts)


def _judge_policy(tree: Tree, policy: L7Policy, request: Request, winner: PolicyVerdict | None) -> PolicyVerdict:
    verdict = PolicyVerdict(
        id=policy.id, name=policy.name, position=policy.position, action=policy.action, matched=False, sentence=""
    )
    idle = tell_idle(tree, policy)
    if idle is not None:
        return msgspec.structs.replace(verdict, sentence=idle)
    rules = tuple(_judge_rule(rule, request) for rule in list_effective_rules(tree, policy))
    missed = sum(not rule.matched for rule in rules)
    sentence = f"{missed} of its {len(rules)} rules did not match." if missed else "All of its rules matched."
    if winner is not None and not missed:
        # A position alone would not explain it: see `order_policies`.
        why = ": pools are chosen after all that reject or redirect" if policy.position < winner.position else ""
        sentence = f"Its rules match, but policy {winner.name or winner.id} comes first{why}."
    return msgspec.structs.replace(verdict, matched=winner is None and not missed, sentence=sentence, rules=rules)


def _judge_rule(rule: L7Rule, request: Request) -> RuleVerdict:
    seen = list(_list_seen(rule, request))
    found = any(_compares(rule, text) for text in seen)
    shown = ", ".join(repr(text.decode(errors="replace")) for text in dict.fromkeys(seen)) or "nothing"
    verb = "does" if found else "does not"
    turned = ", and the rule is inverted" if rule.invert else ""
    key = f" {rule.key}" if rule.key else ""
    what = f"{rule.type}{key} is {shown}, which {verb} match {rule.compare_type} {rule.value!r}{turned}."
    return RuleVerdict(id=rule.id, type=rule.type, matched=found != rule.invert, sentence=what)


def wanted_text(kind: L7RuleType, compare_type: L7CompareType, value: str) -> bytes:
    """Return what a rule compares with. A value in double quotes is the text between them, which may hold spaces."""
    is_quoted = len(value) > 1 and value[0] == value[-1] == '"'
    if is_quoted and kind != L7RuleType.SSL_DN_FIELD and compare_type != L7CompareType.REGEX:
        return value[1:-1].encode()
    return value.encode()


def wanted_verify_result(value: str) -> int:
    """Return the code that a rule compares with; one that no verification gives stands for all beyond."""
    return min(int(value), _MOST_VERIFY_RESULT)


def _compares(rule: L7Rule, text: bytes) -> bool:
    """Compare one text. Host names have no case (RFC 9110 section 4.2.3)."""
    is_host = rule.type == L7RuleType.HOST_NAME
    if rule.compare_type == L7CompareType.REGEX:
        return compile_regex(rule.value, ignore_case=is_host).search(text) is not None
    wanted = wanted_text(rule.type, rule.compare_type, rule.value)
    if rule.type == L7RuleType.SSL_VERIFY_RESULT:
        wanted = str(wanted_verify_result(rule.value)).encode()
    if is_host or rule.type == L7RuleType.SSL_CONN_HAS_CERT:
        wanted, text = wanted.lower(), text.lower()
    match rule.compare_type:
        case L7CompareType.EQUAL_TO:
            return text == wanted
        case L7CompareType.STARTS_WITH:
            return text.startswith(wanted)
        case L7CompareType.ENDS_WITH:
            return text.endswith(wanted)
        case L7CompareType.CONTAINS:
            return wanted in text


def _list_seen(rule: L7Rule, request: Request) -> Iterator[bytes]:
    """Return the texts of the request that a rule looks at; one that compares is enough."""
    match rule.type:
        case L7RuleType.HOST_NAME:
            yield from _list_hosts(request)
        case L7RuleType.PATH:
            yield _path(request)
        case L7RuleType.FILE_TYPE:
            yield _path(request).rpartition(b".")[2]
        case L7RuleType.HEADER:
            for value in _list_headers(request, rule.key or ""):
                yield value
                yield from _split_header(value)
        case L7RuleType.COOKIE:
            for value in _list_headers(request, "cookie"):
                yield from _find_cookies(value, (rule.key or "").encode())
        case _:
            yield from _list_certified(rule, request.certificate)


def _list_certified(rule: L7Rule, certificate: ClientCertificate | None) -> Iterator[bytes]:
    if certificate is None:
        return
    if rule.type == L7RuleType.SSL_CONN_HAS_CERT:
        yield b"true"
    elif rule.type == L7RuleType.SSL_VERIFY_RESULT:
        yield str(certificate.verify_result).encode()
    elif rule.key in certificate.subject:
        yield certificate.subject[rule.key].encode()


def _path(request: Request) -> bytes:
    return request.path.partition("?")[0].encode()


def _list_hosts(request: Request) -> Iterator[bytes]:
    """Return the host as sent and without its port."""
    if request.host is None:
        return
    for host in _split_header(request.host.strip(" \t").encode()):
        yield host
        yield re.sub(rb":[0-9]*\Z", b"", host)


def _list_headers(request: Request, name: str) -> Iterator[bytes]:
    """Return the values of all lines of one header; names of headers have no case."""
    headers = request.headers if request.host is None else (("host", request.host), *request.headers)
    for given, value in headers:
        if given.lower() == name.lower():
            yield value.strip(" \t").encode()


def _split_header(value: bytes) -> Iterator[bytes]:
    """Return the parts of a header between commas; a comma in double quotes does not part."""
    for part in _split(value, b","):
        yield part.strip(b" \t")


def _split(value: bytes, separators: bytes) -> Iterator[bytes]:
    start, quoted, escaped = 0, False, False
    for place in range(len(value)):
        sign = value[place : place + 1]
        if escaped:
            escaped = False
        elif quoted and sign == b"\\":
            escaped = True
        elif sign == b'"':
            quoted = not quoted
        elif not quoted and sign in separators:
            yield value[start:place]
            start = place + 1
    yield value[start:]


def _find_cookies(line: bytes, name: bytes) -> Iterator[bytes]:
    """Return the values of the cookies of one name; names of cookies have case, those that begin with `$` are none."""
    for pair in _split(line, b",;"):
        given, equals, value = pair.partition(b"=")
        if equals and given.strip(b" \t") == name and not name.startswith(b"$"):
            yield value.strip(b" \t")


# What follows from it


def _explain_policy(tree: Tree, policy: L7Policy, request: Request, told: Explanation) -> Explanation:
    name = f"Policy {policy.name or policy.id}"
    match policy.action:
        case L7Action.REJECT:
            return msgspec.structs.replace(told, sentence=f"{name} rejects the request.", status_code=403)
        case L7Action.REDIRECT_TO_POOL:
            pool = tree.find_pool(policy.redirect_pool_id or "")
            assert pool is not None
            return _explain_pool(tree, pool, f"{name} chooses pool {pool.name or pool.id}.", told)
        case _:
            location = policy.redirect_url or f"{policy.redirect_prefix}{request.path}"
            sentence = f"{name} redirects the client."
            code = policy.redirect_http_code or 302
            return msgspec.structs.replace(told, sentence=sentence, status_code=code, location=location)


def _explain_scrape(request: Request, told: Explanation) -> Explanation:
    code, sentence = 200, "The listener itself answers, with metrics."
    if request.path.partition("?")[0] != METRICS_PATH:
        code, sentence = 404, f"The listener answers {METRICS_PATH} only."
    elif request.method != "GET":
        code, sentence = 405, "The listener answers GET only."
    return msgspec.structs.replace(told, status_code=code, sentence=sentence)


def _explain_default(tree: Tree, listener: Listener, told: Explanation) -> Explanation:
    pool = tree.find_pool(listener.default_pool_id) if listener.default_pool_id else None
    is_http = listener.protocol in L7_LISTENER_PROTOCOLS
    if pool is None or pool.deleting or not pool.admin_state_up:
        why = "is administratively down" if pool is not None and not pool.deleting else "is missing"
        return msgspec.structs.replace(
            told, sentence=f"No policy matched, and the default pool {why}.", status_code=503 if is_http else None
        )
    return _explain_pool(tree, pool, f"The default pool {pool.name or pool.id} takes it.", told)


def _explain_pool(tree: Tree, pool: Pool, sentence: str, told: Explanation) -> Explanation:
    members = [member for member in tree.list_members(pool.id) if not member.deleting]
    works = {member.id for member in members if _tell_resting(member) is None}
    with_backups = not any(member.id in works and not member.backup for member in members)
    verdicts = tuple(_judge_member(member, with_backups=with_backups) for member in members)
    if not any(verdict.takes_requests for verdict in verdicts):
        sentence = f"{sentence} None of its members takes requests."
    return msgspec.structs.replace(told, sentence=sentence, pool_id=pool.id, members=verdicts)


def _judge_member(member: Member, *, with_backups: bool) -> MemberVerdict:
    why = _tell_resting(member)
    if why is None and member.backup and not with_backups:
        why = "It is a backup, and other members work."
    return MemberVerdict(
        id=member.id,
        name=member.name,
        address=member.address,
        protocol_port=member.protocol_port,
        takes_requests=why is None,
        sentence=why or "It takes requests.",
    )


def _tell_resting(member: Member) -> str | None:
    if not member.admin_state_up:
        return "It is administratively down."
    if member.weight == 0:
        return "It has weight 0: no new connections."
    if member.operating_status == Operating.ERROR:
        return member.reason.sentence if member.reason else "Its health check fails."
    return None
