"""Faults that are planted on purpose, in the product or in its twin: each of the rules must find them, and soon."""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

import statera.control.certificates
import statera.health.memory
import statera.model.status
import statera.plan.amphora
import statera.plan.brain
import statera.plan.plan
import statera.plan.vrrp
from statera.base.errors import Lasting, LostClaim, Transient
from statera.base.secret import Secret
from statera.control.reconcile import Reconciler
from statera.control.run import Run
from statera.drivers.compute_noop import NoopHost
from statera.health.memory import Memory
from statera.model.amphora import Amphora
from statera.model.enums import OperatingStatus
from statera.model.heartbeat import Heartbeat
from statera.model.status import StatusChange
from statera.model.tree import Resource, Tree
from statera.model.work import Claim
from statera.plan.steps import RemoveSandbox
from tests.simulation.database import BalancerRow, Database
from tests.simulation.health import SimReceiver
from tests.simulation.scenario import Failed, simulate
from tests.simulation.twins import TwinBell

Plant = Callable[[pytest.MonkeyPatch], None]


def lose_no_claim(patch: pytest.MonkeyPatch) -> None:
    """Whoever had a claim once may write."""

    def held(self: Database, claim: Claim) -> BalancerRow:
        if claim.load_balancer_id not in self.balancers:
            raise LostClaim(claim.load_balancer_id)
        return self.balancers[claim.load_balancer_id]

    patch.setattr(Database, "_held", held)


def settle_too_much(patch: pytest.MonkeyPatch) -> None:
    """What was edited since the pass began is settled with the rest."""
    settle = Database._settle

    def settle_all(self: Database, row: Resource, generation: int) -> Resource | None:
        return settle(self, row, generation + 1000)

    patch.setattr(Database, "_settle", settle_all)


def obey_everybody(patch: pytest.MonkeyPatch) -> None:
    """Agents take requests of workers whose time is over."""
    patch.setattr(NoopHost, "check_fence", lambda *_: None)


def lose_edits(patch: pytest.MonkeyPatch) -> None:
    """Now and then an edit is accepted and not kept."""
    edit = Database.edit

    def forget(self: Database, load_balancer_id: str, decide: Callable[[Tree], Tree]) -> Tree:
        row = self.balancers.get(load_balancer_id)
        if row is not None and row.tree.load_balancer.generation % 4 == 0:
            return decide(row.tree)
        return edit(self, load_balancer_id, decide)

    patch.setattr(Database, "edit", forget)


def lose_balancers(patch: pytest.MonkeyPatch) -> None:
    """One that fails often is dropped, with nobody having asked."""
    fail = Database.save_failure

    def drop(self: Database, claim: Claim, generation: int, **values: Any) -> bool:
        more = fail(self, claim, generation, **values)
        if self.balancers[claim.load_balancer_id].failures >= 2:
            del self.balancers[claim.load_balancer_id]
        return more

    patch.setattr(Database, "save_failure", drop)


def give_up_at_once(patch: pytest.MonkeyPatch) -> None:
    """Who is not heard is taken for dead, whatever the others say."""
    patch.setattr(statera.plan.brain, "_doubt_loss", lambda *_: None)
    patch.setattr(statera.plan.brain, "_doubt_absence", lambda *_: None)


def leave_sandboxes(patch: pytest.MonkeyPatch) -> None:
    """Rows go before what stands on the hosts."""
    remove = statera.plan.amphora.remove_amphora

    def forget(*args: Any, **values: Any) -> Iterator[Any]:
        return (step for step in remove(*args, **values) if not isinstance(step, RemoveSandbox))

    patch.setattr(statera.plan.plan, "remove_amphora", forget)


def share_with_nobody(patch: pytest.MonkeyPatch) -> None:
    """Those of a pair do not hear each other: both take the VIPs."""
    patch.setattr(statera.plan.vrrp, "list_home_addresses", lambda *_: ())


def stay_beside(patch: pytest.MonkeyPatch) -> None:
    """A successor takes the VIP, and the one before it is left where it is."""
    remove = statera.plan.amphora.remove_amphora

    def leave(amphora: Amphora, *, hands_over: bool = False) -> Iterator[Any]:
        return iter(()) if hands_over else remove(amphora)

    patch.setattr(statera.plan.plan, "remove_amphora", leave)


def tell_no_reason(patch: pytest.MonkeyPatch) -> None:
    """What fails does not say why."""
    fail = Database._fail

    def hush(self: Database, row: Any, *args: Any) -> Any:
        return msgspec.structs.replace(fail(self, row, *args), reason=None)

    patch.setattr(Database, "_fail", hush)


def try_never_again(patch: pytest.MonkeyPatch) -> None:
    """What failed is due again in a year."""
    fail = Database.save_failure

    def wait(self: Database, claim: Claim, generation: int, **values: Any) -> bool:
        return fail(self, claim, generation, **(values | {"retry_s": dt.timedelta(days=365).total_seconds()}))

    patch.setattr(Database, "save_failure", wait)


def give_no_host_up(patch: pytest.MonkeyPatch) -> None:
    """That a host is gone for good is not believed."""
    patch.setattr(Database, "is_host_gone", lambda *_: False)


def hold_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Workers let no orphan go, although the operator has looked."""
    patch.setattr(Database, "release_collection", lambda *_: None)


def hear_the_bell_alone(patch: pytest.MonkeyPatch) -> None:
    """Workers that the bell does not wake sleep on: they miss what falls due, and what was done while it was lost."""

    async def wait(self: TwinBell, timeout_s: float) -> None:
        await self._rung.wait()
        self._rung.clear()

    patch.setattr(TwinBell, "wait", wait)


def take_old_heartbeats(patch: pytest.MonkeyPatch) -> None:
    """Whatever an amphora has ever said is news when it arrives."""
    patch.setattr(statera.health.memory, "_is_newer", lambda *_: True)


def believe_strangers(patch: pytest.MonkeyPatch) -> None:
    """An amphora belongs to the load balancer that it speaks of."""
    accept = Memory.accept

    def adopt(self: Memory, heartbeat: Heartbeat, now: dt.datetime) -> None:
        self._owner_of[heartbeat.amphora_id] = heartbeat.load_balancer_id
        accept(self, heartbeat, now)

    patch.setattr(Memory, "accept", adopt)


def hush_recoveries(patch: pytest.MonkeyPatch) -> None:
    """What has failed is never told to work again."""
    tell = statera.model.status._only_news

    def leave_out(*args: Any) -> tuple[StatusChange, ...]:
        return tuple(one for one in tell(*args) if one.operating_status != OperatingStatus.ONLINE)

    patch.setattr(statera.model.status, "_only_news", leave_out)


def look_past_members(patch: pytest.MonkeyPatch) -> None:
    """That a member fails is no news: it is written when its load balancer is looked at again, a minute later."""
    patch.setattr(statera.health.memory, "_member_picture", lambda _: ())


def miss_nothing(patch: pytest.MonkeyPatch) -> None:
    """Whoever does not hear an amphora any more goes by what it said last, whatever others hear."""
    patch.setattr(Memory, "set_missed", lambda *_: None)


def distrust_clocks(patch: pytest.MonkeyPatch) -> None:
    """A heartbeat counts only where the clock of the health process goes as that of the host does."""
    accept = SimReceiver._accept

    def compare(self: SimReceiver, datagram: bytes, key: Secret[bytes]) -> None:
        self._settings = msgspec.structs.replace(self._settings, max_skew_s=3.0)
        accept(self, datagram, key)

    patch.setattr(SimReceiver, "_accept", compare)


def wait_for_agents(patch: pytest.MonkeyPatch) -> None:
    """Whoever finds that agents know later epochs than the database waits until somebody mends that."""

    def wait(self: Database, claim: Claim, seen: int) -> None:
        row = self._held(claim)
        row.lease_owner, row.lease_until = None, None
        row.due_at = self.after(dt.timedelta(days=365).total_seconds())

    patch.setattr(Database, "lift_epoch", wait)


def tell_no_end(patch: pytest.MonkeyPatch) -> None:
    """When certificates end is kept from health."""
    patch.setattr(Database, "save_certificate_ends", lambda *_: None)


def tell_ends_too_soon(patch: pytest.MonkeyPatch) -> None:
    """When a certificate ends is written before anybody has been given it."""
    converge = Reconciler._converge

    async def tell(self: Reconciler, run: Run) -> bool:
        with contextlib.suppress(Transient, Lasting):
            await self._observer._load_bundles(run)
        await self._note_certificates(run)
        return await converge(self, run)

    patch.setattr(Reconciler, "_converge", tell)


def read_certificates_once(patch: pytest.MonkeyPatch) -> None:
    """A certificate that was renewed is taken for the one that was there before."""
    patch.setattr(statera.control.certificates, "_fingerprint", lambda _: b"")


@pytest.mark.parametrize(
    ("plant", "seeds", "told"),
    [
        (lose_no_claim, range(20), "by one whose claim is lost"),
        (settle_too_much, range(20), "is ACTIVE, wanted since"),
        (obey_everybody, range(20), "obeys the|nobody knows"),
        (lose_edits, range(5), "an edit of .* is lost"),
        (lose_balancers, range(20), "nobody asked for that"),
        (give_up_at_once, range(20), "is given up although it serves"),
        (leave_sandboxes, range(20), "nobody knows"),
        (share_with_nobody, range(5), "have had the VIP"),
        (stay_beside, range(5), "have had the VIP"),
        (tell_no_reason, range(5), "without a reason|no reason"),
        (try_never_again, range(5), "no rest after"),
        (hear_the_bell_alone, range(20), "no rest after"),
        (take_old_heartbeats, range(10), "goes back in time"),
        (believe_strangers, range(20), "is judged by what none of its amphorae said"),
        (miss_nothing, range(60), "is judged by what was heard"),
        (hush_recoveries, range(5), "no rest after .* which is ONLINE"),
        (tell_no_end, range(20), "no rest after .* tells of certificates that end"),
        (tell_ends_too_soon, range(40), "which none has had"),
        (look_past_members, range(10), "no news after .* which is (ERROR|DEGRADED|ONLINE)"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_fault_is_found(monkeypatch: pytest.MonkeyPatch, plant: Plant, seeds: range, told: str):
    plant(monkeypatch)
    with pytest.raises(Failed, match=told):
        _play(seeds)


@pytest.mark.parametrize(
    ("plant", "sure", "told"),
    [
        (give_no_host_up, "host-forgotten", "no rest after"),
        (distrust_clocks, "clock-jumps", "no rest after|no news after"),
        (wait_for_agents, "database-restored", "no rest after"),
        (read_certificates_once, "secret-renewed", "no rest after .* (certificates|is DEGRADED|is ONLINE)"),
        (hold_for_ever, "database-restored", "no rest after .* orphans are held"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_fault_is_found_once_another_comes(
    monkeypatch: pytest.MonkeyPatch, plant: Plant, sure: str, told: str
):
    plant(monkeypatch)
    with pytest.raises(Failed, match=told):
        _play(range(40), sure)


def _play(seeds: range, sure: str = "") -> None:
    for seed in seeds:
        simulate(seed, sure=sure)
