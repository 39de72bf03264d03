"""The last word of each amphora, in memory only: what it said, when, and whether that was news."""

import datetime as dt
from collections.abc import Iterable, Mapping

import msgspec

from statera.health.holders import Holders
from statera.model.amphora import Amphora
from statera.model.heartbeat import (
    Heartbeat,
    HeartbeatRefusal,
    HeartbeatRefused,
    MemberObserved,
    MemberState,
    join_heartbeat,
)
from statera.model.observed import Observed, Silence, merge_heartbeats
from statera.model.statistics import Counted


class _Voice(msgspec.Struct, eq=False):
    """One amphora's heartbeats."""

    newest: Heartbeat
    """The part accepted last; its boot, sequence and time tell replays."""
    parts: dict[int, Heartbeat]
    """Parts of the newest sequence by number."""
    whole: Heartbeat | None
    picture: object
    heard_at: dt.datetime
    counters: object = None
    """Who counted what, as it was told last."""


class Memory:
    """What all amphorae said last. Bounded: only verified heartbeats get in, and `keep_only` forgets who is gone."""

    def __init__(self) -> None:
        self._voices: dict[str, _Voice] = {}
        self._amphorae_of: dict[str, set[str]] = {}
        self._owner_of: dict[str, str] = {}
        self._silent: dict[str, Silence] = {}
        self._silent_of: dict[str, list[Silence]] = {}
        self._missed_of: dict[str, set[str]] = {}
        self._outdated: set[str] = set()
        self._news: dict[str, None] = {}
        self._heard: dict[str, dt.datetime] = {}
        self._stopped: set[str] = set()
        self._counted: dict[tuple[str, int], Counted] = {}
        self.holders = Holders()

    def accept(self, heartbeat: Heartbeat, now: dt.datetime) -> None:
        """Take in one verified heartbeat or part of one.

        Raises `HeartbeatRefused`: REPLAYED when it is not newer than the last, FOREIGN when the amphora belongs to
        another load balancer than the one it tells of. Nothing changes then.
        """
        amphora_id = heartbeat.amphora_id
        owner = self._owner_of.get(amphora_id)
        if owner is not None and owner != heartbeat.load_balancer_id:
            raise _foreign(heartbeat)
        voice = self._voices.get(amphora_id)
        if voice is None:
            voice = _Voice(heartbeat, {}, None, None, now)
            self._voices[amphora_id] = voice
            self._amphorae_of.setdefault(heartbeat.load_balancer_id, set()).add(amphora_id)
        elif not _is_newer(heartbeat, voice):
            raise HeartbeatRefused(HeartbeatRefusal.REPLAYED, f"Amphora {amphora_id} has said this or more before.")
        elif heartbeat.sequence != voice.newest.sequence or heartbeat.boot != voice.newest.boot:
            voice.parts.clear()
        if voice.newest.load_balancer_id != heartbeat.load_balancer_id:
            # A spare that was taken, heard before the database told of either.
            self._disown(amphora_id, voice.newest.load_balancer_id)
            self._amphorae_of.setdefault(heartbeat.load_balancer_id, set()).add(amphora_id)
        voice.newest = heartbeat
        voice.heard_at = now
        voice.parts[heartbeat.part] = heartbeat
        self._heard[amphora_id] = now
        if len(voice.parts) == heartbeat.parts:
            self._complete(voice)

    def _complete(self, voice: _Voice) -> None:
        heartbeat = voice.newest
        if heartbeat.parts > 1:
            heartbeat = join_heartbeat(tuple(voice.parts.values()))
            # Only the numbers of the parts are still needed, to tell replays.
            voice.parts = dict.fromkeys(voice.parts, voice.newest)
        picture = _picture(heartbeat)
        is_back = self._is_back(heartbeat)
        if is_back or picture != voice.picture:
            self._news[heartbeat.load_balancer_id] = None
        if not heartbeat.haproxy_running and (voice.whole is None or voice.whole.haproxy_running):
            self._stopped.add(heartbeat.load_balancer_id)
        if is_back or voice.whole is None or voice.whole.has_vips != heartbeat.has_vips:
            self.holders.note(heartbeat.amphora_id, heartbeat.has_vips)
        voice.whole, voice.picture = heartbeat, picture
        self._judge_holders(heartbeat, voice.heard_at)
        counters = (heartbeat.process, heartbeat.listeners)
        if heartbeat.listeners and counters != voice.counters:
            voice.counters = counters
            self._note_counted(heartbeat)

    def _judge_holders(self, heartbeat: Heartbeat, now: dt.datetime) -> None:
        load_balancer_id = heartbeat.load_balancer_id
        # Most load balancers share nothing: that costs them nothing.
        if heartbeat.has_vips is not None or self.holders.find(load_balancer_id) is not None:
            spoken, silent = self._list_spoken(load_balancer_id), self._list_silent(load_balancer_id)
            self.holders.judge(load_balancer_id, spoken, silent, now)

    def _note_counted(self, heartbeat: Heartbeat) -> None:
        self._counted[heartbeat.amphora_id, heartbeat.process] = Counted(
            amphora_id=heartbeat.amphora_id,
            process=heartbeat.process,
            told_at=dt.datetime.fromtimestamp(heartbeat.sent_at, dt.UTC),
            listeners=heartbeat.listeners,
        )

    def take_counted(self) -> tuple[Counted, ...]:
        """Return the counters that moved since the last call, of each process the last; only of known amphorae."""
        taken = {key: one for key, one in self._counted.items() if one.amphora_id in self._owner_of}
        strangers = (one for one in self._counted.items() if one[0] not in taken and one[0][0] in self._voices)
        self._counted = dict(strangers)
        return tuple(taken.values())

    def put_back(self, counted: Iterable[Counted]) -> None:
        """Remember counters that could not be written, unless newer ones have been told."""
        for one in counted:
            self._counted.setdefault((one.amphora_id, one.process), one)

    def take_news(self) -> tuple[str, ...]:
        """Return the load balancers of which something new was said since the last call, oldest news first."""
        news, self._news = tuple(self._news), {}
        return news

    def take_heard(self) -> Mapping[str, dt.datetime]:
        """Return who was heard since the last call, and when last; only amphorae that the database knows."""
        heard, self._heard = self._heard, {}
        return {amphora_id: at for amphora_id, at in heard.items() if amphora_id in self._owner_of}

    def take_stopped(self) -> set[str]:
        """Return the load balancers of which an amphora said, since the last call, that its HAProxy runs no more."""
        stopped, self._stopped = self._stopped, set()
        return stopped

    def last_heard(self) -> dict[str, dt.datetime]:
        """Return when each amphora was heard last, in parts or whole."""
        return {amphora_id: voice.heard_at for amphora_id, voice in self._voices.items()}

    def observe(self, load_balancer_id: str) -> Observed:
        """Return what the load balancer's own amphorae say together; silent ones do not count as saying anything.

        Nothing is told of one with an amphora that only another health process has heard lately: that one knows more.
        """
        spoken, silent = self._list_spoken(load_balancer_id), self._list_silent(load_balancer_id)
        if self._missed_of.get(load_balancer_id):
            return Observed()
        return merge_heartbeats(spoken, silent, self.holders.find(load_balancer_id))

    def _list_spoken(self, load_balancer_id: str) -> list[Heartbeat]:
        mine = [
            amphora_id
            for amphora_id in self._amphorae_of.get(load_balancer_id, ())
            if self._owner_of.get(amphora_id) == load_balancer_id
            and amphora_id not in self._silent
            and amphora_id not in self._outdated
        ]
        return [whole for amphora_id in mine if (whole := self._voices[amphora_id].whole) is not None]

    def _list_silent(self, load_balancer_id: str) -> list[Silence]:
        # Those that have spoken since the judge's last word are silent no more.
        judged = self._silent_of.get(load_balancer_id, ())
        return [silence for silence in judged if silence.amphora_id in self._silent]

    def count_objects(self, load_balancer_id: str) -> int:
        """Return how many listeners and members the load balancer's amphorae tell of: how large it is, about."""
        wholes = [self._voices[one].whole for one in self._amphorae_of.get(load_balancer_id, ())]
        return sum(len(whole.listeners) + len(whole.members) for whole in wholes if whole is not None)

    def count_voices(self) -> int:
        """Return how many amphorae have spoken."""
        return len(self._voices)

    def count_silent(self) -> int:
        """Return how many should speak and do not."""
        return len(self._silent)

    def concerns(self, load_balancer_id: str) -> bool:
        """Say whether any amphora of the load balancer was heard or is known to keep silent."""
        return load_balancer_id in self._amphorae_of or bool(self._list_silent(load_balancer_id))

    def has_strangers(self, load_balancer_ids: Iterable[str]) -> bool:
        """Say whether somebody speaks for these load balancers whose owner is not known yet."""
        return any(
            amphora_id not in self._owner_of
            for load_balancer_id in load_balancer_ids
            for amphora_id in self._amphorae_of.get(load_balancer_id, ())
        )

    def keep_only(self, amphorae: Iterable[Amphora], asked_at: dt.datetime) -> int:
        """Learn who belongs to which load balancer; forget who is not among them or speaks for another one.

        `asked_at` is when the database was asked: who was first heard later may be younger than its answer.
        Returns how many spoke for a load balancer that is not theirs.
        """
        self._owner_of = {amphora.id: amphora.load_balancer_id for amphora in amphorae}
        foreign = 0
        for amphora_id, voice in tuple(self._voices.items()):
            owner = self._owner_of.get(amphora_id)
            if owner == voice.newest.load_balancer_id or (owner is None and voice.heard_at > asked_at):
                continue
            foreign += owner is not None
            self._forget(amphora_id, voice.newest.load_balancer_id)
        return foreign

    def knows(self, amphora_id: str) -> bool:
        """Say whether the database has this amphora, as of the last answer."""
        return amphora_id in self._owner_of

    def set_silent(self, silences: Iterable[Silence]) -> tuple[Silence, ...]:
        """Take the judge's word on who keeps silent; return those who were not silent before."""
        current = {silence.amphora_id: silence for silence in silences}
        fresh = tuple(silence for amphora_id, silence in current.items() if amphora_id not in self._silent)
        ended = [silence for amphora_id, silence in self._silent.items() if amphora_id not in current]
        self._news.update(dict.fromkeys(silence.load_balancer_id for silence in (*fresh, *ended)))
        for silence in fresh:
            self.holders.note(silence.amphora_id, None)
            self.holders.drop(silence.load_balancer_id)
        # The first word on a silence stays, so that its sentence does not move.
        self._silent = {amphora_id: self._silent.get(amphora_id, silence) for amphora_id, silence in current.items()}
        self._silent_of = {}
        for silence in self._silent.values():
            self._silent_of.setdefault(silence.load_balancer_id, []).append(silence)
        return fresh

    def set_missed(self, amphorae: Iterable[Amphora], since: dt.datetime) -> None:
        """Take the judge's word on who should speak and was not heard by this process after `since`.

        What anybody has said before that counts no more, whether expected to speak or not.
        """
        self._missed_of = {}
        for amphora in amphorae:
            self._missed_of.setdefault(amphora.load_balancer_id, set()).add(amphora.id)
        # Only a whole heartbeat ends it, not the parts that count as being heard.
        before = self._outdated
        self._outdated = {one for one, voice in self._voices.items() if one in before or voice.heard_at < since}

    def _is_back(self, heartbeat: Heartbeat) -> bool:
        """Note that an amphora is heard, and say whether it was not for long: silent, or heard by others alone."""
        amphora_id, missed = heartbeat.amphora_id, self._missed_of.get(heartbeat.load_balancer_id, set())
        was_away = amphora_id in self._silent or amphora_id in self._outdated or amphora_id in missed
        self._silent.pop(amphora_id, None)
        self._outdated.discard(amphora_id)
        missed.discard(amphora_id)
        return was_away

    def _forget(self, amphora_id: str, load_balancer_id: str) -> None:
        if self._voices.pop(amphora_id).whole is not None:
            # What the others say may mean something else now: nothing shows that one amphora has not got yet.
            self._news[load_balancer_id] = None
        self._heard.pop(amphora_id, None)
        self.holders.forget(amphora_id)
        self.holders.drop(load_balancer_id)
        self._disown(amphora_id, load_balancer_id)

    def _disown(self, amphora_id: str, load_balancer_id: str) -> None:
        mine = self._amphorae_of[load_balancer_id]
        mine.discard(amphora_id)
        if not mine:
            del self._amphorae_of[load_balancer_id]


def _is_newer(heartbeat: Heartbeat, voice: _Voice) -> bool:
    newest = voice.newest
    if heartbeat.boot != newest.boot:
        # The agent was restarted and counts from the beginning; an older run's heartbeats were sent earlier.
        return heartbeat.sent_at > newest.sent_at
    if heartbeat.sequence != newest.sequence:
        return heartbeat.sequence > newest.sequence
    return heartbeat.parts == newest.parts and heartbeat.part not in voice.parts


def _picture(heartbeat: Heartbeat) -> object:
    """Return what matters to statuses: without counters and ages, which move with every heartbeat."""
    return (
        heartbeat.load_balancer_id,
        heartbeat.generation,
        heartbeat.haproxy_running,
        heartbeat.has_vips,
        [(listener.id, listener.status) for listener in heartbeat.listeners],
        [_member_picture(member) for member in heartbeat.members],
    )


def _member_picture(member: MemberObserved) -> tuple[object, ...]:
    if member.state is not MemberState.DOWN:
        return (member.pool_id, member.member_id, member.state)
    return (member.pool_id, member.member_id, member.state, member.check, member.code, member.text)


def _foreign(heartbeat: Heartbeat) -> HeartbeatRefused:
    sentence = (
        f"Amphora {heartbeat.amphora_id} tells of load balancer {heartbeat.load_balancer_id}, which is not its own."
    )
    return HeartbeatRefused(HeartbeatRefusal.FOREIGN, sentence)
