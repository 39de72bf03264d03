"""Who keeps silent for too long. The decision is pure; the loop asks the database who should speak.

Nothing is repaired here: a silent amphora's load balancer says so and becomes due, and the reconciler looks at it. So
does one whose HAProxy does not run. Each look writes who is silent now: what is not written again soon says nothing.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping

from statera.base.clock import Clock
from statera.base.logging import get_logger
from statera.base.settings import HealthSettings
from statera.health.receiver import HeartbeatReceiver
from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus
from statera.model.heartbeat import HeartbeatRefusal
from statera.model.observed import Silence
from statera.store.amphorae import list_voices
from statera.store.claims import mark_due
from statera.store.engine import Store
from statera.store.failover import save_silences

log = get_logger("health")

SPEAKING = (AmphoraStatus.READY, AmphoraStatus.ALLOCATED)
"""Amphorae that have been brought up; the reconciler is still busy with the others."""


def touch_interval_s(stale_after_s: float) -> float:
    """Return how often, in seconds, it is written when amphorae were heard: for other health processes to see."""
    return stale_after_s / 2


def judge_interval_s(stale_after_s: float) -> float:
    """Return how often, in seconds, silence is looked for."""
    return min(5.0, stale_after_s / 4)


def decide_silent(
    amphorae: Iterable[Amphora],
    heard: Mapping[str, dt.datetime],
    listened_since: Mapping[str, dt.datetime],
    *,
    now: dt.datetime,
    stale_after_s: float,
) -> tuple[Silence, ...]:
    """Return the amphorae that have kept silent for longer than `stale_after_s` seconds.

    `heard` is what this process heard itself; what another one wrote into the row counts too, with the slack of its
    writing interval. `listened_since` holds since when this process has expected each to speak; who is not in it is
    not judged, and nobody before a full window.
    """
    silences = []
    for amphora in amphorae:
        listened = listened_since.get(amphora.id)
        if listened is None:
            continue
        own, told = heard.get(amphora.id), amphora.last_heartbeat_at
        by_another = told is not None and (own is None or told > own)
        limit_s = stale_after_s + (touch_interval_s(stale_after_s) if by_another else 0.0)
        last = told if by_another else own
        if (now - max(last or listened, listened)).total_seconds() > limit_s:
            silences.append(
                Silence(
                    amphora_id=amphora.id,
                    load_balancer_id=amphora.load_balancer_id,
                    host=amphora.host,
                    since=last or listened,
                )
            )
    return tuple(silences)


def decide_missed(
    amphorae: Iterable[Amphora],
    heard: Mapping[str, dt.datetime],
    listened_since: Mapping[str, dt.datetime],
    silent: Collection[str],
    *,
    since: dt.datetime,
) -> tuple[Amphora, ...]:
    """Return the amphorae that are not silent, although this process has heard nothing of them after `since`.

    Another one hears them, and knows better what they say; or it is not known yet whether anybody does. One that has
    spoken before this process began is missed from the beginning: half of a pair tells half of the truth.
    """
    speaking = [(one, listened_since[one.id]) for one in amphorae if one.id in listened_since and one.id not in silent]
    return tuple(
        one
        for one, listened in speaking
        if heard.get(one.id, listened) < since or (one.id not in heard and one.last_heartbeat_at is not None)
    )


class Judge:
    """Looks for silence, in the memory of one receiver."""

    def __init__(self, store: Store, settings: HealthSettings, clock: Clock, receiver: HeartbeatReceiver) -> None:
        self._store = store
        self._stale_after_s = settings.stale_after_s
        self._clock = clock
        self._receiver = receiver
        self._listened_since: dict[str, dt.datetime] = {}
        self._last_look = clock.now()
        self._has_looked = False
        self._to_mark: set[str] = set()
        self._silent: set[str] = set()

    async def look(self) -> None:
        """Judge once, and make the load balancers of those fallen silent, or broken, due. Raises `Transient`."""
        asked_at = self._clock.now()
        self._notice_pause(asked_at)
        amphorae = await list_voices(self._store)
        self.learn(amphorae, asked_at)
        heard, listened_since = self._receiver.memory.last_heard(), self._expect(amphorae, asked_at)
        silences = decide_silent(amphorae, heard, listened_since, now=asked_at, stale_after_s=self._stale_after_s)
        silent, memory = {silence.amphora_id for silence in silences}, self._receiver.memory
        since = asked_at - dt.timedelta(seconds=self._stale_after_s)
        memory.set_missed(decide_missed(amphorae, heard, listened_since, silent, since=since), since)
        for silence in memory.set_silent(silences):
            log.warning(
                "amphora silent",
                amphora_id=silence.amphora_id,
                load_balancer_id=silence.load_balancer_id,
                host=silence.host,
                since=str(silence.since),
            )
            self._to_mark.add(silence.load_balancer_id)
        self._to_mark |= memory.take_stopped()
        await save_silences(self._store, silences, self._silent - silent)
        self._silent = silent
        if self._to_mark:
            await mark_due(self._store, sorted(self._to_mark))
            self._to_mark.clear()
        # Only now: whoever could not reach the database does not know who was heard by others meanwhile.
        self._last_look, self._has_looked = asked_at, True

    def is_current(self, now: dt.datetime) -> bool:
        """Say whether it is known who was heard by others: not before the first look, nor from a pause to the next."""
        return self._has_looked and self._pause_s(now) == 0.0

    def learn(self, amphorae: Iterable[Amphora], asked_at: dt.datetime) -> None:
        """Take in which amphorae there are and whose."""
        receiver = self._receiver
        receiver.counts[HeartbeatRefusal.FOREIGN] += receiver.memory.keep_only(amphorae, asked_at)
        receiver.keys.keep_only(receiver.memory.knows)

    def _expect(self, amphorae: Iterable[Amphora], now: dt.datetime) -> dict[str, dt.datetime]:
        # Once brought up it is to speak, whatever the reconciler does with it later.
        known = self._listened_since
        self._listened_since = {
            amphora.id: known.get(amphora.id, now)
            for amphora in amphorae
            if amphora.id in known or amphora.status in SPEAKING
        }
        return self._listened_since

    def _notice_pause(self, now: dt.datetime) -> None:
        # A process that was stopped, a machine that slept, a database that was away: that is nobody's silence, and a
        # full window begins anew.
        if paused_s := self._pause_s(now):
            log.warning("nothing was judged for a while; all have a full window again", paused_s=round(paused_s, 1))
            self._listened_since = {}

    def _pause_s(self, now: dt.datetime) -> float:
        """Return the seconds since the last look, 0 where they are no more than may be."""
        since_s = (now - self._last_look).total_seconds()
        return since_s if since_s > judge_interval_s(self._stale_after_s) + self._stale_after_s / 2 else 0.0
