"""Strategies for any tree that the API would accept (rules.md sections 13 to 17), and for one after a few edits."""

import datetime as dt
import ipaddress
import string
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from statera.model.enums import (
    L4_TRANSPORT,
    MONITOR_TYPES_OF_POOL,
    MONITOR_TYPES_WITH_HTTP_FIELDS,
    POOL_PROTOCOLS_OF_LISTENER,
    Algorithm,
    HttpMethod,
    ListenerProtocol,
    MonitorType,
    PersistenceType,
    PoolProtocol,
    Topology,
)
from statera.model.tree import (
    HealthMonitor,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    Member,
    Pool,
    SessionPersistence,
    Tree,
    Vip,
)
from tests.property.policies import other_values, policies, rules, wild_regexes

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
BALANCER = "00000000-0000-4000-8000-000000000000"
HOME_NETWORK = "network-home"
SUBNETS = {"subnet-four": ("network-home", "10.0.0.0/16"), "subnet-six": ("network-home", "fd00::/64")}
FAR_SUBNETS = {"subnet-far": ("network-far", "10.9.0.0/16")}
HEADERS = ("X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Forwarded-IP", "X-Client-IP", "X-Real-IP")
TIMEOUT_MOST_MS = 2_073_600_000
INTEGER_MOST = 2**31 - 1

COOKIE_SIGNS = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
PATH_SIGNS = string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@%/?#"

texts = st.text(max_size=40)
"""Names, descriptions, tags: anything at all."""
v4 = st.ip_addresses(v=4).map(str)
v6 = st.ip_addresses(v=6).map(str)
addresses = v4 | v6 | v6.map(str.upper) | v6.map(lambda text: ipaddress.ip_address(text).exploded)
ports = st.integers(1, 65535)
cookie_names = st.text(COOKIE_SIGNS, min_size=1, max_size=30) | st.just("a" * 255)
url_paths = st.text(PATH_SIGNS, max_size=40).map(lambda text: f"/{text}") | st.just("/" + "%41" * 682)
codes = st.from_regex(r"[0-9]{3}", fullmatch=True)
code_lists = st.lists(codes, min_size=1, max_size=12).map(", ".join).filter(lambda text: len(text) <= 64)
code_ranges = st.tuples(codes, codes).map("-".join)
labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
expected_bodies = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=255)
domain_names = st.lists(labels, min_size=1, max_size=5).map(".".join)
timeouts_ms = st.sampled_from([0, 1, 50_000, TIMEOUT_MOST_MS]) | st.integers(0, TIMEOUT_MOST_MS)
seconds = st.integers(0, 30) | st.integers(0, INTEGER_MOST)


def ids(kind: int, number: int) -> str:
    return f"{kind:08x}-0000-4000-8000-{number:012x}"


@st.composite
def cidrs(draw: st.DrawFn) -> str:
    address = ipaddress.ip_address(draw(v4 | v6))
    length = draw(st.integers(0, address.max_prefixlen))
    return str(ipaddress.ip_network((int(address) if address.version == 4 else str(address), length), strict=False))


@st.composite
def trees(draw: st.DrawFn, *, deleting: bool = True) -> Tree:
    """Any valid tree; with `deleting` some of it is on its way out."""
    gone = st.booleans() if deleting else st.just(False)
    protocols = draw(st.lists(st.sampled_from(PoolProtocol), max_size=4))
    pools = tuple(draw(pool_trees(number, protocol, gone)) for number, protocol in enumerate(protocols))
    served = draw(listener_lists([pool for pool, _, _ in pools], gone))
    routed = draw(l7_lists(served, [pool for pool, _, _ in pools], gone))
    return Tree(
        load_balancer=draw(load_balancers()),
        listeners=served,
        l7policies=tuple(policy for policy, _ in routed),
        l7rules=tuple(rule for _, ruled in routed for rule in ruled),
        pools=tuple(pool for pool, _, _ in pools),
        members=tuple(member for _, members, _ in pools for member in members),
        health_monitors=tuple(monitor for _, _, monitor in pools if monitor is not None),
    )


@st.composite
def busy_trees(draw: st.DrawFn) -> Tree:
    """A valid tree whose listeners all serve pools with members."""
    protocols = draw(st.lists(st.sampled_from([PoolProtocol.HTTP, PoolProtocol.PROXY]), min_size=1, max_size=2))
    parts = [draw(pool_trees(number, protocol, st.just(False))) for number, protocol in enumerate(protocols)]
    pools = [msgspec.structs.replace(pool, admin_state_up=True) for pool, _, _ in parts]
    fresh = [draw(members(pool.id, 800 + number)) for number, pool in enumerate(pools)]
    serving = [
        msgspec.structs.replace(
            draw(listeners(number, pools, st.just(False))),
            admin_state_up=True,
            protocol=protocol,
            protocol_port=1000 + number,
            default_pool_id=draw(st.sampled_from(pools)).id,
        )
        for number, protocol in enumerate((ListenerProtocol.HTTP, ListenerProtocol.TCP)[: draw(st.integers(1, 2))])
    ]
    return Tree(
        load_balancer=msgspec.structs.replace(draw(load_balancers()), admin_state_up=True),
        listeners=tuple(serving),
        pools=tuple(pools),
        members=_without_twins([*fresh, *(member for _, members, _ in parts for member in members)]),
        health_monitors=tuple(monitor for _, _, monitor in parts if monitor is not None),
    )


@st.composite
def load_balancers(draw: st.DrawFn) -> LoadBalancer:
    vips = [Vip(address=draw(v4), subnet_id="subnet-four", network_id=HOME_NETWORK, port_id="port")]
    vips += [Vip(address=draw(v6), subnet_id="subnet-six", network_id=HOME_NETWORK, port_id="port")]
    chosen = draw(st.permutations(vips))[: draw(st.integers(1, 2))]
    return LoadBalancer(
        **_common(draw, BALANCER),
        description=draw(texts),
        vip=chosen[0],
        additional_vips=tuple(chosen[1:]),
        topology=draw(st.sampled_from(Topology)),
        generation=draw(st.integers(1, 1000)),
    )


@st.composite
def listener_lists(draw: st.DrawFn, pools: list[Pool], gone: st.SearchStrategy[bool]) -> tuple[Listener, ...]:
    def place(listener: Listener) -> tuple[str, int]:
        return L4_TRANSPORT[listener.protocol], listener.protocol_port

    count = draw(st.integers(0, 4))
    made = [draw(listeners(number, pools, gone)) for number in range(count)]
    return tuple({place(listener): listener for listener in made}.values())


@st.composite
def listeners(draw: st.DrawFn, number: int, pools: list[Pool], gone: st.SearchStrategy[bool]) -> Listener:
    usual = st.sampled_from([ListenerProtocol.HTTP, ListenerProtocol.TCP, ListenerProtocol.HTTPS])
    protocol = draw(usual | st.sampled_from(ListenerProtocol))
    fitting = [pool.id for pool in pools if pool.protocol in POOL_PROTOCOLS_OF_LISTENER[protocol]]
    headers = st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(["true", "True", "false"]) | texts)
    cidr_lists: st.SearchStrategy[tuple[str, ...] | None] = st.none() | st.lists(cidrs(), max_size=5).map(tuple)
    limits: st.SearchStrategy[int | None] = st.none() | st.integers(-1, 5) | st.integers(-1, INTEGER_MOST)
    return Listener(
        **_common(draw, ids(1, number)),
        load_balancer_id=BALANCER,
        description=draw(texts),
        protocol=protocol,
        protocol_port=draw(ports),
        default_pool_id=draw(st.none() | st.sampled_from(fitting)) if fitting else None,
        connection_limit=draw(limits),
        timeout_client_data=draw(timeouts_ms),
        timeout_member_connect=draw(timeouts_ms),
        timeout_member_data=draw(timeouts_ms),
        timeout_tcp_inspect=draw(timeouts_ms),
        allowed_cidrs=draw(cidr_lists),
        insert_headers=draw(headers) if protocol == ListenerProtocol.HTTP else {},
        deleting=draw(gone),
    )


@st.composite
def l7_lists(
    draw: st.DrawFn, served: Sequence[Listener], pools: Sequence[Pool], gone: st.SearchStrategy[bool]
) -> list[tuple[L7Policy, list[L7Rule]]]:
    """Policies of some listeners that see requests; a pool that is being deleted is none's any more."""
    made = []
    for listener in served:
        if listener.protocol != ListenerProtocol.HTTP:
            continue
        fitting = [
            pool.id
            for pool in pools
            if pool.protocol in POOL_PROTOCOLS_OF_LISTENER[listener.protocol] and not pool.deleting
        ]
        for position in range(1, draw(st.integers(0, 3)) + 1):
            policy = draw(policies(listener, position, fitting))
            ruled = [draw(rules(policy, number, wild_regexes)) for number in range(draw(st.integers(0, 3)))]
            made.append((msgspec.structs.replace(policy, deleting=draw(gone)), ruled))
    return made


PoolTree = tuple[Pool, tuple[Member, ...], HealthMonitor | None]


@st.composite
def pool_trees(draw: st.DrawFn, number: int, protocol: PoolProtocol, gone: st.SearchStrategy[bool]) -> PoolTree:
    pool = Pool(
        **_common(draw, ids(2, number)),
        load_balancer_id=BALANCER,
        protocol=protocol,
        lb_algorithm=draw(st.sampled_from(Algorithm)),
        session_persistence=draw(st.none() | persistences(protocol)),
        deleting=draw(gone),
    )
    count = draw(st.integers(0, 5))
    made = [draw(members(pool.id, number * 100 + index, gone)) for index in range(count)]
    monitor = draw(st.none() | monitors(pool.id, number, protocol, gone))
    return pool, _without_twins(made), monitor


def _without_twins(made: list[Member]) -> tuple[Member, ...]:
    """Keep one of those that have the same place in the same pool: the API refuses the second (rules.md section 16)."""
    places = {(one.pool_id, ipaddress.ip_address(one.address), one.protocol_port): one for one in made}
    return tuple(places.values())


@st.composite
def persistences(draw: st.DrawFn, protocol: PoolProtocol) -> SessionPersistence:
    if protocol in (PoolProtocol.UDP, PoolProtocol.SCTP):
        return SessionPersistence(type=PersistenceType.SOURCE_IP, persistence_timeout=draw(st.none() | ports))
    kind = draw(st.sampled_from(PersistenceType))
    return SessionPersistence(type=kind, cookie_name=draw(cookie_names) if kind == PersistenceType.APP_COOKIE else None)


@st.composite
def members(draw: st.DrawFn, pool_id: str, number: int, gone: st.SearchStrategy[bool] | None = None) -> Member:
    return Member(
        **_common(draw, ids(3, number)),
        load_balancer_id=BALANCER,
        pool_id=pool_id,
        address=draw(addresses),
        protocol_port=draw(ports),
        weight=draw(st.none() | st.integers(0, 256)),
        backup=draw(st.booleans()),
        subnet_id=draw(st.none() | st.sampled_from([*SUBNETS, *FAR_SUBNETS, "subnet-elsewhere"])),
        monitor_address=draw(st.none() | addresses),
        monitor_port=draw(st.none() | ports),
        deleting=draw(gone) if gone is not None else False,
    )


@st.composite
def monitors(
    draw: st.DrawFn, pool_id: str, number: int, protocol: PoolProtocol, gone: st.SearchStrategy[bool]
) -> HealthMonitor:
    kind = draw(st.sampled_from(MONITOR_TYPES_OF_POOL[protocol]))
    of_http: dict[str, Any] = {}
    if kind in MONITOR_TYPES_WITH_HTTP_FIELDS:
        of_http = {
            "http_method": draw(st.none() | st.sampled_from(HttpMethod)),
            "url_path": draw(st.none() | url_paths),
            "expected_codes": draw(st.none() | code_lists | code_ranges),
            "expected_body": draw(st.none() | expected_bodies),
        }
    version = draw(st.sampled_from([None, 1.0, 1.1]))
    return HealthMonitor(
        **_common(draw, ids(4, number)),
        **of_http,
        load_balancer_id=BALANCER,
        pool_id=pool_id,
        type=MonitorType(kind),
        delay=draw(seconds),
        timeout=draw(seconds),
        max_retries=draw(st.integers(1, 10)),
        max_retries_down=draw(st.integers(1, 10)),
        http_version=version,
        domain_name=draw(st.none() | domain_names) if version == 1.1 else None,
        deleting=draw(gone),
    )


@st.composite
def edited(draw: st.DrawFn, tree: Tree) -> Tree:
    """Return the tree after a few edits, mostly of members: what one pass finds to do."""
    kept = [member for member in tree.members if draw(st.integers(0, 4))]
    changed = [draw(_edited_member(member)) if draw(st.booleans()) else member for member in kept]
    used = sorted({listener.default_pool_id for listener in tree.listeners if listener.default_pool_id})
    more = range(draw(st.integers(0, 2)) if used else 0)
    added = [draw(members(draw(st.sampled_from(used)), 900 + index)) for index in more]
    served = tree.listeners
    if served and draw(st.integers(0, 9)) == 0:
        served = (msgspec.structs.replace(served[0], timeout_client_data=draw(timeouts_ms)), *served[1:])
    if served and served[0].allowed_cidrs and draw(st.integers(0, 2)) == 0:
        cidr_lists = st.lists(cidrs() | st.sampled_from(served[0].allowed_cidrs), min_size=1, max_size=5)
        served = (msgspec.structs.replace(served[0], allowed_cidrs=tuple(draw(cidr_lists))), *served[1:])
    watching = tuple(
        msgspec.structs.replace(one, admin_state_up=one.admin_state_up != (draw(st.integers(0, 3)) == 0))
        for one in tree.health_monitors
    )
    compared = tuple(draw(other_values(rule, wild_regexes)) if draw(st.booleans()) else rule for rule in tree.l7rules)
    there = _without_twins([*changed, *added])
    return msgspec.structs.replace(
        tree,
        listeners=served,
        members=tuple(draw(st.permutations(there))),
        health_monitors=watching,
        l7rules=compared,
    )


@st.composite
def _edited_member(draw: st.DrawFn, member: Member) -> Member:
    changes: dict[str, st.SearchStrategy[Any]] = {
        "weight": st.integers(0, 256),
        "admin_state_up": st.booleans(),
        "address": addresses,
        "protocol_port": ports,
        "monitor_address": st.none() | addresses,
        "monitor_port": st.none() | ports,
        "name": texts,
    }
    chosen = draw(st.lists(st.sampled_from(sorted(changes)), min_size=1, max_size=2, unique=True))
    if draw(st.integers(0, 19)) == 0:
        return msgspec.structs.replace(member, backup=not member.backup)
    return msgspec.structs.replace(member, **{name: draw(changes[name]) for name in chosen})


def _common(draw: st.DrawFn, object_id: str) -> dict[str, Any]:
    return {
        "id": object_id,
        "project_id": "project",
        "name": draw(texts),
        "admin_state_up": draw(st.integers(0, 5)) > 0,
        "created_at": NOW,
    }
