"""The tables of the fleet in memory: amphorae, spares, drains, silences, replacements, chores, the deployment."""

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec

from statera.base.errors import Transient
from statera.base.reason import Reason
from statera.base.secret import Secret
from statera.model.amphora import Amphora, Spare
from statera.model.deployment import Deployment
from statera.model.draining import Drain, Stay
from statera.model.enums import AmphoraRole, AmphoraStatus
from statera.model.failover import MINUTE_S, WINDOW_S, Budget, Limits, Lookout, Voices
from statera.model.observed import Silence
from statera.model.tree import Tree
from statera.model.work import ChoreClaim, Claim

SPEAKING = (AmphoraStatus.READY, AmphoraStatus.ALLOCATED, AmphoraStatus.ERROR)
SILENCE_COUNTS_S = 20.0
VOICE_FIELDS = ("id", "load_balancer_id", "host", "status", "created_at", "last_heartbeat_at")


class ChoreRow(msgspec.Struct, kw_only=True):
    due_at: dt.datetime
    lease_owner: str | None = None
    lease_until: dt.datetime | None = None
    memory: dict[str, dt.datetime] = {}
    reason: Reason | None = None


class Fleet:
    def __init__(self, now: Callable[[], dt.datetime]) -> None:
        self.now = now
        self.amphorae: dict[str, Amphora] = {}
        self.chores: dict[str, ChoreRow] = {}
        self.drains: dict[str, Drain] = {}
        self.deployment = Deployment(id="00000000-0000-4000-8000-00000000000d", mark=0)
        self.silences: dict[str, tuple[dt.datetime, dt.datetime]] = {}
        """By amphora: since when it is silent, and when a health process said so last."""
        self.replacements: dict[str, dt.datetime] = {}
        self.gives_up: Callable[[Amphora], None] = lambda _: None
        """Called with each amphora that is to be replaced without anybody having asked."""

    def after(self, seconds: float) -> dt.datetime:
        return self.now() + dt.timedelta(seconds=seconds)

    # What the rest of the database is asked

    def list_balancers(self) -> list[Tree]:
        raise NotImplementedError

    def wake(self, load_balancer_ids: Collection[str]) -> None:
        raise NotImplementedError

    def check_claim(self, claim: Claim) -> None:
        """Raise `LostClaim` for one that is not held any more."""
        raise NotImplementedError

    # Amphorae

    def save_amphora(self, claim: Claim, amphora: Amphora, *, heartbeat_key: Secret[bytes] | None = None) -> None:
        self.check_claim(claim)
        old = self.amphorae.get(amphora.id)
        if old is not None:
            amphora = msgspec.structs.replace(
                amphora,
                load_balancer_id=old.load_balancer_id,
                created_at=old.created_at,
                last_heartbeat_at=old.last_heartbeat_at,
                has_vips=old.has_vips,
            )
        self.amphorae[amphora.id] = amphora

    def remove_amphora(self, claim: Claim, amphora_id: str) -> None:
        self.check_claim(claim)
        self.amphorae.pop(amphora_id, None)
        self.silences.pop(amphora_id, None)

    def list_amphorae(self, load_balancer_id: str | None = None) -> tuple[Amphora, ...]:
        rows = [row for row in self.amphorae.values() if row.load_balancer_id]
        return _by_age(row for row in rows if load_balancer_id in (None, row.load_balancer_id))

    def list_voices(self) -> tuple[Amphora, ...]:
        return tuple(Amphora(**{name: getattr(row, name) for name in VOICE_FIELDS}) for row in self.list_amphorae())

    def count_placed(self) -> dict[str, int]:
        placed: dict[str, int] = {}
        for row in self.amphorae.values():
            placed[row.host] = placed.get(row.host, 0) + 1
        return placed

    def load_heartbeat_keys(self, amphora_ids: Collection[str]) -> dict[str, Secret[bytes]]:
        return {one: Secret(one.encode()) for one in amphora_ids if one in self.amphorae}

    def load_heartbeat_key(self, amphora_id: str) -> Secret[bytes] | None:
        return self.load_heartbeat_keys([amphora_id]).get(amphora_id)

    def touch_amphorae(self, seen: Mapping[str, dt.datetime]) -> None:
        for amphora_id, at in seen.items():
            row = self.amphorae.get(amphora_id)
            if row is not None and (row.last_heartbeat_at is None or row.last_heartbeat_at < at):
                self.amphorae[amphora_id] = msgspec.structs.replace(row, last_heartbeat_at=at)

    def save_holders(self, told: Mapping[str, bool | None]) -> None:
        for amphora_id, has_vips in told.items():
            row = self.amphorae.get(amphora_id)
            if row is not None:
                self.amphorae[amphora_id] = msgspec.structs.replace(row, has_vips=has_vips)

    # What automatic replacements are decided by

    def save_silences(self, silences: Sequence[Silence], over: Collection[str]) -> None:
        for one in over:
            self.silences.pop(one, None)
        for silence in silences:
            if silence.amphora_id in self.amphorae:
                self.silences[silence.amphora_id] = (silence.since, self.now())

    def _is_silent(self, amphora: Amphora) -> bool:
        if amphora.id not in self.silences:
            return False
        since, told_at = self.silences[amphora.id]
        heard_at = amphora.last_heartbeat_at
        is_fresh = told_at > self.after(-SILENCE_COUNTS_S)
        return is_fresh and (heard_at is None or heard_at <= since + dt.timedelta(seconds=1))

    def load_lookout(self, load_balancer_id: str, limits: Limits) -> Lookout:
        mine = [row for row in self.list_amphorae(load_balancer_id) if self._is_silent(row)]
        voices: dict[str, Voices] = {}
        for row in self._list_fleet():
            old = voices.get(row.host, Voices(serving=0, silent=0))
            voices[row.host] = Voices(serving=old.serving + 1, silent=old.silent + self._is_silent(row))
        return Lookout(
            silent_since={row.id: self.silences[row.id][0] for row in mine}, hosts=voices, budget=self._budget(limits)
        )

    def _list_fleet(self) -> list[Amphora]:
        return [row for row in self.amphorae.values() if row.status in SPEAKING and row.load_balancer_id]

    def _budget(self, limits: Limits) -> Budget:
        in_minute = sum(1 for at in self.replacements.values() if at > self.after(-MINUTE_S))
        in_window = sum(1 for at in self.replacements.values() if at > self.after(-WINDOW_S))
        return Budget(limits=limits, fleet=len(self._list_fleet()), in_minute=in_minute, in_window=in_window)

    def save_given_up(self, claim: Claim, amphora: Amphora, limits: Limits) -> None:
        self.check_claim(claim)
        spent = self._budget(limits).tell_spent()
        if spent:
            raise Transient("replacement-budget-spent", f"Amphora {amphora.id} is not replaced yet: {spent}")
        self.replacements.setdefault(amphora.id, self.now())
        self.save_amphora(claim, amphora)
        self.gives_up(amphora)

    # Chores

    def add_chores(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.chores:
                self.chores[name] = ChoreRow(due_at=self.now())

    def claim_chore(self, names: Sequence[str], *, owner: str, lease_s: float) -> ChoreClaim | None:
        now = self.now()
        rows = [(self.chores[name].due_at, name) for name in names if name in self.chores]
        free = [name for due, name in sorted(rows) if due <= now and is_free(self.chores[name].lease_until, now)]
        if not free:
            return None
        row = self.chores[free[0]]
        row.lease_owner, row.lease_until = owner, self.after(lease_s)
        return ChoreClaim(name=free[0], owner=owner, memory=dict(row.memory))

    def renew_chore(self, claim: ChoreClaim, *, lease_s: float) -> bool:
        row = self.chores[claim.name]
        if row.lease_owner != claim.owner:
            return False
        row.lease_until = self.after(lease_s)
        return True

    def save_chore(
        self,
        claim: ChoreClaim,
        *,
        next_s: float,
        memory: Mapping[str, dt.datetime],
        reason: Reason | None = None,
    ) -> bool:
        row = self.chores[claim.name]
        if row.lease_owner != claim.owner:
            return False
        row.due_at, row.lease_owner, row.lease_until = self.after(next_s), None, None
        row.memory, row.reason = dict(memory), reason
        return True

    def list_known_ids(self) -> set[str]:
        return {tree.load_balancer.id for tree in self.list_balancers()} | set(self.amphorae)

    # Spares

    def list_spares(self) -> tuple[Spare, ...]:
        return tuple(
            Spare(
                id=row.id,
                host=row.host,
                is_ready=row.status == AmphoraStatus.READY,
                is_condemned=row.status == AmphoraStatus.PENDING_DELETE,
            )
            for row in _by_age(row for row in self.amphorae.values() if not row.load_balancer_id)
        )

    def _find_spare(self, amphora_id: str, *statuses: AmphoraStatus) -> Amphora | None:
        row = self.amphorae.get(amphora_id)
        return row if row is not None and not row.load_balancer_id and row.status in statuses else None

    def _change_spare(self, row: Amphora, status: AmphoraStatus) -> None:
        self.amphorae[row.id] = msgspec.structs.replace(row, status=status, updated_at=self.now())

    def add_spare(self, amphora_id: str, host: str) -> None:
        self.amphorae[amphora_id] = Amphora(id=amphora_id, load_balancer_id="", host=host, created_at=self.now())

    def load_spare_key(self, amphora_id: str) -> Secret[bytes] | None:
        row = self._find_spare(amphora_id, AmphoraStatus.PENDING_CREATE)
        return None if row is None else Secret(amphora_id.encode())

    def confirm_spare(self, amphora_id: str) -> None:
        row = self._find_spare(amphora_id, AmphoraStatus.PENDING_CREATE)
        if row is not None:
            self._change_spare(row, AmphoraStatus.READY)

    def condemn_spare(self, amphora_id: str) -> bool:
        row = self._find_spare(amphora_id, *AmphoraStatus)
        if row is not None:
            self._change_spare(row, AmphoraStatus.PENDING_DELETE)
        return row is not None

    def drop_spare(self, amphora_id: str) -> None:
        if self._find_spare(amphora_id, AmphoraStatus.PENDING_DELETE) is not None:
            del self.amphorae[amphora_id]

    def take_spare(self, claim: Claim, amphora: Amphora) -> bool:
        self.check_claim(claim)
        row = self._find_spare(amphora.id, AmphoraStatus.READY)
        if row is None or row.host != amphora.host:
            return False
        self.amphorae[row.id] = msgspec.structs.replace(
            row,
            load_balancer_id=amphora.load_balancer_id,
            role=AmphoraRole(amphora.role),
            status=AmphoraStatus.PENDING_CREATE,
            created_at=amphora.created_at,
            updated_at=None,
        )
        return True

    # Hosts that are drained or gone

    def add_drain(self, host: str, actor: str) -> None:
        self.drains.setdefault(host, Drain(host=host, actor=actor, since=self.now()))

    def remove_drain(self, host: str) -> bool:
        return self.drains.pop(host, None) is not None

    def forget_host(self, host: str, actor: str) -> None:
        self.add_drain(host, actor)
        self.drains[host] = msgspec.structs.replace(self.drains[host], is_gone=True)
        self.wake({row.load_balancer_id for row in self.amphorae.values() if row.host == host})

    def is_host_gone(self, host: str) -> bool:
        return host in self.drains and self.drains[host].is_gone

    def list_drains(self) -> tuple[Drain, ...]:
        return tuple(self.drains[host] for host in sorted(self.drains))

    def explain_drains(self, reasons: Mapping[str, Reason]) -> None:
        for host, drain in self.drains.items():
            self.drains[host] = msgspec.structs.replace(drain, reason=reasons.get(host))

    def list_stays(self) -> tuple[Stay, ...]:
        stays = []
        for tree in sorted(self.list_balancers(), key=lambda one: (one.load_balancer.created_at, one.load_balancer.id)):
            balancer = tree.load_balancer
            rows = [row for row in self.list_amphorae(balancer.id) if row.host in self.drains]
            stays += [
                Stay(
                    amphora_id=row.id,
                    load_balancer_id=balancer.id,
                    host=row.host,
                    compute_zone=balancer.compute_zone,
                    is_asked=row.id in balancer.amphorae_to_replace or row.status == AmphoraStatus.PENDING_DELETE,
                    provisioning_status=balancer.provisioning_status,
                    reason=balancer.reason,
                    deleting=balancer.deleting,
                )
                for row in sorted(rows, key=lambda one: (one.role, one.id))
            ]
        return tuple(stays)

    def list_amphora_ids(self, load_balancer_id: str) -> tuple[str, ...]:
        return tuple(row.id for row in self.list_amphorae(load_balancer_id))

    # The deployment

    def load_deployment(self) -> Deployment:
        return self.deployment

    def advance_mark(self) -> Deployment:
        self.deployment = msgspec.structs.replace(self.deployment, mark=self.deployment.mark + 1)
        return self.deployment

    def hold_collection(self, seen: int) -> bool:
        if self.deployment.mark >= seen:
            return False
        held_since = self.deployment.held_since or self.now()
        self.deployment = msgspec.structs.replace(self.deployment, mark=seen, held_since=held_since)
        return True

    def release_collection(self) -> None:
        self.deployment = msgspec.structs.replace(self.deployment, held_since=None)


def _by_age(rows: Iterable[Amphora]) -> tuple[Amphora, ...]:
    return tuple(sorted(rows, key=lambda row: (row.created_at, row.id)))


def is_free(lease_until: dt.datetime | None, now: dt.datetime) -> bool:
    return lease_until is None or lease_until <= now
