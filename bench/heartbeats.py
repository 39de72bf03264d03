"""How many heartbeats one health process takes in on one core: verified, merged, news told. Without the network."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from bench.figures import Figure, median
from bench.ground import Ground
from statera.base.clock import SystemClock
from statera.base.ids import new_id
from statera.base.secret import Secret
from statera.base.settings import Settings
from statera.health.receiver import HeartbeatReceiver
from statera.model.heartbeat import (
    Heartbeat,
    ListenerObserved,
    ListenerState,
    MemberObserved,
    MemberState,
    encode_heartbeat,
    split_heartbeat,
)
from statera.store.engine import AnyRow, Store

AMPHORAE = 1000
MEMBERS = 3
LARGE_AMPHORAE = 10
LARGE_MEMBERS = 1000
BUDGET = 20_000
KEY = b"k" * 32


class OneKey(Store):
    """A store that has one key for everybody."""

    async def execute(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> Sequence[AnyRow]:
        answer: Any = [(KEY,)]
        return answer  # type: ignore[no-any-return]


def run(ground: Ground, runs: int) -> list[Figure]:
    """Take in one heartbeat of each of a thousand amphorae per run; then of ten, each with a thousand members."""
    del ground
    return [
        asyncio.run(_measure("heartbeats per second and core", AMPHORAE, MEMBERS, runs)),
        asyncio.run(_measure(f"their datagrams, {LARGE_MEMBERS:,} members each", LARGE_AMPHORAE, LARGE_MEMBERS, runs)),
    ]


async def _measure(what: str, amphorae: int, members: int, runs: int) -> Figure:
    store = OneKey("postgresql:///nowhere")
    receiver = HeartbeatReceiver(store, Settings(), SystemClock())
    heartbeats = [_make_heartbeat(members) for _ in range(amphorae)]
    for heartbeat in heartbeats:
        await receiver.keys.load(heartbeat.amphora_id)
    per_second = []
    datagrams: list[bytes] = []
    for sequence in range(1, runs + 1):
        datagrams = [datagram for heartbeat in heartbeats for datagram in _sign(heartbeat, sequence)]
        begun = time.process_time()
        for datagram in datagrams:
            receiver.receive(datagram)
        per_second.append(len(datagrams) / (time.process_time() - begun))
        receiver.memory.take_news()
    await store.close()
    sent = runs * len(datagrams)
    if receiver.accepted != sent:
        raise RuntimeError(f"only {receiver.accepted} of {sent} datagrams were accepted: {receiver.counts}")
    size = sum(map(len, datagrams)) // len(datagrams)
    detail = f"{runs} x {len(datagrams):,} of {size:,} bytes, from {amphorae:,} amphorae with {members:,} members each"
    return Figure(what=what, value=median(per_second), unit="/s", budget=BUDGET, at_least=True, detail=detail)


def _make_heartbeat(members: int) -> Heartbeat:
    pool_id = new_id()
    listener = ListenerObserved(id=new_id(), status=ListenerState.OPEN, active_connections=3, total_connections=90_000)
    member = MemberObserved(
        pool_id=pool_id, member_id="", state=MemberState.UP, check="L7OK", code=200, text="OK", since_s=86_400.0
    )
    return Heartbeat(
        amphora_id=new_id(),
        load_balancer_id=new_id(),
        boot=1,
        sequence=0,
        sent_at=0.0,
        generation=7,
        epoch=7,
        haproxy_running=True,
        listeners=(listener,),
        members=tuple(msgspec.structs.replace(member, member_id=new_id()) for _ in range(members)),
    )


def _sign(heartbeat: Heartbeat, sequence: int) -> list[bytes]:
    sent = msgspec.structs.replace(heartbeat, sequence=sequence, sent_at=time.time())
    return [encode_heartbeat(part, Secret(KEY)) for part in split_heartbeat(sent)]
