"""What is fuzzed: a function of bytes for each parser, and the errors that it may raise; any other is a find."""

import contextlib
import hmac
import ssl
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from urllib.parse import parse_qsl

import httpx
import msgspec

from statera.agent.engine import shorten as shorten_alerts
from statera.agent.exposition import translate_exposition
from statera.agent.flows import parse_counters
from statera.agent.installed import read_version
from statera.agent.ipvs import parse_file, parse_table
from statera.agent.lvs import shorten as shorten_errors
from statera.agent.neighbours import read_answer
from statera.agent.nginx import read_stream_module, shorten
from statera.agent.own_certificate import _read as read_grant
from statera.agent.probes import judge_answer
from statera.agent.runtime import list_old_workers, parse_processes
from statera.agent.server import Malformed, _decode, _read_number
from statera.agent.server_state import make_state
from statera.agent.statistics import parse_process, parse_statistics, read_metrics
from statera.agent.words import TOLD_LENGTH
from statera.api.identity import _read_basic, _read_htpasswd
from statera.api.policy_file import load_policy
from statera.api.wire import read_body, read_list_body
from statera.base.credentials import LiveContext
from statera.base.errand import read_headers
from statera.base.errors import Lasting, Refused, StateraError, Transient
from statera.base.exposition import merge_pages
from statera.base.secret import Secret
from statera.base.settings import BadSettings, IdentitySettings, load_settings
from statera.base.tracing import _read_parent
from statera.base.unreadable import UNREADABLE
from statera.drivers.compute_local import LocalCompute, _error
from statera.drivers.identity_keystone import _read as read_token
from statera.drivers.network_local import networks_from_settings
from statera.drivers.secrets_barbican import _Access, _Answer, _Container, _Metadata
from statera.model.agent_wire import (
    ConfigurationRequest,
    HostFacts,
    Metrics,
    NeighboursQuestion,
    SandboxRequest,
    Verdict,
    unpack_configuration,
)
from statera.model.amphora import AmphoraObserved, AppliedConfiguration
from statera.model.certificate_strength import check_chain, check_strength
from statera.model.certificates import check_revocations, read_authorities, read_certificate, read_revocations
from statera.model.deployment import DeploymentMark, is_credible
from statera.model.document import Document, Server, ServersPart
from statera.model.features import read_installed
from statera.model.heartbeat import HeartbeatRefused, decode_heartbeat, encode_heartbeat, join_heartbeat
from statera.model.own_certificates import CertificateFacts, CertificateGrant, CertificateRequest
from statera.model.protocol import read_protocol
from statera.model.regex import compile_regex
from statera.model.secrets import SecretParts, parse_reference
from statera.render.engine import haproxy_capabilities, read_capabilities
from tests.contract.test_tables import CREATED, UPDATED
from tests.fuzz.certified import judge_certificates
from tests.fuzz.heard import hear_refusals, receive_datagrams
from tests.fuzz.questions import ask_lists, explain_requests, keep_secrets
from tests.fuzz.told import read_disk, tell_statuses
from tests.fuzz.wanted import read_profiles, want_trees

CORPUS = Path(__file__).with_name("corpus")
AMPHORA_ID = "0f3e1d5c-8a57-4a53-9d10-2f6d1b0c7e11"
KEY: Secret[bytes] = Secret(b"k" * 32)
NOW = 1_700_000_000.0


_SERVER = Server(name="a", address="10.0.0.1", port=80, weight=1, enabled=True, checked=True)
AUTHORITIES, REVOCATIONS = (
    SecretParts(payload=Secret((CORPUS / "certificates" / name).read_bytes()))
    for name in ("authorities.pem", "revocations.pem")
)
SERVED = Document(parts=(ServersPart(backend="web", servers=(_SERVER,), dynamic=False),))
_TRUST = cast(LiveContext, SimpleNamespace(current=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)))
COMPUTE = LocalCompute((), _TRUST, 1.0)
ANSWERS: tuple[type[object], ...] = (
    AmphoraObserved, AppliedConfiguration, HostFacts, Metrics, Verdict, CertificateRequest, CertificateFacts,
    DeploymentMark, tuple[AmphoraObserved, ...], tuple[str, ...],
)  # fmt: skip
"""All that a controller asks agents for."""
REQUESTS: tuple[type[object], ...] = (
    SandboxRequest, NeighboursQuestion, ConfigurationRequest, CertificateGrant, DeploymentMark,
)  # fmt: skip
"""All that agents are told."""


MOST_POLICY_BYTES = 10_000
"""An operator's own file: PyYAML takes ten seconds for one of 200 KB."""


class Target(msgspec.Struct, frozen=True):
    """One parser: how it is asked, what it may raise, how often `make test` asks it."""

    run: Callable[[bytes], object]
    allowed: tuple[type[BaseException], ...] = ()
    tries: int = 300


def load_corpus(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _bodies(data: bytes) -> None:
    body = msgspec.json.decode(data)
    for kinds in (CREATED, UPDATED):
        for name, kind in kinds.items():
            root = next(iter(body), name) if isinstance(body, dict) else name
            for read in (read_body, read_list_body):
                with contextlib.suppress(Refused):
                    read(kind, body, name, root)


def _heartbeat(data: bytes) -> None:
    with contextlib.suppress(HeartbeatRefused):
        decode_heartbeat(data, lambda _: KEY, NOW, 30.0)
    _signed(data)


def _signed(data: bytes) -> None:
    """Sign what is there, as an amphora that was broken into would."""
    message = uuid.UUID(AMPHORA_ID).bytes + data[16:-32]
    told = decode_heartbeat(message + hmac.digest(KEY.reveal(), message, "sha256"), lambda _: KEY, NOW, 30.0)
    join_heartbeat([told])
    encode_heartbeat(told, KEY)


def _certificates(data: bytes) -> None:
    whole = SecretParts(payload=Secret(data))
    halves = data.partition(b"\n\n")
    parts = {
        "certificate": Secret(halves[0]),
        "private_key": Secret(halves[2]),
        "private_key_passphrase": Secret(b"secret"),
        "intermediates": Secret(data),
    }
    for found in (whole, SecretParts(parts=parts)):
        for read in (read_certificate, read_authorities, read_revocations):
            with contextlib.suppress(Refused):
                read(found, "default_tls_container_ref")
        with contextlib.suppress(Refused):
            bundle = read_certificate(found, "default_tls_container_ref")
            check_chain(found, bundle, "default_tls_container_ref")
            check_strength(bundle, "default_tls_container_ref")
        with contextlib.suppress(Refused):
            check_revocations(found, AUTHORITIES, "crl_container_ref", "ca_tls_container_ref")
        with contextlib.suppress(Refused):
            check_revocations(REVOCATIONS, found, "crl_container_ref", "ca_tls_container_ref")


def _barbican(data: bytes) -> None:
    for kind in (_Container, _Metadata, _Access, _Answer):
        with contextlib.suppress(*UNREADABLE):
            msgspec.json.decode(data, type=kind)
    parse_reference(_text(data))


def _haproxy(data: bytes) -> None:
    text = _text(data)
    msgspec.msgpack.encode(parse_statistics(text))
    msgspec.msgpack.encode(parse_process(text))
    read_metrics(AMPHORA_ID, text, haproxy_running=True)
    parse_processes(text)
    list_old_workers(text)
    translate_exposition(text, memory_percent=1.0)
    make_state(text, SERVED, SERVED)


def _counters(data: bytes) -> None:
    parse_counters(_text(data))


def _answers_of_members(data: bytes) -> None:
    for expected in ("200", "200,204", "200-299"):
        judge_answer(data, expected)
    read_answer(data)


def _engines(data: bytes) -> None:
    """Read what HAProxy, nginx and keepalived print of themselves and of files that they refuse."""
    text = _text(data)
    assert len(shorten(text)) <= TOLD_LENGTH
    assert len(shorten_alerts(text)) <= TOLD_LENGTH
    assert len(shorten_errors(text)) <= TOLD_LENGTH
    read_stream_module(text)
    haproxy_capabilities(read_version(text))


def _requests_to_agents(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        _read_number({"query_string": data}, "epoch", 0)
    for kind in REQUESTS:
        with contextlib.suppress(Malformed):
            request = _decode(data, kind)
            if isinstance(request, ConfigurationRequest):
                unpack_configuration(request)
            if isinstance(request, CertificateGrant):
                with contextlib.suppress(Lasting):
                    read_grant(request.authorities)


def _answers_of_agents(data: bytes) -> None:
    for status in (404, 409, 422, 500, 503):
        assert isinstance(_error("local", httpx.Response(status, content=data), "/v1/host"), StateraError)
    read_protocol(_text(data))
    for kind in ANSWERS:
        with contextlib.suppress(Transient):
            told: object = COMPUTE._decode("local", httpx.Response(200, content=data), kind)
            if isinstance(told, HostFacts):
                read_installed(told.name, told.engine_versions)
                read_capabilities(told.engine_versions)
            if isinstance(told, DeploymentMark):
                is_credible(told.mark, 1)


def _ipvs(data: bytes) -> None:
    """Read what the kernel tells of IPVS, and a file that was made for keepalived."""
    with contextlib.suppress(ValueError):
        parse_table(_text(data))
    with contextlib.suppress(ValueError):
        parse_file(_text(data))


def _in_file(data: bytes, suffix: str, read: Callable[[Path], object]) -> None:
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(data)
        file.flush()
        read(Path(file.name))


def _htpasswd(data: bytes) -> None:
    _in_file(data, "", _read_htpasswd)
    _read_basic(_text(data))


def _policy(data: bytes) -> None:
    short = data[:MOST_POLICY_BYTES]
    _in_file(short, ".yaml", lambda path: load_policy(IdentitySettings(policy_file=str(path))))


def _configuration(data: bytes) -> None:
    _in_file(data, ".toml", lambda path: networks_from_settings(load_settings(path, {}).networks))


def _headers(data: bytes) -> None:
    text = _text(data)
    pairs = dict(line.partition(":")[::2] for line in text.splitlines())
    errand = read_headers({name.strip().lower(): value.strip() for name, value in pairs.items()})
    _read_parent(errand.trace)
    parse_qsl(text)


def _regex(data: bytes) -> None:
    compile_regex(_text(data))
    compile_regex(_text(data), ignore_case=True)


def _pages(data: bytes) -> None:
    merge_pages({"api": _text(data), "agent": _text(data[::-1])})


TARGETS = {
    "bodies": Target(_bodies, UNREADABLE),
    "heartbeats": Target(_heartbeat, (HeartbeatRefused,)),
    "certificates": Target(_certificates),
    "barbican": Target(_barbican),
    "keystone": Target(lambda data: read_token(data), (StateraError,)),
    "haproxy": Target(_haproxy),
    "counters": Target(_counters, UNREADABLE),
    "members": Target(_answers_of_members),
    "requests": Target(_requests_to_agents),
    "answers": Target(_answers_of_agents),
    "htpasswd": Target(_htpasswd, (Refused,)),
    # Each try reads the rules of all operations, too.
    "policies": Target(_policy, (BadSettings,), tries=20),
    "configuration": Target(_configuration, (BadSettings,)),
    "headers": Target(_headers),
    "expressions": Target(_regex, (ValueError,)),
    "pages": Target(_pages),
    "queries": Target(ask_lists),
    "secrets": Target(keep_secrets),
    "explanations": Target(explain_requests, UNREADABLE),
    "engines": Target(_engines),
    "statuses": Target(tell_statuses),
    # Each try makes folders and files, which takes the longer the more the machine has to do.
    "disk": Target(read_disk, tries=100),
    "own_certificates": Target(judge_certificates),
    "ipvs": Target(_ipvs),
    "receivers": Target(receive_datagrams),
    "refusals": Target(hear_refusals),
    "plans": Target(want_trees),
    "profiles": Target(read_profiles),
}
