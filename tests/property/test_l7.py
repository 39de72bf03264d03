"""The real HAProxy and the pure function choose the same for any rules and any request."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from statera.model.document import Document
from statera.model.enums import (
    Algorithm,
    L7CompareType,
    L7RuleType,
    ListenerProtocol,
    PoolProtocol,
)
from statera.model.l7 import Explanation, Request, explain
from statera.model.tree import L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool, Tree, Vip
from statera.render.change import RuntimeChange, decide_change
from statera.render.haproxy import render_haproxy
from statera.render.paths import SANDBOX_PATHS
from tests.golden.cases import ENGINE, decide_streams
from tests.golden.haproxy import run_haproxy
from tests.property.policies import cookie_texts, header_texts, hosts, other_values, paths, policies, rules
from tests.property.test_change import run_all
from tests.property.trees import NOW, ids

ADDRESS = f"127.{os.getpid() >> 16 & 127 | 128}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
"""Loopback of this process alone: parallel runs use the same ports on others."""
FIRST_PORT, FIRST_POOL_PORT = 8000, 9000
LISTENERS, POOLS, REQUESTS = 6, 3, 6
WITHIN_S = 10.0
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
"""No shrinking: it takes minutes, and what is said of one request is small."""


@st.composite
def listeners(draw: st.DrawFn, number: int) -> tuple[Listener, list[L7Policy], list[L7Rule]]:
    common: dict[str, Any] = {"project_id": "project", "created_at": NOW, "load_balancer_id": "balancer"}
    listener = Listener(
        **common,
        id=f"listener{number}",
        protocol=ListenerProtocol.HTTP,
        protocol_port=FIRST_PORT + number,
        default_pool_id=draw(st.sampled_from([*range(POOLS), None]).map(lambda n: None if n is None else ids(2, n))),
    )
    pool_ids = [ids(2, number) for number in range(POOLS)]
    made = []
    for position in range(1, draw(st.integers(1, 4)) + 1):
        location = st.just(f"http://a.example/{listener.id}/{position}?x=%41%20&y=$z")
        made.append(draw(policies(listener, position, pool_ids, location)))
    return listener, made, [draw(rules(policy, n)) for policy in made for n in range(draw(st.integers(0, 3)))]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A load balancer with several HTTP listeners and a few pools of one member each, the last pool perhaps down."""
    common: dict[str, Any] = {"project_id": "project", "created_at": NOW}
    parts = [draw(listeners(number)) for number in range(LISTENERS)]
    last_is_up = draw(st.booleans())
    pools = [
        Pool(
            **common,
            id=ids(2, number),
            load_balancer_id="balancer",
            protocol=PoolProtocol.HTTP,
            lb_algorithm=Algorithm.ROUND_ROBIN,
            admin_state_up=number < POOLS - 1 or last_is_up,
        )
        for number in range(POOLS)
    ]
    below = {"load_balancer_id": "balancer", "address": ADDRESS, **common}
    return Tree(
        load_balancer=LoadBalancer(
            **common, id="balancer", vip=Vip(address=ADDRESS, subnet_id=None, network_id="n", port_id="p")
        ),
        listeners=tuple(listener for listener, _, _ in parts),
        l7policies=tuple(policy for _, made, _ in parts for policy in made),
        l7rules=tuple(rule for _, _, made in parts for rule in made),
        pools=tuple(pools),
        members=tuple(
            Member(**below, id=ids(3, number), pool_id=pool.id, protocol_port=FIRST_POOL_PORT + number)
            for number, pool in enumerate(pools)
        ),
    )


@st.composite
def requests(draw: st.DrawFn, tree: Tree) -> Request:
    """Any request, or one that is near to what some rule wants."""
    plain = draw(plain_requests())
    plain_rules = [rule for rule in tree.l7rules if rule.compare_type != L7CompareType.REGEX]
    if not plain_rules or draw(st.integers(0, 2)) == 0:
        return plain
    rule = draw(st.sampled_from(plain_rules))
    text = draw(st.sampled_from(["", "a", "b,"])) + rule.value.strip('"') + draw(st.sampled_from(["", "", "b", ",a"]))
    number = int(rule.id.removeprefix("listener").partition("-")[0])
    place = _place(rule, text, plain) if text.isascii() and text.isprintable() else {}
    return msgspec.structs.replace(plain, port=FIRST_PORT + number, **place)


def _place(rule: L7Rule, text: str, plain: Request) -> dict[str, Any]:
    bare = text.replace(" ", "").replace("#", "")
    match rule.type:
        case L7RuleType.HOST_NAME:
            return {"host": bare}
        case L7RuleType.PATH:
            return {"path": f"/{bare.lstrip('/')}"}
        case L7RuleType.FILE_TYPE:
            return {"path": f"/x.{bare}"}
        case L7RuleType.HEADER:
            return {"headers": ((rule.key, text), *plain.headers)}
        case L7RuleType.COOKIE:
            return {"headers": (*plain.headers, ("Cookie", f"x=y; {rule.key}={text}"))}
        case _:
            return {}


@st.composite
def plain_requests(draw: st.DrawFn) -> Request:
    named = st.tuples(st.sampled_from(["a", "X-A", "x-a", "b"]), header_texts)
    headers = draw(st.lists(named | st.tuples(st.sampled_from(["Cookie", "cookie"]), cookie_texts), max_size=3))
    port = FIRST_PORT + draw(st.integers(0, LISTENERS - 1))
    return Request(port=port, path=draw(paths), host=draw(st.none() | hosts), headers=tuple(headers))


@pytest.fixture(scope="module")
def stubs() -> Iterator[None]:
    """A server for each pool, which answers its number."""
    with contextlib.ExitStack() as stack:
        stops = []
        for number in range(POOLS):
            line = stack.enter_context(socket.create_server((ADDRESS, FIRST_POOL_PORT + number), backlog=64))
            thread = threading.Thread(target=_serve, args=(line, number), daemon=True)
            thread.start()
            stops.append((line, thread))
        yield
        for line, thread in stops:
            line.shutdown(socket.SHUT_RDWR)
            thread.join(WITHIN_S)


def _serve(line: socket.socket, number: int) -> None:
    answer = f"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{number}".encode()
    while True:
        try:
            connection, _ = line.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(WITHIN_S)
            with contextlib.suppress(OSError):
                read_until(connection, b"\r\n\r\n")
                connection.sendall(answer)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        more = connection.recv(65536)
        if not more:
            break
        data += more
    return data


def ask(request: Request) -> dict[str, Any]:
    """Return what came back, in the words of an explanation."""
    lines = [f"{request.method} {request.path} HTTP/1.{0 if request.host is None else 1}"]
    lines += [] if request.host is None else [f"Host: {request.host}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    with socket.create_connection((ADDRESS, request.port), timeout=WITHIN_S) as connection:
        connection.sendall("".join(f"{line}\r\n" for line in [*lines, "Connection: close", ""]).encode())
        data = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = data.decode().partition("\r\n\r\n")
    status = int(head.split(" ")[1])
    headers = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    found = {name.lower(): value for name, value in headers.items()}
    if status == 200:
        return {"status_code": None, "location": None, "pool_id": ids(2, int(body))}
    return {"status_code": status, "location": found.get("location"), "pool_id": None}


def said(told: Explanation) -> dict[str, Any]:
    return {name: getattr(told, name) for name in ("status_code", "location", "pool_id")}


@pytest.mark.usefixtures("stubs")
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES)
@given(tree=trees(), data=st.data())
def test_haproxy_chooses_what_the_function_says(tree: Tree, data: st.DataObject) -> None:
    asked = data.draw(st.lists(requests(tree), min_size=REQUESTS, max_size=REQUESTS * 4))
    edited = msgspec.structs.replace(tree, l7rules=tuple(data.draw(other_values(rule)) for rule in tree.l7rules))
    asked_then = [*asked, *data.draw(st.lists(requests(edited), min_size=REQUESTS, max_size=REQUESTS * 2))]
    live, wanted = render(tree), render(edited)
    with run_haproxy(live) as haproxy:
        check_choices(tree, asked)
        # Values that a file of values cannot hold stand in the configuration itself.
        change = decide_change(live, wanted, ENGINE)
        event(type(change).__name__)
        if isinstance(change, RuntimeChange):
            run_all(haproxy, change.commands)
            check_choices(edited, asked_then)


def render(tree: Tree) -> Document:
    return render_haproxy(decide_streams(tree), ENGINE, SANDBOX_PATHS)


def check_choices(tree: Tree, asked: list[Request]) -> None:
    for request in asked:
        told = explain(tree, request)
        assert ask(request) == said(told), msgspec.json.format(msgspec.json.encode((request, told))).decode()
