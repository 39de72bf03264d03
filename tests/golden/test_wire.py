"""What a running HAProxy does with rendered text: checks ask for just what the tenant typed, cookies stick."""

import http.client
import http.server
import itertools
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import Any

import pytest

from statera.cli.ports import choose_port
from statera.model.document import Document
from statera.plan.spec import decide_amphora_spec
from statera.render.change import RuntimeChange, decide_change
from statera.render.haproxy import render_haproxy
from statera.render.paths import SANDBOX_PATHS
from tests.golden.cases import ENGINE, LIMITS, make_tree
from tests.golden.haproxy import RunningHaproxy, run_haproxy

WAIT_S = 20.0


class Web:
    """A web server on loopback that notes what it is asked and sets a cookie of its own."""

    def __init__(self, cookie: str | None = None) -> None:
        self.asked: SimpleQueue[tuple[str, str, str | None]] = SimpleQueue()
        asked = self.asked

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.put((self.command, self.path, self.headers["Host"]))
                body = str(self.server.server_port).encode()  # type: ignore[attr-defined]
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                if cookie is not None:
                    self.send_header("Set-Cookie", f"{cookie}=of-{self.server.server_port}")  # type: ignore[attr-defined]
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_HEAD = do_GET
            do_OPTIONS = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> "Web":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def render(port: int, pool: dict[str, Any]) -> Document:
    vip = {"address": "127.0.0.1", "subnet_id": "subnet", "network_id": "network", "port_id": "port"}
    listener = {"id": "web", "protocol": "HTTP", "protocol_port": port, "default_pool_id": "pool"}
    plain = {"id": "pool", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    tree = make_tree({"load_balancer": {"vip": vip}, "listeners": [listener], "pools": [plain | pool]})
    return render_haproxy(decide_amphora_spec(tree, "amphora", LIMITS), ENGINE, SANDBOX_PATHS)


def member(web: Web) -> dict[str, Any]:
    return {"id": f"member-{web.port}", "address": "127.0.0.1", "protocol_port": web.port}


@contextmanager
def running(*webs: Web, **pool: Any) -> Iterator[tuple[RunningHaproxy, int]]:
    """Run a load balancer in front of the web servers; give it and its port."""
    port = choose_port(0, socket.SOCK_STREAM)
    with run_haproxy(render(port, pool | {"members": [member(web) for web in webs]})) as haproxy:
        yield haproxy, port


def ask(port: int, cookie: str | None = None, source: str = "127.0.0.1") -> tuple[str, str | None]:
    """Return the body and the cookie of one answer."""
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S, source_address=(source, 0))
    try:
        line.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
        answer = line.getresponse()
        assert answer.status == 200
        set_cookie = answer.headers["Set-Cookie"]
        return answer.read().decode(), set_cookie.split(";")[0] if set_cookie else None
    finally:
        line.close()


@pytest.mark.parametrize(
    "url_path",
    [
        "/",
        "/a%20b",
        "/%2e%%",
        "/it's;(1)!*$HOME~@:,=+&",
        "/x?a=b&c=%41[1]#part",
        '/"quoted"\\n{1}|`^<>',
        "/" + "y" * 2000,
    ],
)
def test_a_check_asks_for_the_path_as_typed(url_path: str):
    monitor = {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1, "url_path": url_path, "http_method": "GET"}
    with Web() as web, running(web, health_monitor=monitor):
        assert web.asked.get(timeout=WAIT_S) == ("GET", url_path, None)


def test_a_check_names_the_domain():
    monitor = {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1, "http_version": 1.1, "http_method": "HEAD"}
    with Web() as web, running(web, health_monitor=monitor | {"domain_name": "www.example.org"}):
        assert web.asked.get(timeout=WAIT_S) == ("HEAD", "/", "www.example.org")


@pytest.mark.parametrize("cookie_name", ["JSESSIONID", "a!#$%&'*+.^_`|~-Z", "x" * 255])
def test_an_application_cookie_sticks(cookie_name: str):
    persistence = {"type": "APP_COOKIE", "cookie_name": cookie_name}
    with (
        Web(cookie_name) as one,
        Web(cookie_name) as two,
        running(one, two, session_persistence=persistence) as (_, port),
    ):
        body, cookie = ask(port)
        assert cookie == f"{cookie_name}=of-{body}"
        assert {ask(port, cookie)[0] for _ in range(6)} == {body}


def test_the_service_cookie_sticks_to_a_member_added_at_run_time():
    with ExitStack() as stack:
        one, two = (stack.enter_context(Web()) for _ in range(2))
        pool = {"session_persistence": {"type": "HTTP_COOKIE"}}
        haproxy, port = stack.enter_context(running(one, **pool))
        live = render(port, pool | {"members": [member(one)]})
        wanted = render(port, pool | {"members": [member(one), member(two)]})
        change = decide_change(live, wanted, ENGINE)
        assert isinstance(change, RuntimeChange)
        for command in change.commands:
            answer = haproxy.ask(command.text)
            assert answer == "" or answer.startswith(command.expects), (command.text, answer)
        answers = [ask(port) for _ in range(4)]
        by_body = dict(answers)
        assert set(by_body) == {str(one.port), str(two.port)}
        for body, cookie in by_body.items():
            assert cookie is not None
            assert cookie.startswith("SRV=")
            assert {ask(port, cookie)[0] for _ in itertools.repeat(None, 4)} == {body}


def ask_as_many(port: int) -> dict[str, str]:
    """Return which member answers each of many clients."""
    return {source: ask(port, source=source)[0] for source in (f"127.0.0.{number}" for number in range(2, 42))}


def test_clients_stay_when_another_member_goes():
    pool = {"lb_algorithm": "SOURCE_IP"}
    with ExitStack() as stack:
        webs = [stack.enter_context(Web()) for _ in range(3)]
        with running(*webs, **pool) as (haproxy, port):
            before = ask_as_many(port)
            live, wanted = (
                render(port, pool | {"members": [member(web) for web in some]}) for some in (webs, webs[1:])
            )
            change = decide_change(live, wanted, ENGINE)
            assert isinstance(change, RuntimeChange)
            for command in change.commands:
                haproxy.ask(command.text)
            at_run_time = ask_as_many(port)
        with running(*webs[1:], **pool) as (_, port):
            after_reload = ask_as_many(port)
    gone = str(webs[0].port)
    stayed = {source: body for source, body in before.items() if body != gone}
    assert stayed
    assert at_run_time == after_reload
    assert {source: after_reload[source] for source in stayed} == stayed
