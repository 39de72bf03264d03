"""What Statera and its agents say to each other over REST, beside the model's own structs.

`GET /v1/host`, `GET /v1/amphorae`, `GET|PUT|DELETE /v1/amphorae/{id}`, `PUT /v1/amphorae/{id}/configuration`,
`GET /v1/amphorae/{id}/metrics`, `POST /v1/amphorae/{id}/check`,
`POST /v1/neighbours`; JSON. Errors carry an `AgentFault`, whose class tells
the caller what to do next.
"""

import enum
from typing import Annotated

import msgspec

from statera.base.secret import Discreet, Secret
from statera.model.document import Document
from statera.model.heartbeat import ListenerObserved, MemberObserved
from statera.model.network import Attachment
from statera.model.protocol import FIRST_PROTOCOL, since
from statera.model.spec import Configuration, SandboxSpec


class HostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent says of its host."""

    name: str
    agent_version: str
    engine_versions: dict[str, str]
    amphora_count: int
    amphora_limit: int
    protocol: Annotated[int, since(2)] = FIRST_PROTOCOL
    limited_by: Annotated[str, since(4)] = ""
    """What of the machine allows no more than the limit, in words; "" where only the option does."""


class SandboxRequest(Discreet, msgspec.Struct, frozen=True, kw_only=True):
    """Build this sandbox, or bring it to this spec."""

    unprinted = frozenset({"heartbeat_key"})
    epoch: int
    sandbox: SandboxSpec
    heartbeat_key: bytes
    """In JSON as base64. It stays in the body: never logged, never in an error."""
    deployment_id: Annotated[str, since(2)] = ""
    """Whose it is: the sweep of another deployment leaves it alone."""
    digest: Annotated[str, since(2)] = ""
    """Of the sandbox, as the controller computes it: the agent reports it as it came, so that it need not compute the
    same; "" for a controller that does not tell."""


class ConfigurationRequest(Discreet, msgspec.Struct, frozen=True, kw_only=True):
    """A `Configuration` on the wire. Like the key above, contents stay in the body."""

    unprinted = frozenset({"haproxy", "contents"})
    generation: int
    epoch: int
    haproxy: Document | None
    contents: dict[str, bytes] = {}
    digest: Annotated[str, since(2)] = ""
    """Of the document, as above; "" for none, too."""


def pack_configuration(configuration: Configuration) -> ConfigurationRequest:
    """Return what goes over the wire."""
    return ConfigurationRequest(
        generation=configuration.generation,
        epoch=configuration.epoch,
        haproxy=configuration.haproxy,
        contents={digest: content.reveal() for digest, content in configuration.contents.items()},
        digest=configuration.haproxy.digest() if configuration.haproxy is not None else "",
    )


def unpack_configuration(request: ConfigurationRequest) -> Configuration:
    """Return what came over the wire."""
    return Configuration(
        generation=request.generation,
        epoch=request.epoch,
        haproxy=request.haproxy,
        contents={digest: Secret(content) for digest, content in request.contents.items()},
        digest=request.digest,
    )


class NeighboursQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """For which of these addresses does somebody on that network answer?"""

    attachment: Attachment
    mtu: int
    addresses: tuple[str, ...]


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """What HAProxy counts in one amphora, since its own start."""

    amphora_id: str
    haproxy_running: bool
    listeners: tuple[ListenerObserved, ...]
    members: tuple[MemberObserved, ...]
    process: int = 0
    """As in `Heartbeat`; 0 when nothing was counted."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine says of a configuration that was only checked."""

    accepted: bool
    words: str = ""
    """Its own, for one that it rejects."""


class FaultKind(enum.StrEnum):
    """The classes of `base.errors`, on the wire."""

    TRANSIENT = "transient"
    LASTING = "lasting"
    LOST_CLAIM = "lost-claim"
    MALFORMED = "malformed"


class AgentFault(msgspec.Struct, frozen=True, kw_only=True):
    kind: FaultKind
    slug: str
    sentence: str
