"""The agent's REST face: a small ASGI application that uvicorn serves over mutual TLS. `run_agent` is the process.

Whoever has a certificate of Statera's own CA for clients may ask; uvicorn checks it before a request gets here.
"""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec

from statera.agent.heartbeats import HeartbeatSender
from statera.agent.host import AmphoraHost
from statera.base.errors import Lasting, LostClaim, StateraError
from statera.base.files import locked
from statera.base.ids import is_uuid
from statera.base.listening import open_port
from statera.base.logging import get_logger
from statera.base.serving import make_server
from statera.base.settings import Settings
from statera.model.agent_wire import (
    AgentFault,
    ConfigurationRequest,
    FaultKind,
    SandboxRequest,
    unpack_configuration,
)

log = get_logger("agent")

MOST_BODY_BYTES = 64 * 1024 * 1024
_AMPHORA = re.compile(r"/v1/amphorae/([0-9a-f-]{36})(/configuration|/metrics|/check)?")

Answer = tuple[int, Any]


class Malformed(Exception):
    """A request that this version does not understand; the text names what."""


class AgentApplication:
    """Routes requests to the host. One class, because there are eight of them."""

    def __init__(self, host: AmphoraHost) -> None:
        self._host = host

    async def __call__(self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        if scope["type"] != "http":
            return
        try:
            status, content = await self._answer(scope, receive)
        except Malformed as error:
            status, content = 400, AgentFault(kind=FaultKind.MALFORMED, slug="malformed", sentence=str(error))
        except StateraError as error:
            status, content = _fault(error)
        except Exception:
            # The edge of a request: the log has the details, the caller tries again.
            log.exception("request failed", method=scope["method"], path=scope["path"])
            sentence = "The agent itself failed; its log says why."
            status, content = 500, AgentFault(kind=FaultKind.TRANSIENT, slug="internal-fault", sentence=sentence)
        body = b"" if content is None else msgspec.json.encode(content)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Any, receive: Callable[[], Awaitable[Any]]) -> Answer:
        method, path = scope["method"], scope["path"]
        if (method, path) == ("GET", "/v1/host"):
            return 200, self._host.describe()
        if (method, path) == ("GET", "/v1/amphorae"):
            return 200, self._host.observe()
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
                await self._host.remove(amphora_id, _read_epoch(scope))
                return 204, None
        raise Malformed(f"{method} is not possible on {path}.")


def _fault(error: StateraError) -> Answer:
    if isinstance(error, LostClaim):
        status, kind = 409, FaultKind.LOST_CLAIM
    elif isinstance(error, Lasting):
        status, kind = 422, FaultKind.LASTING
    else:
        status, kind = 503, FaultKind.TRANSIENT
    return status, AgentFault(kind=kind, slug=error.reason.slug, sentence=error.sentence)


def _decode(body: bytes, wanted: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=wanted)
    except msgspec.DecodeError as error:
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


def _read_epoch(scope: Any) -> int:
    values = parse_qs(scope["query_string"].decode("ascii", errors="replace")).get("epoch", [])
    if len(values) != 1 or not values[0].isdigit():
        raise Malformed("The query must have one `epoch`.")
    return int(values[0])


class AgentCertificates(msgspec.Struct, frozen=True, kw_only=True):
    """Files in PEM: the CA that both sides trust, this agent's certificate and its key."""

    authority: Path
    certificate: Path
    key: Path


async def run_agent(
    settings: Settings, certificates: AgentCertificates, heartbeat_targets: tuple[str, ...], stop: asyncio.Event
) -> None:
    """Serve until `stop` is set. Processes and namespaces stay: the next start adopts them.

    Raises `Lasting` when the port is taken, or another agent works in the same data directory.
    """
    listening = open_port(settings.agent.host, settings.agent.port, "agent")
    with listening, _alone(Path(settings.data_dir)):
        await _run(settings, certificates, heartbeat_targets, listening, stop)


@contextlib.contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Keep a second agent out of the data directory: both would start what the other has started."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with locked(data_dir / "agent.lock") as is_alone:
        if not is_alone:
            raise Lasting("already-running", f"Another agent is running with data_dir {data_dir}.")
        yield


async def _run(
    settings: Settings,
    certificates: AgentCertificates,
    heartbeat_targets: tuple[str, ...],
    listening: socket.socket,
    stop: asyncio.Event,
) -> None:
    host = AmphoraHost(settings)
    await host.adopt()
    sender = HeartbeatSender(host, heartbeat_targets, settings.agent.heartbeat_interval_s)
    server = make_server(AgentApplication(host), stop_within_s=1, **_tls_options(certificates))
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listening]))
        group.create_task(host.watch(stop))
        group.create_task(sender.run(stop))
        await stop.wait()
        server.should_exit = True


def _tls_options(certificates: AgentCertificates) -> dict[str, Any]:
    return {
        "ssl_keyfile": certificates.key,
        "ssl_certfile": str(certificates.certificate),
        "ssl_ca_certs": str(certificates.authority),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }
