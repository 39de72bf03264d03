"""Whether an amphora that looks dead is replaced: evidence in, a verdict with its sentence out.

Two kinds of proof are enough. Either nobody hears its heartbeats, and its whole host is gone: the machine gives no sign
of life, none of its amphorae is heard, and other hosts agree that it answers on its network no more. Or its host says
that it does not serve, and mending it has failed for a while. Everything else may be our own trouble: a cut network, a
health process that died, an agent that is down while traffic flows. Then nothing is replaced, and the reason says why.
A budget bounds what even proof may bring about.
"""

from collections.abc import Sequence

import msgspec

from statera.base.reason import Reason
from statera.model.amphora import Amphora, AmphoraObserved, Host
from statera.model.enums import AmphoraStatus
from statera.model.failover import Budget, Lookout
from statera.plan.world import Sighting, Unseen, World


class Replace(msgspec.Struct, frozen=True):
    """It is dead for sure: another one shall take its place."""

    reason: Reason


class Hold(msgspec.Struct, frozen=True):
    """It looks dead, and is left where it is."""

    reason: Reason
    is_proven: bool = False
    """Whether it is dead for sure, and only too many have been replaced already."""


Verdict = Replace | Hold | None
"""None: it does not look dead, or not yet."""

SERVING = (AmphoraStatus.READY, AmphoraStatus.ALLOCATED)
"""Others have not served yet, or are to go anyway."""


def needs_lookout(world: World) -> bool:
    """Say whether some amphora looks dead, so that `judge_amphora` needs hosts and the lookout."""
    return any(_looks_dead(world, row) for row in world.amphorae)


def list_to_ask(world: World) -> tuple[Amphora, ...]:
    """Return the amphorae about which the other hosts are to be asked: all else speaks for their end."""
    lookout = world.lookout
    if lookout is None:
        return ()
    dubious = [row for row in world.amphorae if row.id in lookout.silent_since and _looks_dead(world, row)]
    return tuple(row for row in dubious if _doubt_loss(world.hosts, lookout, row) is None)


def judge_amphora(world: World, row: Amphora) -> Verdict:
    """Return what is to be done with one of the world's amphorae."""
    lookout = world.lookout
    if lookout is None or not _looks_dead(world, row):
        return None
    sighting = world.sightings.get(row.id)
    if isinstance(sighting, AmphoraObserved):
        return _bound(lookout.budget, _tell_broken(row, sighting))
    if row.id not in lookout.silent_since:
        return None
    doubt = _doubt_loss(world.hosts, lookout, row) or _doubt_absence(lookout, row)
    return Hold(doubt) if doubt is not None else _bound(lookout.budget, _tell_lost(row, lookout))


def _looks_dead(world: World, row: Amphora) -> bool:
    if row.status not in SERVING:
        return False
    sighting: Sighting = world.sightings.get(row.id)
    if isinstance(sighting, AmphoraObserved):
        # After an outage of ours the host may have waited for us: only what we failed to mend since then counts.
        return min(sighting.broken_s, world.failing_s) >= world.broken_after_s
    return isinstance(sighting, Unseen)


def _doubt_loss(hosts: Sequence[Host], lookout: Lookout, row: Amphora) -> Reason | None:
    """Return why the host of a silent amphora may not be lost, None when it is for sure."""
    silent = [host for host in hosts if not host.reachable]
    if len(silent) * 2 > len(hosts):
        told = f"{len(silent)} of {len(hosts)} hosts do not answer this controller"
        return _hold(row, slug="controller-cut-off", why=f"{told}, so that its own network is taken for the trouble")
    host = next((host for host in hosts if host.name == row.host), None)
    if host is not None and host.reachable:
        return _hold(row, slug="host-answers", why=f"host {row.host} answers again")
    if host is not None and host.is_alive:
        why = f"the machine of host {row.host} lives, only its agent does not answer"
        return _hold(row, slug="agent-down", why=why)
    voices = lookout.hosts.get(row.host)
    if voices is not None and voices.silent < voices.serving:
        heard = f"{voices.serving - voices.silent} of {voices.serving} amphorae on host {row.host} are still heard"
        return _hold(row, slug="host-still-heard", why=heard)
    return None


def _doubt_absence(lookout: Lookout, row: Amphora) -> Reason | None:
    answer = lookout.answers.get(row.id)
    if answer is None:
        why = "no other host could find out whether it still answers on its network"
        return _hold(row, slug="network-not-asked", why=why)
    if answer:
        return _hold(row, slug="amphora-answers", why="it still answers on its network, so that traffic flows")
    return None


def _bound(budget: Budget, reason: Reason) -> Verdict:
    spent = budget.tell_spent()
    if not spent:
        return Replace(reason)
    sentence = f"{reason.sentence} It is not replaced yet: {spent}"
    return Hold(Reason(slug="replacement-budget-spent", sentence=sentence), is_proven=True)


def _hold(row: Amphora, *, slug: str, why: str) -> Reason:
    sentence = f"Nothing is heard of amphora {row.id} on host {row.host}. It is not replaced: {why}."
    return Reason(slug=slug, sentence=sentence)


def _tell_lost(row: Amphora, lookout: Lookout) -> Reason:
    sentence = f"Host {row.host} is lost: it gives no sign of life, and nothing is heard of its amphorae."
    return Reason(slug="host-lost", sentence=sentence, since=lookout.silent_since[row.id])


def _tell_broken(row: Amphora, seen: AmphoraObserved) -> Reason:
    why = seen.reason.sentence if seen.reason is not None else "it does not say why."
    sentence = f"Host {row.host} cannot make amphora {row.id} serve again: {why}"
    return Reason(slug="amphora-broken", sentence=sentence)
