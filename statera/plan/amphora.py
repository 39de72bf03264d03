"""Steps for one amphora: its ports, its sandbox, its configuration, its end."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from statera.base.errors import Transient
from statera.base.reason import Reason
from statera.model.amphora import Amphora, AmphoraObserved
from statera.model.enums import AmphoraStatus
from statera.plan.brain import Hold, judge_amphora
from statera.plan.seats import is_seen
from statera.plan.spec import decide_sandbox_spec, list_wanted_networks
from statera.plan.steps import (
    AnyStep,
    Configure,
    ConfirmAmphora,
    DropAmphora,
    EnsurePorts,
    EnsureSandbox,
    PortWanted,
    ReleasePorts,
    RemovePorts,
    RemoveSandbox,
    Wait,
)
from statera.plan.world import Unseen, World


def plan_amphora(
    world: World, amphora: Amphora, blocked: list[Reason], *, with_vips: bool = True, refresh: bool = False
) -> Iterator[AnyStep]:
    """Plan one amphora that should serve, or stand by without the VIPs. What stands in the way goes into `blocked`.

    `refresh`: the ports are being allocated already, and what it knows of the others does not hold any more.
    """
    sighting = world.sightings.get(amphora.id)
    if isinstance(sighting, Unseen):
        verdict = judge_amphora(world, amphora)
        blocked.append(verdict.reason if isinstance(verdict, Hold) else sighting.reason)
        return
    wanted = _list_ports(world)
    is_known = not refresh and has_ports(world, amphora)
    if not refresh:
        yield from ensure_ports(world, amphora)
    try:
        yield from _plan_sandbox(world, amphora, sighting, wanted, all_known=is_known, with_vips=with_vips)
    except Transient as error:
        blocked.append(error.reason)


def ensure_ports(world: World, amphora: Amphora) -> Iterator[AnyStep]:
    """Allocate the ports of an amphora, if any is missing."""
    if not has_ports(world, amphora):
        wanted = _list_ports(world)
        yield EnsurePorts(sentence=f"Allocate the ports of amphora {amphora.id}.", amphora_id=amphora.id, ports=wanted)


def has_ports(world: World, amphora: Amphora) -> bool:
    """Say whether an amphora has all ports that it needs."""
    return all(_has_port(amphora, port) for port in _list_ports(world))


def _list_ports(world: World) -> tuple[PortWanted, ...]:
    return tuple(
        PortWanted(network_id=network_id, subnet_ids=subnet_ids)
        for network_id, subnet_ids in list_wanted_networks(world.tree, world.networks)
    )


def _has_port(amphora: Amphora, wanted: PortWanted) -> bool:
    port = next((port for port in amphora.ports if port.network_id == wanted.network_id), None)
    return port is not None and set(wanted.subnet_ids) <= {place.subnet_id for place in port.addresses}


def _plan_sandbox(
    world: World,
    amphora: Amphora,
    seen: AmphoraObserved | None,
    wanted: Sequence[PortWanted],
    *,
    all_known: bool,
    with_vips: bool,
) -> Iterator[AnyStep]:
    """Plan sandbox and configuration. Interfaces come before the configuration that uses them, and go after it."""
    keep = tuple(port.network_id for port in wanted)
    surplus = tuple(port.network_id for port in amphora.ports if port.network_id not in keep)
    final = _sandbox_digest(world, amphora, keep, with_vips) if all_known else ""
    built = seen.sandbox_digest if seen is not None else None
    is_final = built is not None and built == final
    if not is_final:
        both = _sandbox_digest(world, amphora, (*keep, *surplus), with_vips) if all_known and surplus else ""
        if not both or built != both:
            verb = "Build" if seen is None else "Change"
            yield EnsureSandbox(
                sentence=f"{verb} the sandbox of amphora {amphora.id} on host {amphora.host}.",
                amphora_id=amphora.id,
                network_ids=(*keep, *surplus),
                with_vips=with_vips,
            )
    generation = world.tree.load_balancer.generation
    if not all_known or not _is_configured(world, amphora, seen):
        yield Configure(sentence=f"Configure amphora {amphora.id} to generation {generation}.", amphora_id=amphora.id)
    if surplus:
        if not is_final:
            yield EnsureSandbox(
                sentence=f"Take unused interfaces from amphora {amphora.id}.",
                amphora_id=amphora.id,
                network_ids=keep,
                with_vips=with_vips,
            )
        yield ReleasePorts(
            sentence=f"Free unused ports of amphora {amphora.id}.", amphora_id=amphora.id, keep_networks=keep
        )
    if with_vips and amphora.status != AmphoraStatus.ALLOCATED:
        yield confirm(amphora)


def take_vips(world: World, worn: Sequence[Amphora]) -> Iterator[AnyStep]:
    """Take the VIPs from amphorae that are to be replaced and do not keep them."""
    for row in worn:
        if row.status != AmphoraStatus.PENDING_DELETE and is_seen(world, row):
            yield from prepare(plan_amphora(world, row, [], with_vips=False))


def give_vips(world: World, row: Amphora, blocked: list[Reason]) -> Iterator[AnyStep]:
    """Give the VIPs to an amphora that is live, before anything is configured. What hinders it goes into `blocked`."""
    yield from prepare(plan_amphora(world, row, blocked))


def prepare(steps: Iterable[AnyStep]) -> Iterator[AnyStep]:
    """Pass what makes a sandbox ready for its configuration."""
    return itertools.takewhile(lambda step: isinstance(step, EnsurePorts | EnsureSandbox), steps)


def confirm(amphora: Amphora) -> ConfirmAmphora:
    return ConfirmAmphora(sentence=f"Amphora {amphora.id} serves.", amphora_id=amphora.id)


def join(world: World, amphora: Amphora, sentence: str) -> EnsureSandbox:
    """Give a sandbox that is ready the VIPs, or its part in sharing them."""
    networks = tuple(network_id for network_id, _ in list_wanted_networks(world.tree, world.networks))
    return EnsureSandbox(sentence=sentence, amphora_id=amphora.id, network_ids=networks)


def decide_digest(world: World, amphora: Amphora) -> str:
    """Return the digest of the sandbox that an amphora should have, "" while it cannot be told."""
    networks = tuple(network_id for network_id, _ in list_wanted_networks(world.tree, world.networks))
    try:
        return _sandbox_digest(world, amphora, networks, with_vips=True) if has_ports(world, amphora) else ""
    except Transient:
        return ""


def _sandbox_digest(world: World, amphora: Amphora, network_ids: Sequence[str], with_vips: bool) -> str:
    there = with_networks(amphora, network_ids)
    spec = decide_sandbox_spec(
        world.tree, there, world.networks, world.limits, with_vips=with_vips, rows=world.amphorae
    )
    return spec.digest()


def with_networks(amphora: Amphora, network_ids: Sequence[str]) -> Amphora:
    """Return the amphora with only its ports on these networks."""
    ports = tuple(port for port in amphora.ports if port.network_id in network_ids)
    return msgspec.structs.replace(amphora, ports=ports)


def _is_configured(world: World, amphora: Amphora, seen: AmphoraObserved | None) -> bool:
    """Say whether the wanted document is live. One of an older generation is not, even when it is equal:

    which edits are live is told by the generation that the amphora reports.
    """
    wanted = world.configurations.get(amphora.id)
    if seen is None or wanted is None or seen.generation != world.tree.load_balancer.generation:
        return False
    return seen.configuration_digest == wanted and seen.haproxy_running == bool(wanted)


def remove_amphora(amphora: Amphora, *, hands_over: bool = False) -> Iterator[AnyStep]:
    """Remove an amphora and all that carries its id; one that hands over finishes its connections first."""
    # Also when nothing is seen: an interrupted worker's request may still be on its way, and removing is idempotent.
    yield RemoveSandbox(
        sentence=f"Remove the sandbox of amphora {amphora.id} from host {amphora.host}.",
        amphora_id=amphora.id,
        host=amphora.host,
        hands_over=hands_over,
    )
    yield RemovePorts(sentence=f"Free the ports of amphora {amphora.id}.", amphora_id=amphora.id)
    yield DropAmphora(sentence=f"Drop amphora {amphora.id}.", amphora_id=amphora.id)


def wait(reason: Reason) -> Wait:
    return Wait(sentence=f"Wait: {reason.sentence}", reason=reason)
