"""What to do next for one load balancer: a world in, an ordered plan out.

Entry: `decide_plan`. It looks only at the world, never at how it came about, so a pass that was cut off anywhere needs
no repair: the next plan holds what is left. The order keeps two rules. A row is written before anything outside carries
its id and deleted after the last such thing is gone. Traffic is moved before what it used is taken away.
"""

from collections.abc import Iterable, Iterator, Sequence

from statera.base.reason import Reason
from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus
from statera.plan.amphora import confirm, give_vips, join, plan_amphora, remove_amphora, take_vips, wait
from statera.plan.brain import needs_lookout
from statera.plan.seats import (
    ROLES,
    Seat,
    doubt_end,
    find_heir,
    give_up,
    has_never_served,
    is_live,
    is_seen,
    list_seats,
    place,
)
from statera.plan.sharing import needs_sharing, plan_sharing
from statera.plan.steps import (
    AddAmphora,
    AnyStep,
    CondemnAmphora,
    Configure,
    DropLoadBalancer,
    Plan,
    ReleaseVip,
    Settle,
)
from statera.plan.world import Unseen, World

MOST_FRESH_IDS = max(len(roles) for roles in ROLES.values())


def needs_hosts(world: World) -> bool:
    """Say whether `decide_plan` chooses a host and so must know them: their observation costs a round to each."""
    if world.tree.load_balancer.deleting:
        return False
    rows = [seat.row for seat in list_seats(world).values()]
    return needs_lookout(world) or any(row is None or has_never_served(world, row) for row in rows)


def decide_plan(world: World) -> Plan:
    """Return the steps that make true what is wanted; only `Settle` when it is true already."""
    if world.tree.load_balancer.deleting:
        return Plan(tuple(_plan_removal(world)))
    home = world.tree.load_balancer.vip.network_id
    if all(network.id != home for network in world.networks):
        reason = Reason(slug="network-unknown", sentence=f"Network {home} is not known to the network driver.")
        return Plan((wait(reason),))
    return Plan(tuple(plan_sharing(world) if needs_sharing(world) else _plan_service(world)))


# A load balancer that is wanted


def _plan_service(world: World) -> Iterator[AnyStep]:
    seats = list_seats(world)
    fresh = iter(world.fresh_ids)
    blocked: list[Reason] = []
    serving: set[str] = set()
    added: list[str] = []
    gone: list[Amphora] = []
    successors: list[Amphora] = []
    for role, seat in seats.items():
        others = [other.row.host for name, other in seats.items() if other.row is not None and name != role]
        avoid = [*others, *added, *(row.host for row in seat.worn)]
        amphora, steps, reason = place(world, role, seat.row, avoid, fresh)
        if amphora is not None:
            yield from (give_up(row_id, why) for row_id, why in seat.lost.items())
        yield from steps
        added += [step.amphora.host for step in steps if isinstance(step, AddAmphora)]
        troubles = [reason] if reason is not None else []
        keeper = _find_keeper(world, amphora, seat)
        outlived = _list_outlived(world, amphora, seat, keeper)
        yield from take_vips(world, [row for row in seat.worn if row != keeper])
        if amphora is not None:
            serving.add(amphora.id)
            successors.append(amphora)
            yield from _plan_seat(world, amphora, seat, troubles, keeper=keeper, outlived=outlived)
            gone += outlived
        if troubles and keeper in seat.worn:
            # It serves on, edits included, while nobody can take over from it.
            yield from _plan_server(world, keeper, troubles, outlived if amphora is None else ())
        blocked += troubles
    if blocked:
        yield wait(blocked[0])
        return
    # One that cannot be removed now holds nobody up: a re-check comes back to it.
    rest = [amphora for amphora in world.amphorae if amphora.id not in serving and amphora not in gone]
    unseen = [amphora for amphora in rest if isinstance(world.sightings.get(amphora.id), Unseen)]
    for amphora in rest:
        if amphora not in unseen:
            yield from remove_amphora(amphora, hands_over=True)
    if gone or len(rest) > len(unseen):
        for amphora in successors:
            yield join(world, amphora, f"Amphora {amphora.id} forgets those that have gone.")
    generation = world.tree.load_balancer.generation
    sentence = f"Settle generation {generation}."
    yield Settle(sentence=sentence, generation=generation, leaves_traces=bool(unseen))


# Taking over: the successor is made ready beside the amphora that serves, then the VIP moves, then the old one goes


def _find_keeper(world: World, amphora: Amphora | None, seat: Seat) -> Amphora | None:
    """Return who has the VIP while the successor is made ready, None when nobody is left to.

    One that has taken over already and serves keeps it, whoever else is to go now. A row that is condemned counts only
    while nobody else has anything live: it serves, and what is to follow it may be rejected for long.
    """
    rows = [*([amphora] if amphora is not None else []), *seat.worn]
    heir = find_heir(world, rows)
    if heir is not None and (heir.status == AmphoraStatus.ALLOCATED or _list_seen(world, seat.condemned)):
        return heir
    # The newest of several: it has been given what was accepted last.
    former = find_heir(world, seat.condemned[::-1])
    if former is not None:
        return former
    there = [row for row in _list_seen(world, rows) if row in seat.worn or row.status == AmphoraStatus.ALLOCATED]
    # One that serves, else one that could: the first, which is the oldest.
    return min(there, key=lambda row: (row.status != AmphoraStatus.ALLOCATED, not is_live(world, row)), default=None)


def _list_outlived(world: World, amphora: Amphora | None, seat: Seat, keeper: Amphora | None) -> list[Amphora]:
    """Return those that are removed before a successor is configured: it or another one is live and has the VIP.

    A configuration that is rejected then keeps the VIP from being on two of them for as long as it is wanted.
    """
    heir = amphora if keeper is None else keeper
    if heir is None or not is_live(world, heir):
        return []
    if heir in seat.condemned:
        # Several may have the VIP: one of them serves on, unless one that is out of reach may serve.
        is_doubtful = any(doubt_end(world, row) for row in seat.worn)
        return [row for row in _list_seen(world, seat.condemned) if row is not heir and not is_doubtful]
    return [row for row in seat.condemned if not isinstance(world.sightings.get(row.id), Unseen)]


def _list_seen(world: World, rows: Sequence[Amphora]) -> list[Amphora]:
    return [row for row in rows if is_seen(world, row)]


def _plan_seat(
    world: World,
    amphora: Amphora,
    seat: Seat,
    troubles: list[Reason],
    *,
    keeper: Amphora | None,
    outlived: Sequence[Amphora],
) -> Iterator[AnyStep]:
    """Plan the amphora that fills a role from now on. What stands in the way goes into `troubles`."""
    worn = seat.worn
    doubts = [reason for row in worn if (reason := doubt_end(world, row)) is not None]
    stands_by = keeper not in (None, amphora) or (keeper is None and bool(doubts))
    hindrances: list[Reason] = []
    if outlived and keeper is not None and keeper is not amphora:
        yield from give_vips(world, keeper, hindrances)
    yield from _plan_server(world, amphora, troubles, outlived if not hindrances else (), with_vips=not stands_by)
    troubles += doubts
    if troubles:
        return
    # Whoever has the VIP comes last: a pass that is cut off here leaves it with one that is not condemned.
    for row in sorted(worn, key=lambda row: row == keeper):
        # From here on the successor is the one that serves, wherever this pass is cut off.
        yield CondemnAmphora(sentence=f"Amphora {amphora.id} takes over from amphora {row.id}.", amphora_id=row.id)
    if stands_by:
        yield join(world, amphora, f"Move the VIP to amphora {amphora.id}.")
        yield confirm(amphora)


def _plan_server(
    world: World, amphora: Amphora, troubles: list[Reason], outlived: Iterable[Amphora], *, with_vips: bool = True
) -> Iterator[AnyStep]:
    """Plan one amphora; others are removed before anything is configured, which may be rejected for long."""
    hindrances: list[Reason] = []
    steps = [*plan_amphora(world, amphora, hindrances, with_vips=with_vips)]
    at = next((number for number, step in enumerate(steps) if isinstance(step, Configure)), len(steps))
    yield from steps[:at]
    for row in outlived if not hindrances else ():
        yield from remove_amphora(row, hands_over=True)
    yield from steps[at:]
    troubles += hindrances


# A load balancer that is to go


def _plan_removal(world: World) -> Iterator[AnyStep]:
    blocked: list[Reason] = []
    for amphora in world.amphorae:
        sighting = world.sightings.get(amphora.id)
        if isinstance(sighting, Unseen):
            blocked.append(sighting.reason)
        else:
            yield from remove_amphora(amphora)
    if blocked:
        yield wait(blocked[0])
        return
    balancer = world.tree.load_balancer
    if balancer.owns_vip_port:
        yield ReleaseVip(sentence=f"Free the VIP {balancer.vip.address}.")
    yield DropLoadBalancer(sentence=f"Delete load balancer {balancer.id}.")
