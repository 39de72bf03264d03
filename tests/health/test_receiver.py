"""Heartbeats over real UDP into a real database: a good one is news, any other does nothing but raise a counter."""

import asyncio
import datetime as dt
import socket
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from statera.base.clock import SystemClock
from statera.base.ids import new_id
from statera.base.secret import Secret
from statera.base.settings import HealthSettings, Settings
from statera.health.judge import Judge
from statera.health.keys import KeyRing
from statera.health.receiver import KEYS_AT_ONCE, HeartbeatReceiver
from statera.health.writer import StatusWriter
from statera.model.heartbeat import (
    MAC_BYTES,
    MOST_BYTES,
    Heartbeat,
    HeartbeatRefusal,
    ListenerObserved,
    ListenerState,
    MemberObserved,
    MemberState,
    encode_heartbeat,
)
from statera.model.tree import Tree
from statera.model.work import Claim
from statera.store.amphorae import save_amphora
from statera.store.claims import claim_load_balancer, save_certificate_ends, save_settled
from statera.store.engine import Store
from statera.store.trees import insert_tree, load_tree
from tests.db.trees import make_amphora, make_tree

KEY = Secret(b"k" * 32)
WITHIN_S = 20.0
SEQUENCE = 50
_TABLES = sa.text("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")


class Hearing:
    """A receiver on a port of its own with what reads its memory, one load balancer, and who speaks to it."""

    def __init__(self, store: Store, receiver: HeartbeatReceiver, tree: Tree, amphora_id: str, claim: Claim) -> None:
        self.receiver = receiver
        self.claim = claim
        self._store = store
        self._tree = tree
        self._amphora_id = amphora_id
        clock, options = SystemClock(), HealthSettings()
        self._judge = Judge(store, options, clock, receiver)
        self._writer = StatusWriter(store, clock, receiver.memory, self._judge, options.certificate_warning_days)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def close(self) -> None:
        self._socket.close()

    def make(self, sequence: int, **changes: Any) -> Heartbeat:
        """Return what the amphora says when all is well."""
        tree = self._tree
        listeners = tuple(ListenerObserved(one.id, ListenerState.OPEN, 1, sequence) for one in tree.listeners)
        members = tuple(MemberObserved(one.pool_id, one.id, MemberState.UP, "L7OK", 200) for one in tree.members)
        plain = Heartbeat(
            amphora_id=self._amphora_id,
            load_balancer_id=tree.load_balancer.id,
            boot=2,
            sequence=sequence,
            sent_at=SystemClock().now().timestamp(),
            generation=1,
            epoch=1,
            haproxy_running=True,
            listeners=listeners,
            members=members,
        )
        return msgspec.structs.replace(plain, **changes)

    def make_dire(self, sequence: int, **changes: Any) -> Heartbeat:
        """Return what would turn everything upside down, if it were believed."""
        good = self.make(sequence)
        members = tuple(msgspec.structs.replace(one, state=MemberState.DOWN, code=503) for one in good.members)
        listeners = tuple(msgspec.structs.replace(one, total_connections=10**9) for one in good.listeners)
        worse = msgspec.structs.replace(good, members=members, listeners=listeners, haproxy_running=False)
        return msgspec.structs.replace(worse, **changes)

    async def send(self, datagram: bytes) -> None:
        """Send a datagram and return when it has been accepted or refused."""
        seen = self._count()
        self._socket.sendto(datagram, ("127.0.0.1", self.receiver.port))
        async with asyncio.timeout(WITHIN_S):
            while self._count() == seen:
                await asyncio.sleep(0.005)

    def _count(self) -> int:
        return self.receiver.accepted + self.receiver.counts.total() + self.receiver.unverified

    async def look(self) -> Tree:
        """Do what the health process does every few seconds while nothing is said anew; return what is shown then."""
        await self._writer.watch_certificates()
        await self._writer.flush()
        tree = await load_tree(self._store, self._tree.load_balancer.id)
        assert tree is not None
        return tree

    async def write(self) -> None:
        """Do at once what the health process does from time to time."""
        await self._judge.look()
        await self._writer.flush()
        await self._writer.count()
        await self._writer.touch()

    async def dump(self) -> dict[str, list[Any]]:
        """Return every row of every table with the transaction that wrote it."""
        tables = [row[0] for row in await self._store.execute(_TABLES)]
        rows = {}
        for table in tables:
            found = await self._store.execute(sa.text(f'SELECT CAST(t.xmin AS text), t::text FROM "{table}" AS t'))
            rows[table] = sorted(tuple(row) for row in found)
        return rows


@asynccontextmanager
async def listening(store: Store, tree: Tree | None = None) -> AsyncIterator[Hearing]:
    tree = tree or make_tree()
    await insert_tree(store, tree, actor="me", what="created")
    claim = await claim_load_balancer(store, owner="one", lease_s=60)
    assert claim is not None
    amphora = make_amphora(tree.load_balancer.id)
    await save_amphora(store, claim, amphora, heartbeat_key=KEY)
    settings = msgspec.structs.replace(Settings(), health=HealthSettings(host="127.0.0.1", port=0))
    receiver = HeartbeatReceiver(store, settings, SystemClock())
    await receiver.start()
    hearing = Hearing(store, receiver, tree, amphora.id, claim)
    try:
        yield hearing
    finally:
        hearing.close()
        await receiver.close()


def _sign(heartbeat: Heartbeat, key: Secret[bytes] = KEY) -> bytes:
    return encode_heartbeat(heartbeat, key)


def _late(hearing: Hearing, by_s: float, **changes: Any) -> bytes:
    return _sign(hearing.make_dire(SEQUENCE + 1, sent_at=SystemClock().now().timestamp() + by_s, **changes))


def _changed_byte(hearing: Hearing) -> bytes:
    datagram = bytearray(_sign(hearing.make_dire(SEQUENCE + 1)))
    datagram[len(datagram) // 2] ^= 1
    return bytes(datagram)


BAD: dict[str, tuple[HeartbeatRefusal, Callable[[Hearing], bytes]]] = {
    "forged": (HeartbeatRefusal.FORGED, lambda one: _sign(one.make_dire(SEQUENCE + 1), Secret(b"x" * 32))),
    "changed on the way": (HeartbeatRefusal.FORGED, _changed_byte),
    "without its signature": (HeartbeatRefusal.FORGED, lambda one: _sign(one.make_dire(SEQUENCE + 1))[:-MAC_BYTES]),
    "cut": (HeartbeatRefusal.FORGED, lambda one: _sign(one.make_dire(SEQUENCE + 1))[:-1]),
    "cut to its id": (HeartbeatRefusal.TRUNCATED, lambda one: _sign(one.make_dire(SEQUENCE + 1))[:16]),
    "empty": (HeartbeatRefusal.TRUNCATED, lambda one: b""),
    "too long": (HeartbeatRefusal.TRUNCATED, lambda one: bytes(MOST_BYTES + 1)),
    "noise": (HeartbeatRefusal.UNKNOWN, lambda one: b"\xff" * 200),
    "of an unknown amphora": (HeartbeatRefusal.UNKNOWN, lambda one: _sign(one.make_dire(60, amphora_id=new_id()))),
    "of another version": (HeartbeatRefusal.MALFORMED, lambda one: _sign(one.make_dire(SEQUENCE + 1, version=9))),
    "late": (HeartbeatRefusal.LATE, lambda one: _late(one, -3600.0)),
    "of the future": (HeartbeatRefusal.LATE, lambda one: _late(one, 3600.0)),
    "replayed": (HeartbeatRefusal.REPLAYED, lambda one: _sign(one.make_dire(SEQUENCE))),
    "overtaken": (HeartbeatRefusal.REPLAYED, lambda one: _sign(one.make_dire(SEQUENCE - 1))),
    "of an earlier start": (HeartbeatRefusal.REPLAYED, lambda one: _late(one, -10.0, boot=1)),
    "of a foreign load balancer": (
        HeartbeatRefusal.FOREIGN,
        lambda one: _sign(one.make_dire(SEQUENCE + 1, load_balancer_id=new_id())),
    ),
}


async def test_whatever_is_no_fresh_heartbeat_does_nothing_but_count(store: Store) -> None:
    async with listening(store) as hearing:
        await hearing.send(_sign(hearing.make(SEQUENCE)))
        await hearing.write()
        await hearing.write()
        before, heard = await hearing.dump(), hearing.receiver.memory.last_heard()
        assert "ONLINE" in str(before["load_balancers"])
        for name, (kind, make) in BAD.items():
            counted = hearing.receiver.counts[kind]
            await hearing.send(make(hearing))
            assert hearing.receiver.counts[kind] == counted + 1, name
            await hearing.write()
            assert hearing.receiver.memory.last_heard() == heard, name
            assert await hearing.dump() == before, name
        assert hearing.receiver.accepted == 1
        assert set(HeartbeatRefusal) == {kind for kind, _ in BAD.values()}


async def test_the_next_good_one_is_heard_after_all_of_them(store: Store) -> None:
    async with listening(store) as hearing:
        await hearing.send(_sign(hearing.make(SEQUENCE)))
        await hearing.write()
        for _, make in BAD.values():
            await hearing.send(make(hearing))
        before = await hearing.dump()
        await hearing.send(_sign(hearing.make_dire(SEQUENCE + 1)))
        await hearing.write()
        after = await hearing.dump()
        assert hearing.receiver.accepted == 2
        assert {name for name in before if before[name] != after[name]} >= {"load_balancers", "members", "events"}


async def test_a_fault_of_ours_stops_only_the_heartbeat_that_met_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    async with listening(store) as hearing:
        for place, name in ((hearing.receiver.keys, "load"), (hearing.receiver.memory, "accept")):
            with monkeypatch.context() as broken:
                broken.setattr(place, name, fail)
                await hearing.send(_sign(hearing.make(SEQUENCE)))
        assert (hearing.receiver.accepted, hearing.receiver.unverified) == (0, 1)
        assert hearing.receiver.counts[HeartbeatRefusal.MALFORMED] == 1
        await hearing.send(_sign(hearing.make(SEQUENCE)))
        assert hearing.receiver.accepted == 1


async def test_keys_of_many_that_speak_for_the_first_time_are_loaded_together(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a process that has just started knows a large fleet before it takes anybody for silent."""
    asked: list[int] = []
    load = KeyRing.load

    async def note(ring: KeyRing, amphora_ids: Collection[str]) -> None:
        asked.append(len(amphora_ids))
        await load(ring, amphora_ids)

    monkeypatch.setattr(KeyRing, "load", note)
    async with listening(store) as hearing:
        receiver = hearing.receiver
        strangers = [hearing.make(SEQUENCE, amphora_id=new_id()) for _ in range(KEYS_AT_ONCE + 1)]
        for heartbeat in (hearing.make(SEQUENCE), *strangers):
            receiver.receive(_sign(heartbeat))
        async with asyncio.timeout(WITHIN_S):
            while receiver.accepted + receiver.counts.total() < len(strangers) + 1:
                await asyncio.sleep(0.005)
    assert asked == [KEYS_AT_ONCE, 2]
    assert (receiver.accepted, receiver.counts[HeartbeatRefusal.UNKNOWN]) == (1, len(strangers))


async def test_heartbeats_without_news_write_no_row(store: Store) -> None:
    """Only when an amphora was heard last is written, and that every few seconds, whatever it repeats."""
    async with listening(store) as hearing:
        await hearing.send(_sign(hearing.make(SEQUENCE)))
        await hearing.write()
        before = await hearing.dump()
        counters = hearing.make(SEQUENCE).listeners
        for number in range(1, 4):
            await hearing.send(_sign(hearing.make(SEQUENCE + number, listeners=counters)))
            await hearing.write()
        after = await hearing.dump()
        assert {name for name in before if before[name] != after[name]} <= {"amphorae"}


async def test_a_certificate_that_is_renewed_is_seen_although_nobody_says_anything(store: Store) -> None:
    tree, ref, now = make_tree(), "http://secrets/www", SystemClock().now().replace(microsecond=0)
    listener = msgspec.structs.replace(tree.listeners[0], default_tls_container_ref=ref)
    async with listening(store, msgspec.structs.replace(tree, listeners=(listener,))) as hearing:
        await save_certificate_ends(store, hearing.claim, {ref: now + dt.timedelta(days=3)})
        await save_settled(store, hearing.claim, tree.load_balancer.generation, recheck_s=3600)
        await hearing.send(_sign(hearing.make(SEQUENCE)))
        await hearing.write()
        for days, slug in ((3, "certificate-expires"), (90, ""), (-1, "certificate-expired"), (90, "")):
            await save_certificate_ends(store, hearing.claim, {ref: now + dt.timedelta(days=days)})
            reason = (await hearing.look()).listeners[0].reason
            assert (reason.slug if reason else "") == slug
