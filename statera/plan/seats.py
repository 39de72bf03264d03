"""Who fills each role of a topology, on which host, and whom it takes over from."""

import datetime as dt
from collections.abc import Iterator, Sequence

import msgspec

from statera.base.reason import Reason
from statera.model.amphora import Amphora, AmphoraObserved
from statera.model.enums import AmphoraRole, AmphoraStatus, Topology
from statera.plan.brain import Replace, judge_amphora
from statera.plan.placement import choose_host, list_able
from statera.plan.steps import AddAmphora, AnyStep, CondemnAmphora, GiveUpAmphora
from statera.plan.world import Unseen, World

ROLES: dict[Topology, tuple[AmphoraRole, ...]] = {
    Topology.SINGLE: (AmphoraRole.STANDALONE,),
    Topology.ACTIVE_STANDBY: (AmphoraRole.MASTER, AmphoraRole.BACKUP),
}
"""The amphorae a topology has, one of each role."""


class Seat(msgspec.Struct, frozen=True):
    """One role: the row that fills it, None while it is vacant, and the rows that it takes over from."""

    role: AmphoraRole
    row: Amphora | None
    worn: tuple[Amphora, ...]
    condemned: tuple[Amphora, ...]
    """Rows that it has taken over from: they are to go."""
    lost: dict[str, Reason]
    """Of those that it takes over from the ones that have just been found dead, and why."""


def list_seats(world: World) -> dict[AmphoraRole, Seat]:
    """Return who fills each role: the oldest row that is not to be replaced. Others of its role are too many."""
    rows = [amphora for amphora in world.amphorae if amphora.status != AmphoraStatus.PENDING_DELETE]
    verdicts = {row.id: judge_amphora(world, row) for row in rows}
    lost = {row_id: verdict.reason for row_id, verdict in verdicts.items() if isinstance(verdict, Replace)}
    given_up = {row.id for row in rows if row.status == AmphoraStatus.ERROR}
    given_up |= {row.id for row in rows if _is_misplaced(world, row)}
    worn_ids = given_up | lost.keys() | set(world.tree.load_balancer.amphorae_to_replace)
    condemned = [amphora for amphora in world.amphorae if amphora.status == AmphoraStatus.PENDING_DELETE]
    seats = {}
    for role in ROLES[world.tree.load_balancer.topology]:
        mine = [row for row in rows if row.role == role]
        row = next((row for row in mine if row.id not in worn_ids), None)
        worn = tuple(row for row in mine if row.id in worn_ids)
        former = tuple(row for row in condemned if row.role == role)
        seats[role] = Seat(role, row, worn, former, {row.id: lost[row.id] for row in worn if row.id in lost})
    return seats


def give_up(amphora_id: str, reason: Reason) -> GiveUpAmphora:
    return GiveUpAmphora(sentence=f"Give up amphora {amphora_id}.", amphora_id=amphora_id, reason=reason)


_Placed = tuple[Amphora | None, Sequence[AnyStep], Reason | None]


def place(world: World, role: AmphoraRole, row: Amphora | None, others: Sequence[str], fresh: Iterator[str]) -> _Placed:
    """Return the amphora to go on with, the steps that add it, and what stands in the way."""
    if row is not None and not (is_unbuilt(world, row) and _is_hopeless(world, row)):
        return row, (), None
    # Only beside the others: anti-affinity is worth more than a moment.
    spares = {host: one for host, one in world.spares.items() if host not in others}
    balancer = world.tree.load_balancer
    hosts = list_able(world.hosts, world.tree)
    host = choose_host(hosts, world.placed, others, zone=balancer.compute_zone, spares=spares, whose=balancer.id)
    if isinstance(host, Reason):
        sighting = world.sightings.get(row.id) if row is not None else None
        return None, (), sighting.reason if isinstance(sighting, Unseen) else host
    spare_id = spares.get(host)
    amphora = Amphora(
        id=spare_id or next(fresh),
        load_balancer_id=world.tree.load_balancer.id,
        host=host,
        role=role,
        created_at=_after(world.amphorae, world.now),
    )
    steps: list[AnyStep] = []
    if row is not None:
        why = f"Give up amphora {row.id} on host {row.host}, which cannot build it."
        steps.append(CondemnAmphora(sentence=why, amphora_id=row.id))
    verb = "Take spare" if spare_id else "Add"
    sentence = f"{verb} amphora {amphora.id} on host {host}."
    steps.append(AddAmphora(sentence=sentence, amphora=amphora, is_spare=spare_id is not None))
    return amphora, steps, None


def is_unbuilt(world: World, row: Amphora) -> bool:
    """Say whether an amphora has never served and nothing of it is seen: another host may just as well build it."""
    return has_never_served(world, row) and not is_seen(world, row)


def has_never_served(world: World, row: Amphora) -> bool:
    """Say whether no configuration has ever been live on an amphora, whatever of it is built."""
    return row.status == AmphoraStatus.PENDING_CREATE and not is_live(world, row)


def is_live(world: World, row: Amphora) -> bool:
    """Say whether an amphora is seen with a configuration that was accepted."""
    seen = world.sightings.get(row.id)
    return isinstance(seen, AmphoraObserved) and seen.generation > 0


def find_heir(world: World, rows: Sequence[Amphora]) -> Amphora | None:
    """Return which of those that are not condemned has the VIPs, or could have them alone: it is live."""
    there = [row for row in rows if is_live(world, row)]
    return min(there, key=lambda row: row.status != AmphoraStatus.ALLOCATED, default=None)


def is_seen(world: World, row: Amphora) -> bool:
    return isinstance(world.sightings.get(row.id), AmphoraObserved)


def _is_hopeless(world: World, row: Amphora) -> bool:
    host = next((host for host in world.hosts if host.name == row.host), None)
    return host is None or not host.has_room


def _is_misplaced(world: World, row: Amphora) -> bool:
    """Say whether the engines of its host cannot serve the tree and those of another host can."""
    host = next((host for host in world.hosts if host.name == row.host and host.reachable), None)
    return host is not None and has_never_served(world, row) and host not in list_able(world.hosts, world.tree)


def _after(rows: Sequence[Amphora], now: dt.datetime) -> dt.datetime:
    # Rows are ordered by age; clocks of two workers may differ.
    return max([now, *(row.created_at + dt.timedelta(microseconds=1) for row in rows)])


def doubt_end(world: World, row: Amphora) -> Reason | None:
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
