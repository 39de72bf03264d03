"""`statera` as if it were of an older protocol: an agent that drops what that one does not know, a worker that does.

python -m tests.upgrade.older PROTOCOL agent --config ...
"""

import re
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from statera.agent import folders, host, server
from statera.cli.main import main
from statera.drivers import compute_local
from statera.model import protocol
from statera.model.agent_wire import (
    AgentFault,
    ConfigurationRequest,
    FaultKind,
    HostFacts,
    Metrics,
    NeighboursQuestion,
    SandboxRequest,
    Verdict,
)
from statera.model.amphora import AmphoraObserved, AppliedConfiguration
from statera.model.deployment import DeploymentMark
from statera.model.own_certificates import CertificateFacts, CertificateGrant, CertificateRequest
from statera.model.protocol import FIRST_PROTOCOL, PROTOCOL_HEADER
from tests.upgrade.forgetting import forget

AMPHORA = re.compile(r"(/v1/amphorae)/[0-9a-f-]{36}(/configuration|/metrics|/check)?")
ASKED: dict[tuple[str, str], Any] = {
    ("PUT", "/v1/amphorae/ID"): SandboxRequest,
    ("PUT", "/v1/amphorae/ID/configuration"): ConfigurationRequest,
    ("POST", "/v1/amphorae/ID/check"): ConfigurationRequest,
    ("POST", "/v1/neighbours"): NeighboursQuestion,
    ("PUT", "/v1/deployment"): DeploymentMark,
    ("PUT", "/v1/certificate"): CertificateGrant,
}
ANSWERED: dict[tuple[str, str], Any] = {
    ("GET", "/v1/host"): HostFacts,
    ("GET", "/v1/amphorae"): tuple[AmphoraObserved, ...],
    ("GET", "/v1/amphorae/ID"): AmphoraObserved,
    ("GET", "/v1/amphorae/ID/metrics"): Metrics,
    ("PUT", "/v1/amphorae/ID/configuration"): AppliedConfiguration,
    ("POST", "/v1/amphorae/ID/check"): Verdict,
    ("PUT", "/v1/deployment"): DeploymentMark,
    ("GET", "/v1/certificate"): CertificateFacts,
    ("POST", "/v1/certificate/request"): CertificateRequest,
}
FIRST_PLACES = ("/v1/host", "/v1/amphorae")
"""What the first protocol's agents answered to, and all below."""


def find_kinds(method: str, path: str) -> tuple[Any, Any]:
    """Return the structs of a request and of its answer, None each for none."""
    about = (method, AMPHORA.sub(r"\1/ID\2", path))
    return ASKED.get(about), ANSWERED.get(about)


class OldAgent(server.AgentApplication):
    """Answers as agents of that protocol did; the first one had no name."""

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        if scope["type"] != "http":
            return
        if protocol.PROTOCOL == FIRST_PROTOCOL and not scope["path"].startswith(FIRST_PLACES):
            fault = AgentFault(
                kind=FaultKind.MALFORMED, slug="malformed", sentence=f"There is no {scope['path']} here."
            )
            await _send_whole(send, 400, msgspec.json.encode(fault))
            return
        asked, answered = find_kinds(scope["method"], scope["path"])
        body = await server._read(receive)
        body = forget(body, asked, protocol.PROTOCOL) if asked is not None else body
        answer: MutableMapping[str, Any] = {"status": 500, "body": b""}

        async def take() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def keep(message: Any) -> None:
            answer.update(message)

        await super().__call__(scope, take, keep)
        content = answer["body"]
        if answer["status"] == 200 and content and answered is not None:
            content = forget(content, answered, protocol.PROTOCOL)
        await _send_whole(send, answer["status"], content)


async def _send_whole(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if protocol.PROTOCOL > FIRST_PROTOCOL:
        headers.append((PROTOCOL_HEADER.encode(), str(protocol.PROTOCOL).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class OldCompute(compute_local.LocalCompute):
    """Asks as controllers did, and understands of the answers what they did."""

    async def _exchange(self, host: str, method: str, path: str, body: Any) -> Any:
        asked, answered = find_kinds(method, path.partition("?")[0])
        if asked is not None:
            body = msgspec.Raw(forget(msgspec.json.encode(body), asked, protocol.PROTOCOL))
        answer = await super()._exchange(host, method, path, body)
        if answered is not None and answer.status_code == 200:
            answer._content = forget(answer.content, answered, protocol.PROTOCOL)
        return answer


if __name__ == "__main__":
    for room in (protocol, folders, host, server, compute_local):
        room.PROTOCOL = int(sys.argv[1])  # type: ignore[attr-defined]
    del sys.argv[1]
    server.AgentApplication = OldAgent  # type: ignore[misc]
    compute_local.LocalCompute = OldCompute  # type: ignore[misc]
    main()
