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
)
from statera.store.engine import AnyRow, Store

AMPHORAE = 1000
MEMBERS = 3
KEY = b"k" * 32


class OneKey(Store):
    """A store that has one key for everybody."""

    async def execute(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> Sequence[AnyRow]:
        answer: Any = [(KEY,)]
        return answer  # type: ignore[no-any-return]


def run(ground: Ground, runs: int) -> list[Figure]:
    """Take in one heartbeat of each of a thousand amphorae per run."""
    del ground
    per_second, size = asyncio.run(_measure(runs))
    detail = f"{runs} x {AMPHORAE:,} of {size} bytes, {MEMBERS} members each"
    return [
        Figure(
            what="heartbeats per second and core",
            value=median(per_second),
            unit="/s",
            budget=20_000,
            at_least=True,
            detail=detail,
        )
    ]


async def _measure(runs: int) -> tuple[list[float], int]:
    store = OneKey("postgresql:///nowhere")
    receiver = HeartbeatReceiver(store, Settings(), SystemClock())
    heartbeats = [_make_heartbeat() for _ in range(AMPHORAE)]
    for heartbeat in heartbeats:
        await receiver.keys.load(heartbeat.amphora_id)
    per_second = []
    size = 0
    for sequence in range(1, runs + 1):
        datagrams = [_sign(heartbeat, sequence) for heartbeat in heartbeats]
        size = len(datagrams[0])
        begun = time.process_time()
        for datagram in datagrams:
            receiver.receive(datagram)
        per_second.append(AMPHORAE / (time.process_time() - begun))
        receiver.memory.take_news()
    await store.close()
    if receiver.accepted != runs * AMPHORAE:
        raise RuntimeError(f"only {receiver.accepted} of {runs * AMPHORAE} heartbeats were accepted: {receiver.counts}")
    return per_second, size


def _make_heartbeat() -> Heartbeat:
    pool_id = new_id()
    listener = ListenerObserved(id=new_id(), status=ListenerState.OPEN, active_connections=3, total_connections=90_000)
    member = MemberObserved(
        pool_id=pool_id, member_id="", state=MemberState.UP, check="L7OK", code=200, text="OK", since_s=86_400.0
    )
    members = tuple(msgspec.structs.replace(member, member_id=new_id()) for _ in range(MEMBERS))
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
        members=members,
    )


def _sign(heartbeat: Heartbeat, sequence: int) -> bytes:
    return encode_heartbeat(msgspec.structs.replace(heartbeat, sequence=sequence, sent_at=time.time()), Secret(KEY))
