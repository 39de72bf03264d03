"""What the benchmark sends for amphorae is what agents send: each datagram is taken in, and none is told twice."""

import datetime as dt
import socket

from bench.beats import Voice, sending
from bench.roles import HOST
from statera.base.ids import new_id
from statera.base.secret import Secret
from statera.health.memory import Memory
from statera.model.heartbeat import (
    MOST_BYTES,
    Heartbeat,
    MemberObserved,
    MemberState,
    decode_heartbeat,
    split_heartbeat,
)
from tests.db.trees import make_amphora

KEYS = (b"a" * 32, b"b" * 32, b"c" * 32)
MEMBERS = 40
ROUNDS = 3


def make_voice(key: bytes) -> Voice:
    members = tuple(MemberObserved(pool_id=new_id(), member_id=new_id(), state=MemberState.UP) for _ in range(MEMBERS))
    heartbeat = Heartbeat(
        amphora_id=new_id(), load_balancer_id=new_id(), boot=0, sequence=0, sent_at=0.0, generation=1, epoch=1,
        haproxy_running=True, members=members,
    )  # fmt: skip
    return Voice(heartbeat, key)


def test_all_that_several_senders_send_is_taken_in() -> None:
    voices = [make_voice(key) for key in KEYS]
    heartbeats = [voice.heartbeat for voice in voices]
    keys = {voice.heartbeat.amphora_id: Secret(voice.key) for voice in voices}
    parts = len(split_heartbeat(heartbeats[0]))
    assert parts > 1
    memory, now = Memory(), dt.datetime.now(dt.UTC)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as heard:
        heard.bind((HOST, 0))
        heard.settimeout(20)
        with sending(heard.getsockname()[1], voices) as senders:
            # The first of two senders speaks for two, so that it sends more.
            sent = [senders.send(2 * parts * len(voices), 10_000) for _ in range(ROUNDS)]
        datagrams = [heard.recv(MOST_BYTES) for _ in range(sum(one.count for one in sent))]
    for datagram in datagrams:
        memory.accept(decode_heartbeat(datagram, keys.get, now.timestamp(), 30.0), now)
    assert sum(one.size for one in sent) == sum(map(len, datagrams))
    assert sum(one.count for one in sent) == 2 * parts * len(voices) * ROUNDS
    amphorae = [make_amphora(one.load_balancer_id, id=one.amphora_id) for one in heartbeats]
    memory.keep_only(amphorae, now)
    for one in heartbeats:
        assert set(memory.observe(one.load_balancer_id).members) == {member.member_id for member in one.members}
