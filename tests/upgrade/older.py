"""`statera` as if it were of the first protocol: an agent that drops what that one does not know, a worker that does.

python -m tests.upgrade.older agent --config ...
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from statera.agent import server
from statera.cli.main import main
from statera.drivers import compute_local
from statera.model.agent_wire import AgentFault, FaultKind
from tests.upgrade import protocol_1

AMPHORA = re.compile(r"/v1/amphorae/[0-9a-f-]{36}(/configuration|/metrics|/check)?")
ASKED = {
    ("PUT", ""): protocol_1.SandboxRequest,
    ("PUT", "/configuration"): protocol_1.ConfigurationRequest,
    ("POST", "/check"): protocol_1.ConfigurationRequest,
}
ANSWERED = {
    ("GET", ""): protocol_1.AmphoraObserved,
    ("GET", "/metrics"): protocol_1.Metrics,
    ("PUT", "/configuration"): protocol_1.AppliedConfiguration,
    ("POST", "/check"): protocol_1.Verdict,
}


def forget(body: bytes, kind: Any) -> bytes:
    """Return a message as one that knows the first protocol's attributes only would write it again."""
    return msgspec.json.encode(msgspec.json.decode(body, type=kind))


def find_kinds(method: str, path: str) -> tuple[Any, Any] | None:
    """Return the structs of a request and of its answer, None each for none; None: there was no such request."""
    if (method, path) == ("GET", "/v1/host"):
        return None, protocol_1.HostFacts
    if (method, path) == ("GET", "/v1/amphorae"):
        return None, tuple[protocol_1.AmphoraObserved, ...]
    found = AMPHORA.fullmatch(path)
    if found is None:
        return None
    about = (method, found[1] or "")
    return ASKED.get(about), ANSWERED.get(about)


class OldAgent(server.AgentApplication):
    """Answers as agents did when there was one protocol, and it had no name."""

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        if scope["type"] != "http":
            return
        kinds = find_kinds(scope["method"], scope["path"])
        if kinds is None:
            fault = AgentFault(
                kind=FaultKind.MALFORMED, slug="malformed", sentence=f"There is no {scope['path']} here."
            )
            await _send_whole(send, 400, msgspec.json.encode(fault))
            return
        body = await server._read(receive)
        body = forget(body, kinds[0]) if kinds[0] is not None else body
        answer: MutableMapping[str, Any] = {"status": 500, "body": b""}

        async def take() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def keep(message: Any) -> None:
            answer.update(message)

        await super().__call__(scope, take, keep)
        content = answer["body"]
        if answer["status"] == 200 and content and kinds[1] is not None:
            content = forget(content, kinds[1])
        await _send_whole(send, answer["status"], content)


async def _send_whole(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class OldCompute(compute_local.LocalCompute):
    """Asks as controllers did, and understands of the answers what they did."""

    async def _exchange(self, host: str, method: str, path: str, body: Any) -> Any:
        kinds = find_kinds(method, path.partition("?")[0])
        if kinds is not None and kinds[0] is not None:
            body = msgspec.json.decode(msgspec.json.encode(body), type=kinds[0])
        answer = await super()._exchange(host, method, path, body)
        if kinds is not None and kinds[1] is not None and answer.status_code == 200:
            answer._content = forget(answer.content, kinds[1])
        return answer


if __name__ == "__main__":
    server.AgentApplication = OldAgent  # type: ignore[misc]
    compute_local.LocalCompute = OldCompute  # type: ignore[misc]
    main()
