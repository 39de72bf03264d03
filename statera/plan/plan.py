"""What to do next for one load balancer: a world in, an ordered plan out.

Entry: `decide_plan`. It looks only at the world, never at how it came about, so a pass that was cut off anywhere needs
no repair: the next plan holds what is left. The order keeps two rules. A row is written before anything outside carries
its id and deleted after the last such thing is gone. Traffic is moved before what it used is taken away.
"""

import datetime as dt
from collections.abc import Iterator, Sequence

import msgspec

from statera.base.errors import Transient
from statera.base.reason import Reason
from statera.model.amphora import Amphora, AmphoraObserved
from statera.model.enums import AmphoraRole, AmphoraStatus, Topology
from statera.plan.brain import Hold, Replace, judge_amphora, needs_lookout
from statera.plan.placement import choose_host
from statera.plan.spec import decide_sandbox_spec, list_wanted_networks
from statera.plan.steps import (
    AddAmphora,
    AnyStep,
    CondemnAmphora,
    Configure,
    ConfirmAmphora,
    DropAmphora,
    DropLoadBalancer,
    EnsurePorts,
    EnsureSandbox,
    GiveUpAmphora,
    Plan,
    PortWanted,
    ReleasePorts,
    ReleaseVip,
    RemovePorts,
    RemoveSandbox,
    Settle,
    Wait,
)
from statera.plan.world import Unseen, World

ROLES: dict[Topology, tuple[AmphoraRole, ...]] = {
    Topology.SINGLE: (AmphoraRole.STANDALONE,),
    Topology.ACTIVE_STANDBY: (AmphoraRole.MASTER, AmphoraRole.BACKUP),
}
"""The amphorae a topology has, one of each role."""

MOST_FRESH_IDS = max(len(roles) for roles in ROLES.values())


def needs_hosts(world: World) -> bool:
    """Say whether `decide_plan` chooses a host and so must know them: their observation costs a round to each."""
    if world.tree.load_balancer.deleting:
        return False
    rows = [seat.row for seat in _list_seats(world).values()]
    return needs_lookout(world) or any(row is None or _is_unbuilt(world, row) for row in rows)


def decide_plan(world: World) -> Plan:
    """Return the steps that make true what is wanted; only `Settle` when it is true already."""
    if world.tree.load_balancer.deleting:
        return Plan(tuple(_plan_removal(world)))
    home = world.tree.load_balancer.vip.network_id
    if all(network.id != home for network in world.networks):
        reason = Reason(slug="network-unknown", sentence=f"Network {home} is not known to the network driver.")
        return Plan((_wait(reason),))
    return Plan(tuple(_plan_service(world)))


# A load balancer that is wanted


class _Seat(msgspec.Struct, frozen=True):
    """One role: the row that fills it, None while it is vacant, and the rows that it takes over from."""

    row: Amphora | None
    worn: tuple[Amphora, ...]
    condemned: tuple[Amphora, ...]
    """Rows that it has taken over from: they are to go."""
    lost: dict[str, Reason]
    """Of those that it takes over from the ones that have just been found dead, and why."""


def _plan_service(world: World) -> Iterator[AnyStep]:
    seats = _list_seats(world)
    fresh = iter(world.fresh_ids)
    blocked: list[Reason] = []
    serving: set[str] = set()
    added: list[str] = []
    gone: list[Amphora] = []
    for role, seat in seats.items():
        others = [other.row.host for name, other in seats.items() if other.row is not None and name != role]
        avoid = [*others, *added, *(row.host for row in seat.worn)]
        amphora, steps, reason = _place(world, role, seat.row, avoid, fresh)
        if amphora is not None:
            yield from (_give_up(row_id, why) for row_id, why in seat.lost.items())
        yield from steps
        added += [step.amphora.host for step in steps if isinstance(step, AddAmphora)]
        troubles = [reason] if reason is not None else []
        if amphora is not None:
            serving.add(amphora.id)
            outlived = _list_outlived(world, amphora, seat)
            yield from _plan_seat(world, amphora, seat.worn, troubles, outlived=outlived)
            gone += outlived
        if troubles:
            yield from _plan_incumbent(world, seat.worn, troubles)
        blocked += troubles
    if blocked:
        yield _wait(blocked[0])
        return
    # One that cannot be removed now holds nobody up: a re-check comes back to it.
    rest = [amphora for amphora in world.amphorae if amphora.id not in serving and amphora not in gone]
    unseen = [amphora for amphora in rest if isinstance(world.sightings.get(amphora.id), Unseen)]
    for amphora in rest:
        if amphora not in unseen:
            yield from _remove_amphora(amphora)
    generation = world.tree.load_balancer.generation
    sentence = f"Settle generation {generation}."
    yield Settle(sentence=sentence, generation=generation, leaves_traces=bool(unseen))


def _list_seats(world: World) -> dict[AmphoraRole, _Seat]:
    """Return who fills each role: the oldest row that is not to be replaced. Others of its role are too many."""
    rows = [amphora for amphora in world.amphorae if amphora.status != AmphoraStatus.PENDING_DELETE]
    verdicts = {row.id: judge_amphora(world, row) for row in rows}
    lost = {row_id: verdict.reason for row_id, verdict in verdicts.items() if isinstance(verdict, Replace)}
    given_up = {row.id for row in rows if row.status == AmphoraStatus.ERROR}
    worn_ids = given_up | lost.keys() | set(world.tree.load_balancer.amphorae_to_replace)
    condemned = [amphora for amphora in world.amphorae if amphora.status == AmphoraStatus.PENDING_DELETE]
    seats = {}
    for role in ROLES[world.tree.load_balancer.topology]:
        mine = [row for row in rows if row.role == role]
        row = next((row for row in mine if row.id not in worn_ids), None)
        worn = tuple(row for row in mine if row.id in worn_ids)
        former = tuple(row for row in condemned if row.role == role)
        seats[role] = _Seat(row, worn, former, {row.id: lost[row.id] for row in worn if row.id in lost})
    return seats


def _give_up(amphora_id: str, reason: Reason) -> GiveUpAmphora:
    return GiveUpAmphora(sentence=f"Give up amphora {amphora_id}.", amphora_id=amphora_id, reason=reason)


_Placed = tuple[Amphora | None, Sequence[AnyStep], Reason | None]


def _place(
    world: World, role: AmphoraRole, row: Amphora | None, others: Sequence[str], fresh: Iterator[str]
) -> _Placed:
    """Return the amphora to go on with, the steps that add it, and what stands in the way."""
    if row is not None and not (_is_unbuilt(world, row) and _is_hopeless(world, row)):
        return row, (), None
    host = choose_host(world.hosts, world.placed, others, zone=world.tree.load_balancer.compute_zone)
    if isinstance(host, Reason):
        sighting = world.sightings.get(row.id) if row is not None else None
        return None, (), sighting.reason if isinstance(sighting, Unseen) else host
    amphora = Amphora(
        id=next(fresh),
        load_balancer_id=world.tree.load_balancer.id,
        host=host,
        role=role,
        created_at=_after(world.amphorae, world.now),
    )
    steps: list[AnyStep] = []
    if row is not None:
        why = f"Give up amphora {row.id} on host {row.host}, which cannot build it."
        steps.append(CondemnAmphora(sentence=why, amphora_id=row.id))
    steps.append(AddAmphora(sentence=f"Add amphora {amphora.id} on host {host}.", amphora=amphora))
    return amphora, steps, None


def _is_unbuilt(world: World, row: Amphora) -> bool:
    """Say whether an amphora has never served and nothing of it is seen: another host may just as well build it."""
    return row.status == AmphoraStatus.PENDING_CREATE and not _is_seen(world, row)


def _is_seen(world: World, row: Amphora) -> bool:
    return isinstance(world.sightings.get(row.id), AmphoraObserved)


def _is_hopeless(world: World, row: Amphora) -> bool:
    host = next((host for host in world.hosts if host.name == row.host), None)
    return host is None or not host.has_room


def _after(rows: Sequence[Amphora], now: dt.datetime) -> dt.datetime:
    # Rows are ordered by age; clocks of two workers may differ.
    return max([now, *(row.created_at + dt.timedelta(microseconds=1) for row in rows)])


# Taking over: the successor is made ready beside the amphora that serves, then the VIP moves, then the old one goes


def _list_outlived(world: World, amphora: Amphora, seat: _Seat) -> list[Amphora]:
    """Return those that are removed before their successor, live since it took over, is configured anew.

    A configuration that is rejected then keeps the VIP from being on two of them for as long as it is wanted.
    """
    seen = world.sightings.get(amphora.id)
    is_live = isinstance(seen, AmphoraObserved) and seen.generation > 0
    return [row for row in seat.condemned if is_live and not isinstance(world.sightings.get(row.id), Unseen)]


def _plan_seat(
    world: World, amphora: Amphora, worn: Sequence[Amphora], troubles: list[Reason], *, outlived: Sequence[Amphora]
) -> Iterator[AnyStep]:
    """Plan the amphora that fills a role from now on. What stands in the way goes into `troubles`."""
    doubts = [reason for row in worn if (reason := _doubt_end(world, row)) is not None]
    seen = [row for row in worn if _is_seen(world, row)]
    # One that has taken over already keeps the VIP, whoever else is to go now.
    has_taken_over = amphora.status == AmphoraStatus.ALLOCATED and _is_seen(world, amphora)
    stands_by = bool(doubts or seen) and not has_taken_over
    steps = [*_plan_amphora(world, amphora, troubles, with_vips=not stands_by)]
    at = next((number for number, step in enumerate(steps) if isinstance(step, Configure)), len(steps))
    yield from steps[:at]
    for row in outlived:
        yield from _remove_amphora(row)
    yield from steps[at:]
    troubles += doubts
    if troubles:
        return
    for row in worn:
        # From here on the successor is the one that serves, wherever this pass is cut off.
        yield CondemnAmphora(sentence=f"Amphora {amphora.id} takes over from amphora {row.id}.", amphora_id=row.id)
    if stands_by:
        networks = tuple(network_id for network_id, _ in list_wanted_networks(world.tree, world.networks))
        yield EnsureSandbox(
            sentence=f"Move the VIP to amphora {amphora.id}.", amphora_id=amphora.id, network_ids=networks
        )
        yield _confirm(amphora)


def _doubt_end(world: World, row: Amphora) -> Reason | None:
    """Return why an amphora that is to be replaced may still serve although its host does not answer.

    Two that have the VIP would be worse than none that can be edited: the host's silence alone does not prove an end,
    missing heartbeats beside it and the order to replace it do.
    """
    sighting = world.sightings.get(row.id)
    if not isinstance(sighting, Unseen):
        return None
    heard_at = row.last_heartbeat_at or row.created_at
    if row.status == AmphoraStatus.ERROR and row.updated_at is not None:
        # It was given up with proof, which holds unless it is heard again.
        return sighting.reason if heard_at > row.updated_at else None
    if isinstance(judge_amphora(world, row), Replace):
        return None
    silent_s = (world.now - heard_at).total_seconds()
    return sighting.reason if silent_s < world.silent_after_s else None


def _plan_incumbent(world: World, worn: Sequence[Amphora], troubles: list[Reason]) -> Iterator[AnyStep]:
    """Let the amphora that is to be replaced serve, edits included, while nobody can take over from it."""
    incumbent = next((row for row in worn if _is_seen(world, row)), None)
    if incumbent is not None:
        yield from _plan_amphora(world, incumbent, troubles)


# One amphora


def _plan_amphora(
    world: World, amphora: Amphora, blocked: list[Reason], *, with_vips: bool = True
) -> Iterator[AnyStep]:
    """Plan one amphora that should serve, or stand by without the VIPs. What stands in the way goes into `blocked`."""
    sighting = world.sightings.get(amphora.id)
    if isinstance(sighting, Unseen):
        verdict = judge_amphora(world, amphora)
        blocked.append(verdict.reason if isinstance(verdict, Hold) else sighting.reason)
        return
    wanted = tuple(
        PortWanted(network_id=network_id, subnet_ids=subnet_ids)
        for network_id, subnet_ids in list_wanted_networks(world.tree, world.networks)
    )
    missing = [port for port in wanted if not _has_port(amphora, port)]
    if missing:
        yield EnsurePorts(sentence=f"Allocate the ports of amphora {amphora.id}.", amphora_id=amphora.id, ports=wanted)
    try:
        yield from _plan_sandbox(world, amphora, sighting, wanted, all_known=not missing, with_vips=with_vips)
    except Transient as error:
        blocked.append(error.reason)


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
    if not _is_configured(world, amphora, seen):
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
        yield _confirm(amphora)


def _confirm(amphora: Amphora) -> ConfirmAmphora:
    return ConfirmAmphora(sentence=f"Amphora {amphora.id} serves.", amphora_id=amphora.id)


def _sandbox_digest(world: World, amphora: Amphora, network_ids: Sequence[str], with_vips: bool) -> str:
    there = with_networks(amphora, network_ids)
    return decide_sandbox_spec(world.tree, there, world.networks, world.limits, with_vips=with_vips).digest()


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


# A load balancer that is to go


def _plan_removal(world: World) -> Iterator[AnyStep]:
    blocked: list[Reason] = []
    for amphora in world.amphorae:
        sighting = world.sightings.get(amphora.id)
        if isinstance(sighting, Unseen):
            blocked.append(sighting.reason)
        else:
            yield from _remove_amphora(amphora)
    if blocked:
        yield _wait(blocked[0])
        return
    balancer = world.tree.load_balancer
    if balancer.owns_vip_port:
        yield ReleaseVip(sentence=f"Free the VIP {balancer.vip.address}.")
    yield DropLoadBalancer(sentence=f"Delete load balancer {balancer.id}.")


def _remove_amphora(amphora: Amphora) -> Iterator[AnyStep]:
    # Also when nothing is seen: an interrupted worker's request may still be on its way, and removing is idempotent.
    yield RemoveSandbox(
        sentence=f"Remove the sandbox of amphora {amphora.id} from host {amphora.host}.",
        amphora_id=amphora.id,
        host=amphora.host,
    )
    yield RemovePorts(sentence=f"Free the ports of amphora {amphora.id}.", amphora_id=amphora.id)
    yield DropAmphora(sentence=f"Drop amphora {amphora.id}.", amphora_id=amphora.id)


def _wait(reason: Reason) -> Wait:
    return Wait(sentence=f"Wait: {reason.sentence}", reason=reason)
