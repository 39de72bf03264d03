"""The agent's REST face: a small ASGI application that uvicorn serves over mutual TLS. `run_agent` is the process.

Whoever has a certificate of Statera's own CA for clients may ask; uvicorn checks it before a request gets here.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import structlog

from statera.agent.deployments import Deployments
from statera.agent.disk import read_disk_fault
from statera.agent.heartbeats import HeartbeatSender
from statera.agent.host import AmphoraHost
from statera.agent.own_certificate import OwnCertificate
from statera.base.credentials import Credentials, LiveContext, make_server_context
from statera.base.digits import read_digits
from statera.base.errand import on_errand, read_headers
from statera.base.errors import Lasting, LostClaim, StateraError
from statera.base.files import locked
from statera.base.ids import is_uuid
from statera.base.listening import open_port
from statera.base.logging import get_logger
from statera.base.metrics import counter, histogram
from statera.base.serving import make_server
from statera.base.settings import Settings
from statera.base.tracing import span
from statera.base.unreadable import UNREADABLE
from statera.model.agent_wire import (
    AgentFault,
    ConfigurationRequest,
    FaultKind,
    NeighboursQuestion,
    SandboxRequest,
    unpack_configuration,
)
from statera.model.deployment import DeploymentMark
from statera.model.own_certificates import CertificateGrant
from statera.model.protocol import PROTOCOL, PROTOCOL_HEADER

log = get_logger("agent")

REQUESTS = counter("statera_agent_requests_total", "Requests of controllers that were answered.", "operation", "status")
REQUEST_SECONDS = histogram("statera_agent_request_seconds", "From a request to its answer.", "operation")

MOST_BODY_BYTES = 64 * 1024 * 1024
PLACES = frozenset(
    f"/v1/{place}" for place in ("host", "amphorae", "neighbours", "deployment", "certificate", "certificate/request")
)
"""Of what is not one amphora's."""
_AMPHORA = re.compile(r"/v1/amphorae/([0-9a-f-]{36})(/configuration|/metrics|/check)?")

Answer = tuple[int, Any]


class Malformed(Exception):
    """A request that this version does not understand; the text names what."""


class AgentApplication:
    """Routes requests to the host. One class, because there are a dozen of them."""

    def __init__(self, host: AmphoraHost, own: OwnCertificate, deployments: Deployments) -> None:
        self._deployments = deployments
        self._host = host
        self._own = own

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        amphora = _AMPHORA.fullmatch(scope["path"])
        operation = f"{scope['method']} {_name_operation(scope['path'])}"
        about = {"amphora_id": amphora[1]} if amphora is not None else {}
        with (
            on_errand(read_headers(headers)),
            structlog.contextvars.bound_contextvars(**about),
            REQUEST_SECONDS.labels(operation).time(),
            span(f"agent {operation}", "server"),
        ):
            await self._respond(scope, receive, send, operation)

    async def _respond(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any, operation: str) -> None:
        try:
            status, content = await self._answer(scope, receive)
        except Malformed as error:
            status, content = 400, AgentFault(kind=FaultKind.MALFORMED, slug="malformed", sentence=str(error))
        except StateraError as error:
            status, content = _fault(error)
        except Exception as error:
            # The edge of a request: the log has the details, the caller tries again.
            status, content = _explain(error, f"{scope['method']} {scope['path']}")
        REQUESTS.labels(operation, str(status)).inc()
        if scope["method"] != "GET":
            log.info("request", operation=operation, status=status)
        body = b"" if content is None else msgspec.json.encode(content)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (PROTOCOL_HEADER.encode(), str(PROTOCOL).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Any, receive: Callable[[], Awaitable[Any]]) -> Answer:
        method, path = scope["method"], scope["path"]
        if (method, path) == ("GET", "/v1/host"):
            return 200, self._host.describe()
        if (method, path) == ("GET", "/v1/amphorae"):
            return 200, self._host.observe()
        if (method, path) == ("POST", "/v1/neighbours"):
            asked = _decode(await _read(receive), NeighboursQuestion)
            return 200, await self._host.list_answering(asked)
        if (method, path) == ("PUT", "/v1/deployment"):
            return 200, await self._deployments.remember(_decode(await _read(receive), DeploymentMark))
        if path.startswith("/v1/certificate"):
            return await self._answer_certificate(method, path, receive)
        found = _AMPHORA.fullmatch(path)
        if found is None or not is_uuid(found[1]):
            raise Malformed(f"There is no {path} here.")
        amphora_id, below = found[1], found[2] or ""
        match method, below:
            case "GET", "":
                sandbox = self._host.find(amphora_id)
                return (404, None) if sandbox is None else (200, sandbox.observe())
            case "GET", "/metrics":
                sandbox = self._host.find(amphora_id)
                return (404, None) if sandbox is None else (200, await self._host.measure(sandbox))
            case "PUT", "":
                request = _decode(await _read(receive), SandboxRequest)
                if request.sandbox.amphora_id != amphora_id:
                    raise Malformed("The path and the body name different amphorae.")
                await self._host.ensure(request)
                return 200, None
            case "PUT", "/configuration":
                applied = await self._host.apply(
                    amphora_id, unpack_configuration(_decode(await _read(receive), ConfigurationRequest))
                )
                return 200, applied
            case "POST", "/check":
                return 200, await self._host.check(
                    amphora_id, unpack_configuration(_decode(await _read(receive), ConfigurationRequest))
                )
            case "DELETE", "":
                epoch, hands_over_s = _read_number(scope, "epoch"), _read_number(scope, "hands_over_s", 0)
                await self._host.remove(amphora_id, epoch, hands_over_s=hands_over_s)
                return 204, None
        raise Malformed(f"{method} is not possible on {path}.")

    async def _answer_certificate(self, method: str, path: str, receive: Callable[[], Awaitable[Any]]) -> Answer:
        match method, path:
            case "GET", "/v1/certificate":
                return 200, self._own.describe()
            case "POST", "/v1/certificate/request":
                return 200, self._own.make_request()
            case "PUT", "/v1/certificate":
                self._own.install(_decode(await _read(receive), CertificateGrant))
                return 200, None
        raise Malformed(f"{method} is not possible on {path}.")


def _name_operation(path: str) -> str:
    """Return the path without ids, for what is counted; `other` for one that leads nowhere."""
    if found := _AMPHORA.fullmatch(path):
        return f"/v1/amphorae/{{id}}{found[2] or ''}"
    return path if path in PLACES else "other"


def _fault(error: StateraError) -> Answer:
    if isinstance(error, LostClaim):
        status, kind = 409, FaultKind.LOST_CLAIM
    elif isinstance(error, Lasting):
        status, kind = 422, FaultKind.LASTING
    else:
        status, kind = 503, FaultKind.TRANSIENT
    return status, AgentFault(kind=kind, slug=error.reason.slug, sentence=error.sentence)


def _explain(error: Exception, request: str) -> Answer:
    """Return the answer to a request that failed in a way that no room has foreseen."""
    if (fault := read_disk_fault(error)) is not None:
        log.warning("request failed", request=request, slug=fault.reason.slug, sentence=fault.sentence)
        return _fault(fault)
    log.exception("request failed", request=request)
    sentence = "The agent itself failed; its log says why."
    return 500, AgentFault(kind=FaultKind.TRANSIENT, slug="internal-fault", sentence=sentence)


def _decode(body: bytes, wanted: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=wanted)
    except UNREADABLE as error:
        raise Malformed(f"The body is not a {wanted.__name__}: {error}") from error


async def _read(receive: Callable[[], Awaitable[Any]]) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MOST_BODY_BYTES:
            raise Malformed(f"The body has more than {MOST_BODY_BYTES} bytes.")
        if not message.get("more_body", False):
            return bytes(body)


def _read_number(scope: Any, name: str, default: int | None = None) -> int:
    values = parse_qs(scope["query_string"].decode("ascii", errors="replace")).get(name, [])
    if not values and default is not None:
        return default
    number = read_digits(values[0]) if len(values) == 1 else None
    if number is None:
        raise Malformed(f"The query must have one `{name}`.")
    return number


async def run_agent(
    settings: Settings, certificates: Credentials, heartbeat_targets: tuple[str, ...], stop: asyncio.Event
) -> None:
    """Serve until `stop` is set. Processes and namespaces stay: the next start adopts them.

    Raises `Lasting` when the port is taken, or another agent works in the same data directory.
    """
    listening = open_port(settings.agent.host, settings.agent.port, "agent")
    with listening, _alone(Path(settings.data_dir)), contextlib.closing(AmphoraHost(settings)) as host:
        await _run(settings, host, certificates, heartbeat_targets, listening, stop)


@contextlib.contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Keep a second agent out of the data directory: both would start what the other has started."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with locked(data_dir / "agent.lock", mode=0o600) as is_alone:
        if not is_alone:
            raise Lasting("already-running", f"Another agent is running with data_dir {data_dir}.")
        yield


async def _run(
    settings: Settings,
    host: AmphoraHost,
    certificates: Credentials,
    heartbeat_targets: tuple[str, ...],
    listening: socket.socket,
    stop: asyncio.Event,
) -> None:
    await host.adopt()
    sender = HeartbeatSender(host, heartbeat_targets, settings.agent.heartbeat_interval_s)
    own = OwnCertificate(certificates, settings.agent.name)
    server = make_server(AgentApplication(host, own, Deployments(settings, host)), stop_within_s=1)
    server.config.load()
    server.config.ssl = LiveContext(certificates, make_server_context).follow()
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listening]))
        group.create_task(host.watch(stop))
        group.create_task(sender.run(stop))
        await stop.wait()
        server.should_exit = True
