"""What to do next for one load balancer: the world in, ordered steps with reasons out.

Level-triggered: nothing is remembered between passes. Whatever half-done state a crash left, the same function names
the steps that are missing; a world that is as it should be needs only `Settle`. Every step is idempotent.
"""

import datetime as dt
from collections.abc import Mapping, Sequence

import msgspec

from statera.base.reason import Reason
from statera.model.amphora import Amphora, AmphoraObserved, Host
from statera.model.enums import AmphoraRole, AmphoraStatus
from statera.model.network import Network
from statera.model.spec import LimitsSpec, SandboxSpec
from statera.model.tree import Tree
from statera.plan.spec import count_amphorae, decide_sandbox_spec, list_wanted_networks


class Unknown(msgspec.Struct, frozen=True):
    """What is observed of a sandbox whose host does not answer."""

    reason: Reason


Sighting = AmphoraObserved | Unknown | None
"""None: the host answers and has no such sandbox."""


class World(msgspec.Struct, frozen=True, kw_only=True):
    """All that a decision needs. `wanted_digests` is the digest of the document that each amphora should run."""

    tree: Tree
    amphorae: tuple[Amphora, ...]
    hosts: tuple[Host, ...]
    sightings: Mapping[str, Sighting]
    networks: tuple[Network, ...]
    limits: LimitsSpec
    wanted_digests: Mapping[str, str]
    fresh_ids: tuple[str, ...]
    """Ids for amphorae that are still to be made."""
    now: dt.datetime


class AddAmphora(msgspec.Struct, frozen=True):
    """Write the row first: its id names all that is built for it."""

    amphora: Amphora


class EnsurePorts(msgspec.Struct, frozen=True):
    amphora_id: str
    networks: tuple[tuple[str, tuple[str, ...]], ...]
    """(network id, subnet ids), the VIP network first."""


class EnsureSandbox(msgspec.Struct, frozen=True):
    amphora_id: str
    why: str


class Configure(msgspec.Struct, frozen=True):
    amphora_id: str
    why: str


class RemoveSandbox(msgspec.Struct, frozen=True):
    amphora_id: str
    host: str


class RemovePorts(msgspec.Struct, frozen=True):
    device_id: str
    keep: tuple[str, ...] = ()
    """Networks whose ports stay."""


class DropAmphora(msgspec.Struct, frozen=True):
    amphora_id: str


class DropLoadBalancer(msgspec.Struct, frozen=True):
    """Nothing is left outside: the row goes, and with it the load balancer."""


class Settle(msgspec.Struct, frozen=True):
    """The world is as this generation wants it."""


class Wait(msgspec.Struct, frozen=True):
    """Nothing can be done now; try again later and show why."""

    reason: Reason


Step = (
    AddAmphora
    | EnsurePorts
    | EnsureSandbox
    | Configure
    | RemoveSandbox
    | RemovePorts
    | DropAmphora
    | DropLoadBalancer
    | Settle
    | Wait
)


class Plan(msgspec.Struct, frozen=True):
    """Steps to carry out in order; the last one is `Settle`, `DropLoadBalancer` or `Wait`."""

    steps: tuple[Step, ...]


def decide_plan(world: World) -> Plan:
    """Return the steps from this world to the wanted one."""
    steps = _plan_deletion(world) if world.tree.load_balancer.deleting else _plan_service(world)
    return Plan(tuple(steps))


def _plan_deletion(world: World) -> list[Step]:
    steps: list[Step] = []
    for amphora in world.amphorae:
        steps += _removal_steps(world, amphora)
        if isinstance(steps[-1], Wait):
            return steps
    if world.tree.load_balancer.owns_vip_port:
        steps.append(RemovePorts(world.tree.load_balancer.id))
    return [*steps, DropLoadBalancer()]


def _removal_steps(world: World, amphora: Amphora) -> list[Step]:
    seen = world.sightings.get(amphora.id)
    if isinstance(seen, Unknown):
        return [Wait(seen.reason)]
    # Asked even when nothing was seen: files of a half-made sandbox may be there, and it costs nothing.
    return [RemoveSandbox(amphora.id, amphora.host), RemovePorts(amphora.id), DropAmphora(amphora.id)]


def _plan_service(world: World) -> list[Step]:
    steps: list[Step] = []
    wanted = count_amphorae(world.tree.load_balancer)
    kept, surplus = world.amphorae[:wanted], world.amphorae[wanted:]
    for fresh_id in world.fresh_ids[: wanted - len(kept)]:
        host = choose_host(world.hosts, taken=[amphora.host for amphora in kept])
        if isinstance(host, Reason):
            return [*steps, Wait(host)]
        row = Amphora(
            id=fresh_id,
            load_balancer_id=world.tree.load_balancer.id,
            host=host.name,
            role=AmphoraRole.STANDALONE,
            status=AmphoraStatus.PENDING_CREATE,
            created_at=world.now,
        )
        kept = (*kept, row)
        steps.append(AddAmphora(row))
    for amphora in kept:
        steps += _build_steps(world, amphora)
        if steps and isinstance(steps[-1], Wait):
            return steps
    for amphora in surplus:
        steps += _removal_steps(world, amphora)
        if isinstance(steps[-1], Wait):
            return steps
    return [*steps, Settle()]


def choose_host(hosts: Sequence[Host], *, taken: Sequence[str]) -> Host | Reason:
    """Return the least loaded host with room, one without another amphora of this load balancer first, else why not."""
    open_hosts = [host for host in hosts if host.has_room]
    if open_hosts:
        return min(open_hosts, key=lambda host: (host.name in taken, host.amphora_count, host.name))
    silent = [host for host in hosts if not host.reachable]
    if len(silent) == len(hosts):
        told = next((host.reason.sentence for host in silent if host.reason), "No host is configured.")
        return Reason(slug="no-host-reachable", sentence=f"No host for an amphora answers. {told}")
    full = [host for host in hosts if host.reachable]
    counts = ", ".join(f"{host.name} has {host.amphora_count} of {host.amphora_limit}" for host in full)
    return Reason(slug="host-full", sentence=f"No host has room for another amphora: {counts}.")


def _build_steps(world: World, amphora: Amphora) -> list[Step]:
    seen = world.sightings.get(amphora.id)
    if isinstance(seen, Unknown):
        return [Wait(seen.reason)]
    networks = list_wanted_networks(world.tree, world.networks)
    if not _has_ports(amphora, networks):
        why = "Its ports are not all allocated yet."
        return [EnsurePorts(amphora.id, networks), EnsureSandbox(amphora.id, why), Configure(amphora.id, why)]
    steps: list[Step] = []
    sandbox = decide_sandbox_spec(world.tree, amphora, world.networks, world.limits)
    if why := _sandbox_fault(seen, sandbox):
        steps.append(EnsureSandbox(amphora.id, why))
    if why := _configuration_fault(seen, world.wanted_digests.get(amphora.id, ""), wanted_built=bool(steps)):
        steps.append(Configure(amphora.id, why))
    surplus = {port.network_id for port in amphora.ports} - {network_id for network_id, _ in networks}
    if surplus:
        # The sandbox first leaves the network; its addresses there are free only after that.
        kept = tuple(network_id for network_id, _ in networks)
        steps += [EnsurePorts(amphora.id, networks), EnsureSandbox(amphora.id, "A network is no longer needed.")]
        steps.append(RemovePorts(amphora.id, keep=kept))
    return steps


def _has_ports(amphora: Amphora, networks: Sequence[tuple[str, tuple[str, ...]]]) -> bool:
    held = {port.network_id: {place.subnet_id for place in port.addresses} for port in amphora.ports}
    return all(set(subnets) <= held.get(network_id, {""}) - {""} for network_id, subnets in networks if subnets) and all(
        network_id in held for network_id, _ in networks
    )


def _sandbox_fault(seen: AmphoraObserved | None, sandbox: SandboxSpec) -> str:
    if seen is None:
        return "Its host has no sandbox for it."
    return "" if seen.sandbox_digest == sandbox.digest() else "Its sandbox is not as wanted."


def _configuration_fault(seen: AmphoraObserved | None, wanted_digest: str, *, wanted_built: bool) -> str:
    if seen is None or wanted_built:
        return "Its sandbox is new or changed."
    if not seen.haproxy_running and seen.configuration_digest:
        return "HAProxy is not running."
    return "" if seen.configuration_digest == wanted_digest else "Its configuration is not the wanted one."
