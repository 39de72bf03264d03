"""Plan amphorae that share the VIPs, and the change between them and a single one.

All rows and their ports come first: each must know the addresses of all others before it takes part. Then those that
serve learn of those that come, and only then do these take part: who hears nobody takes the VIPs. Those that go stay
until the others are ready, hand the VIPs over and finish their connections.
"""

from collections.abc import Iterable, Iterator, Sequence

from statera.base.reason import Reason
from statera.model.amphora import Amphora, AmphoraObserved
from statera.model.enums import AmphoraStatus, Topology
from statera.model.vrrp import PRIORITIES
from statera.plan.amphora import (
    confirm,
    decide_digest,
    ensure_ports,
    give_vips,
    has_ports,
    join,
    plan_amphora,
    prepare,
    remove_amphora,
    take_vips,
    wait,
)
from statera.plan.brain import Hold, judge_amphora
from statera.plan.seats import Seat, doubt_end, find_heir, give_up, is_live, is_seen, list_seats, place
from statera.plan.steps import AddAmphora, AnyStep, CondemnAmphora, Configure, Settle
from statera.plan.world import Unseen, World


def needs_sharing(world: World) -> bool:
    """Say whether some amphora shares the VIPs, or shall."""
    wanted = world.tree.load_balancer.topology == Topology.ACTIVE_STANDBY
    return wanted or any(row.role in PRIORITIES for row in world.amphorae)


def plan_sharing(world: World) -> Iterator[AnyStep]:
    """Plan a load balancer that is wanted."""
    seats = list_seats(world)
    members, steps, blocked = _fill_seats(world, seats.values())
    yield from steps
    leaving = [row for row in world.amphorae if row not in members]
    lost = {row_id for seat in seats.values() for row_id in seat.lost}
    left = [row for row in leaving if row.id not in lost]
    serving = [row for row in left if _has_taken_over(world, row)]
    told = [row for row in (*serving, *members) if not isinstance(world.sightings.get(row.id), Unseen)]
    is_new = any(isinstance(step, AddAmphora) for step in steps)
    refresh = is_new or not all(has_ports(world, row) for row in told)
    kept = [row for row in members if _has_taken_over(world, row)]
    doubts = [reason for row in leaving if (reason := _doubt(world, row)) is not None]
    substitute: Amphora | None = None
    if not serving and not doubts:
        if not _has_live(world, kept) and _has_live(world, left):
            # What they served is lost: who is live has the VIPs until they are configured anew.
            kept = []
        substitute = None if kept else _find_substitute(world, members, leaving)
    followed = kept if substitute is None else [substitute]
    if serving or _has_live(world, followed):
        yield from take_vips(world, [row for row in leaving if row not in serving])
    elif not doubts:
        yield from _gather_vips(world, left)
    sharing = [*followed, *(row for row in serving if row.role in PRIORITIES)]
    finish, outlived = _finish_takeover(world, leaving, sharing, is_doubtful=bool(doubts))
    if substitute is None:
        yield from finish
    for row in told:
        yield from ensure_ports(world, row)

    joined = [row for row in members if row in followed or (is_live(world, row) and _has_joined(world, row))]
    strays = [row for row in members if row not in joined and is_live(world, row)]
    first = [*serving, *followed, *(strays if _has_live(world, (*serving, *followed)) else ())]
    troubles: dict[str, list[Reason]] = {row.id: [] for row in (*serving, *members)}
    rests: dict[str, list[AnyStep]] = {}
    for row in first:
        steps = [*plan_amphora(world, row, troubles[row.id], refresh=refresh, with_vips=row not in strays)]
        # Who was away learns with whom it shares, or that it has the VIPs no more, before anything is configured, which
        # may be rejected for long.
        begun = [*prepare(steps)]
        yield from begun
        rests[row.id] = steps[len(begun) :]
    if substitute is not None:
        # Only once it has the VIPs.
        finish, outlived = ([], []) if troubles[substitute.id] else (finish, outlived)
        yield from finish
    for row in serving:
        # What stands in its way holds nobody up: it is to go.
        yield from rests[row.id]
    ready: list[Amphora] = []
    absent: list[Reason] = []
    for row in [*followed, *(member for member in members if member not in followed)]:
        if row.id in rests:
            yield from rests[row.id]
        else:
            yield from plan_amphora(world, row, troubles[row.id], refresh=refresh, with_vips=row in joined)
        if not troubles[row.id]:
            ready.append(row)
        elif row.status == AmphoraStatus.ALLOCATED and isinstance(world.sightings.get(row.id), Unseen):
            absent += troubles[row.id]
        else:
            blocked += troubles[row.id]
    fresh = [row for row in ready if row not in joined]
    doubts += [reason for row in members if fresh and (reason := _doubt_hearing(world, row)) is not None]
    for row in fresh if not doubts else ():
        yield join(world, row, f"Amphora {row.id} takes part in sharing the VIPs.")
        yield confirm(row)
    blocked += doubts or ([] if ready else absent)
    if blocked:
        yield wait(blocked[0])
        return
    # Whose successor is out of reach stays: it may be the only one that serves.
    missing = {row.role for row in members if row not in ready}
    going = [row for row in leaving if row.role not in missing and row not in outlived]
    yield from _end(world, going, ready, outlived=outlived, leaves_traces=bool(absent))


def _fill_seats(world: World, found: Iterable[Seat]) -> tuple[list[Amphora], list[AnyStep], list[Reason]]:
    """Return who is to serve from now on, the steps that add who is missing, and what stands in the way."""
    members: list[Amphora] = []
    steps: list[AnyStep] = []
    blocked: list[Reason] = []
    fresh, seats = iter(world.fresh_ids), tuple(found)
    for seat in seats:
        others = [one.row.host for one in seats if one.row is not None and one is not seat]
        avoid = [*others, *(member.host for member in members), *(row.host for row in seat.worn)]
        amphora, added, reason = place(world, seat.role, seat.row, avoid, fresh)
        if amphora is not None:
            members.append(amphora)
            steps += [give_up(row_id, why) for row_id, why in seat.lost.items()]
        steps += added
        blocked += [reason] if reason is not None else []
    return members, steps, blocked


def _finish_takeover(
    world: World, leaving: Sequence[Amphora], sharing: Sequence[Amphora], *, is_doubtful: bool
) -> tuple[list[AnyStep], list[Amphora]]:
    """Finish what was cut off, or met a host that comes back only now. Return the steps and who is removed.

    Whoever has taken over has the VIP alone before anything is configured, which may be rejected for long: those that
    share it, also when they are to be replaced in turn, or a single one, whatever it has followed, in whose take-over
    sharing was asked for. `is_doubtful`: one that is out of reach may have the VIPs.
    """
    condemned = [row for row in leaving if row.status == AmphoraStatus.PENDING_DELETE and is_seen(world, row)]
    if _has_live(world, sharing):
        last = sorted(condemned, key=lambda row: _has_vips(world, row))
        return [step for row in last for step in remove_amphora(row, hands_over=True)], condemned
    singles = [row for row in leaving if row.role not in PRIORITIES]
    heir = find_heir(world, [row for row in singles if row.status != AmphoraStatus.PENDING_DELETE])
    if heir is None or not condemned or (is_doubtful and heir.status != AmphoraStatus.ALLOCATED):
        return [], []
    hindrances: list[Reason] = []
    steps = [*give_vips(world, heir, hindrances)]
    if hindrances:
        return [], []
    return [*steps, *(step for row in condemned for step in remove_amphora(row, hands_over=True))], condemned


def _gather_vips(world: World, leaving: Sequence[Amphora]) -> Iterator[AnyStep]:
    """Leave the VIPs with one that is live, and those that share them with it, while nobody is confirmed to serve.

    A pass may have been cut off between handing over and confirming, and what is to follow may be rejected for long.
    One that is condemned counts only where nobody else is live: it serves on.
    """
    live = [row for row in leaving if is_live(world, row)]
    heir = max(live, key=lambda row: _rank(world, row), default=None)
    if heir is None:
        return
    others = [row for row in leaving if row is not heir and not {row.role, heir.role} <= PRIORITIES.keys()]
    # Those of a restored database may not know each other's addresses any more.
    circle = [row for row in live if row not in others and row.status != AmphoraStatus.PENDING_DELETE]
    hindrances: list[Reason] = []
    steps: list[AnyStep] = []
    if others or len(circle) > 1:
        steps = [step for row in circle for step in give_vips(world, row, hindrances)]
    if not hindrances:
        yield from steps
        yield from take_vips(world, others)


def _find_substitute(world: World, members: Sequence[Amphora], leaving: Sequence[Amphora]) -> Amphora | None:
    """Return who has the VIPs although it is not confirmed, and the others are not ready: nobody else can serve.

    All that served were lost while what is wanted now is rejected, and it was given what was live last. Those that are
    condemned and come back are removed.
    """
    others = [row for row in leaving if row.status != AmphoraStatus.PENDING_DELETE]
    if _has_live(world, others) or any(_doubt_hearing(world, row) for row in members):
        return None
    return next((row for row in members if is_live(world, row)), None)


def _rank(world: World, row: Amphora) -> tuple[bool, bool, bool]:
    return row.status != AmphoraStatus.PENDING_DELETE, _has_vips(world, row), row.role not in PRIORITIES


def _doubt(world: World, row: Amphora) -> Reason | None:
    return doubt_end(world, row) if row.status != AmphoraStatus.PENDING_DELETE else None


def _doubt_hearing(world: World, row: Amphora) -> Reason | None:
    """Return why one that stays may serve and cannot be told who comes: it would have the VIPs beside those."""
    sighting, verdict = world.sightings.get(row.id), judge_amphora(world, row)
    if row.status != AmphoraStatus.ALLOCATED or not isinstance(sighting, Unseen):
        return None
    if isinstance(verdict, Hold):
        return None if verdict.is_proven else verdict.reason
    return sighting.reason


def _has_taken_over(world: World, row: Amphora) -> bool:
    return row.status == AmphoraStatus.ALLOCATED and is_seen(world, row)


def _has_live(world: World, rows: Iterable[Amphora]) -> bool:
    return any(is_live(world, row) for row in rows)


def _has_vips(world: World, row: Amphora) -> bool:
    seen = world.sightings.get(row.id)
    return isinstance(seen, AmphoraObserved) and bool(seen.has_vips)


def _has_joined(world: World, row: Amphora) -> bool:
    """Say whether one that is not confirmed yet takes part already: a pass was cut off just there."""
    seen = world.sightings.get(row.id)
    return isinstance(seen, AmphoraObserved) and seen.sandbox_digest == decide_digest(world, row)


def _end(
    world: World,
    leaving: Sequence[Amphora],
    ready: Sequence[Amphora],
    *,
    outlived: Sequence[Amphora],
    leaves_traces: bool,
) -> Iterator[AnyStep]:
    unseen = [row for row in leaving if isinstance(world.sightings.get(row.id), Unseen)]
    for row in leaving:
        if row.status != AmphoraStatus.PENDING_DELETE:
            yield CondemnAmphora(sentence=f"Amphora {row.id} is to go.", amphora_id=row.id)
    # Whoever has the VIPs goes last: they must not move to another one that is to go.
    for row in sorted(leaving, key=lambda row: _has_vips(world, row)):
        if row not in unseen:
            yield from remove_amphora(row, hands_over=True)
    if outlived or len(leaving) > len(unseen):
        for row in ready:
            yield join(world, row, f"Amphora {row.id} forgets those that have gone.")
            yield Configure(sentence=f"Configure amphora {row.id} without them.", amphora_id=row.id)
    generation = world.tree.load_balancer.generation
    sentence = f"Settle generation {generation}."
    yield Settle(sentence=sentence, generation=generation, leaves_traces=leaves_traces or bool(unseen))
