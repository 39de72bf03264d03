"""gRPC through a TERMINATED_HTTPS listener to members over TLS: real clients, real servers, HTTP/2 on both sides."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from statera.agent.host import AmphoraHost
from statera.base.secret import Secret
from statera.model.amphora import AppliedConfiguration
from statera.model.certificates import Bundle, read_authorities, read_certificate
from statera.model.enums import ListenerProtocol
from statera.model.secrets import SecretParts
from statera.model.spec import Configuration, ListenerTlsSpec, PoolTlsSpec
from tests.agent.ground import Ground, means
from tests.agent.specs import make_document, make_listener, make_pool
from tests.fixtures.certificates import make_authority

pytestmark = pytest.mark.root

ROOT = make_authority()
NAME = "grpc.test"
SERVED = ROOT.issue(NAME)
MESSAGES = 5
WITHIN_S = 20.0


def whole(payload: bytes) -> SecretParts:
    return SecretParts(payload=Secret(payload))


class _Greeter:
    """Says who it is; messages are plain bytes, so that nothing has to be generated."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()

    def handle(self) -> Any:
        handlers = {
            "Hello": grpc.unary_unary_rpc_method_handler(self._hello),
            "Count": grpc.unary_stream_rpc_method_handler(self._count),
            "Sum": grpc.stream_unary_rpc_method_handler(self._sum),
            "Talk": grpc.stream_stream_rpc_method_handler(self._talk),
            "Refuse": grpc.unary_unary_rpc_method_handler(self._refuse),
        }
        return grpc.method_handlers_generic_handler("test.Greeter", handlers)

    def _hello(self, request: bytes, _: Any) -> bytes:
        return self._name + b" hears " + request

    def _count(self, request: bytes, _: Any) -> Iterator[bytes]:
        yield from (b"%d" % number for number in range(int(request)))

    def _sum(self, requests: Iterator[bytes], _: Any) -> bytes:
        return b"%d" % sum(map(int, requests))

    def _talk(self, requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
        for request in requests:
            yield self._name + b" hears " + request

    def _refuse(self, _: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")
        return b""


@contextlib.contextmanager
def greeter(name: str) -> Iterator[int]:
    """Serve on all addresses of the host over TLS; give the port."""
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Greeter(name).handle(),))
    credentials = grpc.ssl_server_credentials([(SERVED.key_pem(), SERVED.pem)])
    port = server.add_secure_port("0.0.0.0:0", credentials)
    server.start()
    try:
        yield int(port)
    finally:
        server.stop(grace=0).wait()


@pytest.fixture
def greeters() -> Iterator[tuple[int, int]]:
    with greeter("one") as one, greeter("two") as two:
        yield one, two


class Stage:
    """A load balancer in front of the members."""

    def __init__(self, host: AmphoraHost, ground: Ground) -> None:
        self._host, self._ground = host, ground
        self._generation = 0

    async def serve(self, ports: Sequence[int], **changes: Any) -> AppliedConfiguration:
        self._generation += 1
        bundles: list[Bundle] = [
            read_certificate(whole(SERVED.bundle_pem), "x", needs_names=False),
            read_authorities(whole(ROOT.pem), "x"),
        ]
        terms: dict[str, Any] = {"versions": ("TLSv1.2", "TLSv1.3"), "ciphers": "", "alpn_protocols": ("h2",)}
        listener = make_listener(
            self._ground,
            protocol=ListenerProtocol.TERMINATED_HTTPS,
            port=443,
            tls=ListenerTlsSpec(certificates=(bundles[0].digest,), **terms),
            **changes,
        )
        pool = make_pool(self._ground, ports, tls=PoolTlsSpec(authorities=bundles[1].digest, **terms))
        return await self._host.apply(
            self._ground.amphora_id,
            Configuration(
                generation=self._generation,
                epoch=1,
                haproxy=make_document(self._ground, [listener], [pool]),
                contents={bundle.digest: bundle.content for bundle in bundles},
            ),
        )

    def open_channel(self) -> grpc.Channel:
        options = [
            ("grpc.ssl_target_name_override", NAME),
            ("grpc.enable_http_proxy", 0),
            # Else all channels to one address share a connection.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        return grpc.secure_channel(f"{self._ground.vip}:443", grpc.ssl_channel_credentials(ROOT.pem), options)


@pytest.fixture
async def stage(host: AmphoraHost, ground: Ground) -> Stage:
    await host.ensure(ground.request())
    return Stage(host, ground)


class Talk:
    """A call that goes on: each message gets its answer before the next is sent."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._next: list[bytes | None] = []
        self._has_more = threading.Condition()
        self._answers = channel.stream_stream("/test.Greeter/Talk")(self._requests(), timeout=WITHIN_S)

    def _requests(self) -> Iterator[bytes]:
        while True:
            with self._has_more:
                self._has_more.wait_for(lambda: self._next, timeout=WITHIN_S)
                message = self._next.pop(0) if self._next else None
            if message is None:
                return
            yield message

    def _send(self, message: bytes | None) -> None:
        with self._has_more:
            self._next.append(message)
            self._has_more.notify()

    async def say(self, message: bytes) -> bytes:
        self._send(message)
        return bytes(await asyncio.to_thread(next, self._answers))

    async def end(self) -> Any:
        """Say no more; return how the call ended."""
        self._send(None)
        rest = await asyncio.to_thread(list, self._answers)
        assert rest == []
        return self._answers.code()


async def call(channel: grpc.Channel, method: str, request: Any) -> Any:
    """Return the answer, or all answers, to a call."""
    kinds = {"Hello": "unary_unary", "Refuse": "unary_unary", "Count": "unary_stream", "Sum": "stream_unary"}
    ask = getattr(channel, kinds[method])(f"/test.Greeter/{method}")

    def run() -> Any:
        answer = ask(request, timeout=WITHIN_S, wait_for_ready=True)
        return list(answer) if method == "Count" else answer

    return await asyncio.to_thread(run)


async def test_calls_of_every_kind(stage: Stage, greeters: tuple[int, int]) -> None:
    await stage.serve(greeters)
    with stage.open_channel() as channel:
        heard = [await call(channel, "Hello", b"you") for _ in range(4)]
        assert sorted(heard) == [b"one hears you"] * 2 + [b"two hears you"] * 2
        assert await call(channel, "Count", b"300") == [b"%d" % number for number in range(300)]
        assert await call(channel, "Sum", iter([b"1", b"2", b"39"])) == b"42"
        talk = Talk(channel)
        answers = [await talk.say(b"%d" % number) for number in range(MESSAGES)]
        (name,) = {answer.split(b" ")[0] for answer in answers}
        assert answers == [name + b" hears %d" % number for number in range(MESSAGES)]
        assert await talk.end() == grpc.StatusCode.OK
        # How a call ends stands in trailers, behind the body.
        with pytest.raises(grpc.RpcError) as refused:
            await call(channel, "Refuse", b"")
        assert (refused.value.code(), refused.value.details()) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "not today",
        )


async def test_a_call_goes_on_through_edits(stage: Stage, greeters: tuple[int, int]) -> None:
    one, two = greeters
    await stage.serve([one])
    with stage.open_channel() as channel:
        talk = Talk(channel)
        assert await talk.say(b"first") == b"one hears first"
        assert means(await stage.serve([one, two])) == "runtime"
        assert await talk.say(b"second") == b"one hears second"
        heard = {await call(channel, "Hello", b"you") for _ in range(4)}
        assert heard == {b"one hears you", b"two hears you"}
        assert means(await stage.serve([one, two], timeout_client_ms=6000)) == "reload"
        # The old process ends with this call; whoever calls anew meets the new one.
        assert await talk.say(b"third") == b"one hears third"
        with stage.open_channel() as another:
            assert {await call(another, "Hello", b"you") for _ in range(4)} == heard
        assert {await call(channel, "Hello", b"you") for _ in range(4)} == heard
        assert await talk.say(b"fourth") == b"one hears fourth"
        assert await talk.end() == grpc.StatusCode.OK
