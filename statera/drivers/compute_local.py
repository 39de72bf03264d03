"""Amphorae as sandboxes on hosts that run `statera agent`, asked over REST with mutual TLS.

The agent's faults come back as the errors they were: the caller cannot tell, and need not, that a network is between.
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import httpx
import msgspec

from statera.base.credentials import LiveContext
from statera.base.errand import write_headers
from statera.base.errors import Lasting, LostClaim, Transient
from statera.base.metrics import counter, histogram
from statera.base.printable import make_printable
from statera.base.reason import Reason
from statera.base.secret import Secret
from statera.base.settings import HostSettings
from statera.base.tracing import span
from statera.base.unreadable import UNREADABLE
from statera.drivers.agent_connections import CONNECT_WITHIN_S, AgentConnections
from statera.model.agent_wire import (
    AgentFault,
    FaultKind,
    HostFacts,
    Metrics,
    NeighboursQuestion,
    SandboxRequest,
    Verdict,
    pack_configuration,
)
from statera.model.amphora import AmphoraObserved, AppliedConfiguration, Host
from statera.model.deployment import DeploymentMark
from statera.model.network import Attachment
from statera.model.own_certificates import CertificateFacts, CertificateGrant, CertificateRequest
from statera.model.protocol import FIRST_PROTOCOL, PROTOCOL, PROTOCOL_HEADER, list_unknown, read_protocol
from statera.model.spec import Configuration, SandboxSpec

T = TypeVar("T")

CALLS = counter("statera_agent_calls_total", "Questions and orders to agents, by what came of them.", "host", "outcome")
CALL_SECONDS = histogram("statera_agent_call_seconds", "How long agents took to answer.", "host")

ANSWERS_WITHIN_S = 0.5
"""Seconds after which a host that has not answered is looked at beside: does the machine live?"""
MOST_WORDS = 1000
"""Characters of what an agent says that go into a reason: more than what it tells of its engines' words."""
SLUG = re.compile(r"[a-z0-9-]{1,60}")


class LocalCompute:
    """`ComputeDriver` over agents. `timeout_s` bounds each answer; checking and reloading take most of it."""

    def __init__(self, hosts: Sequence[HostSettings], trust: LiveContext, timeout_s: float) -> None:
        self._hosts: Mapping[str, HostSettings] = {host.name: host for host in hosts}
        self._connections = AgentConnections(trust, timeout_s)
        self._timeout_s = timeout_s
        self._protocols: dict[str, int] = {}
        """What the agent of each host understands, by its last answer."""

    async def close(self) -> None:
        await self._connections.close()

    # Hosts

    async def observe_hosts(self) -> tuple[Host, ...]:
        return tuple(await asyncio.gather(*(self._observe_host(name) for name in self._hosts)))

    async def _observe_host(self, name: str) -> Host:
        zone = self._hosts[name].zone
        asking = asyncio.ensure_future(self._get(name, "/v1/host", HostFacts))
        is_alive = True
        try:
            if not (await asyncio.wait({asking}, timeout=ANSWERS_WITHIN_S))[0] or asking.exception() is not None:
                is_alive = await _is_alive(httpx.URL(self._hosts[name].url))
            facts = await asking
        except (Transient, Lasting) as error:
            return Host(name=name, zone=zone, reachable=False, is_alive=is_alive, reason=error.reason)
        finally:
            asking.cancel()
        if facts is None or facts.name != name:
            told = _clean(facts.name) if facts else "nothing"
            reason = Reason(slug="host-misnamed", sentence=f"The agent of host {name} calls itself {told}.")
            return Host(name=name, zone=zone, reachable=False, reason=reason)
        return Host(
            name=name,
            zone=zone,
            reachable=True,
            amphora_count=facts.amphora_count,
            amphora_limit=facts.amphora_limit,
            limited_by=_clean(facts.limited_by),
            agent_version=facts.agent_version,
            protocol=facts.protocol,
            engine_versions=facts.engine_versions,
        )

    # Amphorae

    async def observe_amphora(self, host: str, amphora_id: str) -> AmphoraObserved | None:
        seen = await self._get(host, f"/v1/amphorae/{amphora_id}", AmphoraObserved)
        return _clean_reason(seen) if seen is not None else None

    async def observe_amphorae(self, host: str) -> tuple[AmphoraObserved, ...]:
        seen = await self._get(host, "/v1/amphorae", tuple[AmphoraObserved, ...]) or ()
        return tuple(_clean_reason(one) for one in seen)

    async def observe_neighbours(
        self, host: str, attachment: Attachment, mtu: int, addresses: Sequence[str]
    ) -> tuple[str, ...]:
        await self._check_protocol(host, 2, "to look for neighbours")
        asked = NeighboursQuestion(attachment=attachment, mtu=mtu, addresses=tuple(addresses))
        return self._decode(host, await self._send(host, "POST", "/v1/neighbours", asked), tuple[str, ...])

    async def observe_metrics(self, host: str, amphora_id: str) -> Metrics | None:
        return await self._get(host, f"/v1/amphorae/{amphora_id}/metrics", Metrics)

    async def mark_host(self, host: str, deployment_id: str, mark: int) -> int:
        await self._check_protocol(host, 2, "to remember deployments")
        answer = await self._send(host, "PUT", "/v1/deployment", DeploymentMark(deployment_id=deployment_id, mark=mark))
        return self._decode(host, answer, DeploymentMark).mark

    async def ensure_amphora(
        self, host: str, sandbox: SandboxSpec, *, epoch: int, heartbeat_key: Secret[bytes], deployment_id: str = ""
    ) -> None:
        request = SandboxRequest(
            epoch=epoch,
            sandbox=sandbox,
            heartbeat_key=heartbeat_key.reveal(),
            deployment_id=deployment_id,
            digest=sandbox.digest(),
        )
        await self._check_known(host, request)
        await self._send(host, "PUT", f"/v1/amphorae/{sandbox.amphora_id}", request)

    async def apply_configuration(
        self, host: str, amphora_id: str, configuration: Configuration
    ) -> AppliedConfiguration:
        request = pack_configuration(configuration)
        await self._check_known(host, request)
        answer = await self._send(host, "PUT", f"/v1/amphorae/{amphora_id}/configuration", request)
        return self._decode(host, answer, AppliedConfiguration)

    async def check_configuration(self, host: str, amphora_id: str, configuration: Configuration) -> Verdict:
        request = pack_configuration(configuration)
        await self._check_known(host, request)
        answer = await self._send(host, "POST", f"/v1/amphorae/{amphora_id}/check", request)
        return self._decode(host, answer, Verdict)

    async def remove_amphora(self, host: str, amphora_id: str, *, epoch: int, hands_over: bool = False) -> None:
        # The rest of the time is for what comes after it.
        more = f"&hands_over_s={max(1, int(self._timeout_s / 2))}" if hands_over else ""
        await self._send(host, "DELETE", f"/v1/amphorae/{amphora_id}?epoch={epoch}{more}")

    # Their certificates

    async def observe_certificate(self, host: str) -> CertificateFacts:
        """Return what a host shows and whom it trusts. Raises `Transient`, `Lasting`."""
        await self._check_protocol(host, 2, "to renew its certificate")
        return self._decode(host, await self._send(host, "GET", "/v1/certificate"), CertificateFacts)

    async def request_certificate(self, host: str) -> str:
        """Let a host make a key and return what it asks a certificate with. Raises `Transient`, `Lasting`."""
        answer = await self._send(host, "POST", "/v1/certificate/request")
        return self._decode(host, answer, CertificateRequest).request

    async def install_certificate(self, host: str, grant: CertificateGrant) -> None:
        """Tell a host whom to trust and what to show from now on. Raises `Transient`, `Lasting`."""
        await self._send(host, "PUT", "/v1/certificate", grant)

    # Older agents

    async def _check_known(self, host: str, message: Any) -> None:
        """Raise `Lasting` (slug `agent-too-old`) for what the agent of a host would not understand and drop."""
        for words in list_unknown(message, await self._find_protocol(host)):
            raise self._refuse(host, words)

    async def _check_protocol(self, host: str, least: int, words: str) -> None:
        if await self._find_protocol(host) < least:
            raise self._refuse(host, words)

    async def _find_protocol(self, host: str) -> int:
        if host not in self._protocols:
            await self._send(host, "GET", "/v1/host")
        return self._protocols.get(host, FIRST_PROTOCOL)

    def _refuse(self, host: str, words: str) -> Lasting:
        told = self._protocols.get(host, FIRST_PROTOCOL)
        sentence = f"The agent of host {host} is too old for this: {words}. It speaks protocol {told} of {PROTOCOL}."
        return Lasting("agent-too-old", sentence)

    # Requests

    async def _get(self, host: str, path: str, wanted: type[T]) -> T | None:
        answer = await self._send(host, "GET", path)
        return None if answer.status_code == 404 else self._decode(host, answer, wanted)

    async def _send(self, host: str, method: str, path: str, body: Any = None) -> httpx.Response:
        outcome = "failed"
        with CALL_SECONDS.labels(host).time(), span(f"call {method}", "client", **{"statera.host": host}):
            try:
                answer = await self._exchange(host, method, path, body)
                outcome = "answered"
            except Transient as error:
                outcome = "unreachable" if error.reason.slug == "agent-unreachable" else "failed"
                raise
            finally:
                CALLS.labels(host, outcome).inc()
        return answer

    async def _exchange(self, host: str, method: str, path: str, body: Any) -> httpx.Response:
        settings = self._hosts.get(host)
        if settings is None:
            raise Transient("host-unknown", f"Host {host} is not in the configuration.")
        try:
            answer = await self._connections.ask(
                method,
                settings.url + path,
                content=None if body is None else msgspec.json.encode(body),
                # The certificate names the host, whatever address its URL has.
                extensions={"sni_hostname": settings.name},
                headers={**write_headers(), PROTOCOL_HEADER: str(PROTOCOL)},
            )
        except (TimeoutError, httpx.TimeoutException) as error:
            raise Transient("agent-unreachable", f"The agent of host {host} did not answer in time.") from error
        except httpx.TransportError as error:
            sentence = f"The agent of host {host} cannot be reached: {_explain(error)}."
            raise Transient("agent-unreachable", sentence) from error
        # An agent may have been exchanged between any two answers.
        self._protocols[host] = read_protocol(answer.headers.get(PROTOCOL_HEADER))
        if answer.status_code >= 400 and not (method == "GET" and answer.status_code == 404):
            raise _error(host, answer, path)
        return answer

    def _decode(self, host: str, answer: httpx.Response, wanted: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.content, type=wanted)
        except UNREADABLE as error:
            raise Transient("agent-garbled", f"The agent of host {host} answered what cannot be read.") from error


async def _is_alive(url: httpx.URL) -> bool:
    """Say whether the machine takes or refuses a connection: its kernel does so without the agent."""
    try:
        async with asyncio.timeout(CONNECT_WITHIN_S - ANSWERS_WITHIN_S):
            _, writer = await asyncio.open_connection(url.host, url.port or 443)
    except ConnectionError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _explain(error: httpx.TransportError) -> str:
    found = re.search(r"certificate verify failed: (.*?)\.? \(_ssl", str(error))
    return f"its certificate is not trusted ({found[1]})" if found else str(error) or type(error).__name__


def _error(host: str, answer: httpx.Response, path: str) -> Transient | Lasting | LostClaim:
    fault = None
    with contextlib.suppress(*UNREADABLE):
        fault = msgspec.json.decode(answer.content, type=AgentFault)
    if fault is None:
        return Transient("agent-garbled", f"The agent of host {host} answered {answer.status_code} to {path}.")
    slug, sentence = _clean_slug(fault.slug), _clean(fault.sentence)
    match fault.kind:
        case FaultKind.LOST_CLAIM:
            return LostClaim("", sentence)
        case FaultKind.LASTING:
            return Lasting(slug, sentence)
        case FaultKind.MALFORMED:
            return Lasting("agent-mismatch", f"The agent of host {host} refuses a request: {sentence}")
        case _:
            return Transient(slug, sentence)


def _clean_reason(seen: AmphoraObserved) -> AmphoraObserved:
    if seen.reason is None:
        return seen
    slug, sentence = _clean_slug(seen.reason.slug), _clean(seen.reason.sentence)
    return msgspec.structs.replace(seen, reason=msgspec.structs.replace(seen.reason, slug=slug, sentence=sentence))


def _clean_slug(slug: str) -> str:
    return slug if SLUG.fullmatch(slug) else "agent-garbled"


def _clean(words: str) -> str:
    # Whoever took an agent over says what it likes to operators, and the database keeps no NUL.
    return make_printable(words, MOST_WORDS)
