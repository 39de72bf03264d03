"""Amphorae: the rows that say which ones there should be, and what agents and heartbeats tell of them."""

import datetime as dt
from typing import Annotated

import msgspec

from statera.base.reason import Reason
from statera.model.enums import AmphoraRole, AmphoraStatus
from statera.model.network import Port
from statera.model.protocol import FIRST_PROTOCOL, since


class Amphora(msgspec.Struct, frozen=True, kw_only=True):
    """One load-balancing unit. The row exists before anything is built; its id names every outside resource."""

    id: str
    load_balancer_id: str
    """"" for a spare."""
    host: str
    role: AmphoraRole = AmphoraRole.STANDALONE
    status: AmphoraStatus = AmphoraStatus.PENDING_CREATE
    ports: tuple[Port, ...] = ()
    """Its own ports, one per network it is on, the VIP network's first; empty until they are allocated."""
    created_at: dt.datetime
    updated_at: dt.datetime | None = None
    last_heartbeat_at: dt.datetime | None = None
    has_vips: bool | None = None
    """Whether it had the VIPs that it shares when it was heard last; None: it shares none, or is not heard."""
    reason: Reason | None = None


class Spare(msgspec.Struct, frozen=True, kw_only=True):
    """An amphora that belongs to no load balancer yet: a sandbox without interfaces that stands ready."""

    id: str
    host: str
    is_ready: bool = False
    """It has been built, and may be taken."""
    is_condemned: bool = False
    """It is to go, and nobody may take it."""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that runs `statera agent`, as it described itself last."""

    name: str
    reachable: bool
    is_alive: bool = True
    """Whether the machine gives any sign of life: an agent may be down while traffic flows."""
    reason: Reason | None = None
    """Why it is not reachable."""
    amphora_count: int = 0
    amphora_limit: int = 1000
    limited_by: str = ""
    """What of the machine allows no more than that, in words; "" where only its option does."""
    agent_version: str = ""
    protocol: int = FIRST_PROTOCOL
    """What its agent understands."""
    engine_versions: dict[str, str] = {}
    """Engine name to version text: `{"haproxy": "2.6.12", "keepalived": "2.2.7"}`."""
    zone: str | None = ""
    """The compute zone it is in, "" for none; None: it stands for any."""
    draining: bool = False
    """Whether an operator empties it."""

    @property
    def has_room(self) -> bool:
        return self.reachable and not self.draining and self.amphora_count < self.amphora_limit


class AmphoraObserved(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent says of one sandbox. A fact, not a wish."""

    id: str
    load_balancer_id: str
    deployment_id: Annotated[str, since(2)] = ""
    """Who made it; "" for an agent that does not know yet."""
    epoch: int
    """Highest epoch the agent has accepted for it."""
    generation: int
    """Generation of the live configuration, 0 before the first."""
    sandbox_digest: str
    """Digest of the `SandboxSpec` it is built to, as it came with the request."""
    configuration_digest: str
    """Digest of the live `Document`, "" before the first."""
    haproxy_running: bool
    broken_s: Annotated[float, since(2)] = 0.0
    """Seconds for which it has not served although it should, by the host's clock; 0 when all is well."""
    has_vips: Annotated[bool | None, since(2)] = None
    """Whether it has the VIPs that it shares with others; None for one that shares none."""
    reason: Reason | None = None


class AppliedConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """How the agent brought a configuration live."""

    means: str
    """`unchanged`, `runtime` or `reload`."""
    why: str = ""
    """For a reload: what could not be changed at run time."""
