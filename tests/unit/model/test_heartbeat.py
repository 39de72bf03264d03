"""The wire form of heartbeats: what is sent comes back, and nothing else ever gets in."""

import hmac
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statera.base.secret import Secret
from statera.model.heartbeat import (
    MOST_BYTES,
    TEXT_LENGTH,
    Heartbeat,
    HeartbeatRefusal,
    HeartbeatRefused,
    ListenerObserved,
    ListenerState,
    MemberObserved,
    MemberState,
    decode_heartbeat,
    encode_heartbeat,
    join_heartbeat,
    read_amphora_id,
    split_heartbeat,
)

KEY = Secret(b"k" * 32)
NOW = 1_800_000_000.0
AMPHORA = "11111111-2222-4333-8444-555555555555"

ids = st.uuids().map(str)
counts = st.integers(min_value=0, max_value=2**63)
ages = st.floats(min_value=0, max_value=1e9)
listeners = st.builds(ListenerObserved, ids, st.sampled_from(ListenerState), counts, counts, counts, counts, counts)
members = st.builds(
    MemberObserved,
    ids,
    ids,
    st.sampled_from(MemberState),
    st.sampled_from(["", "L4OK", "L4CON", "L7STS"]),
    st.none() | st.integers(min_value=0, max_value=999),
    st.text(st.characters(exclude_categories=()), max_size=3 * TEXT_LENGTH),
    ages,
)
heartbeats = st.builds(
    Heartbeat,
    amphora_id=ids,
    load_balancer_id=ids,
    boot=counts,
    sequence=counts,
    sent_at=st.floats(min_value=NOW - 30, max_value=NOW + 30),
    generation=counts,
    epoch=counts,
    haproxy_running=st.booleans(),
    listeners=st.lists(listeners, max_size=12).map(tuple),
    members=st.lists(members, max_size=40).map(tuple),
)


def make_heartbeat(**changes: object) -> Heartbeat:
    plain = Heartbeat(
        amphora_id=AMPHORA,
        load_balancer_id=str(uuid.UUID(int=7)),
        boot=1,
        sequence=5,
        sent_at=NOW,
        generation=3,
        epoch=2,
        haproxy_running=True,
    )
    return msgspec.structs.replace(plain, **changes)


def decode(datagram: bytes, *, key: Secret[bytes] | None = KEY, now: float = NOW) -> Heartbeat:
    return decode_heartbeat(datagram, lambda _: key, now, 30.0)


def refusal_of(datagram: bytes, *, key: Secret[bytes] | None = KEY, now: float = NOW) -> HeartbeatRefusal:
    with pytest.raises(HeartbeatRefused) as refused:
        decode(datagram, key=key, now=now)
    return refused.value.kind


@given(heartbeats)
def test_a_heartbeat_comes_back_whole(heartbeat: Heartbeat) -> None:
    parts = split_heartbeat(heartbeat)
    datagrams = [encode_heartbeat(part, KEY) for part in parts]
    assert all(len(datagram) <= 1400 for datagram in datagrams)
    back = [decode(datagram) for datagram in reversed(datagrams)]
    assert {part.part for part in back} == set(range(len(parts)))
    assert {part.parts for part in back} == {len(parts)}
    whole = join_heartbeat(back)
    assert whole.listeners == heartbeat.listeners
    assert [member.member_id for member in whole.members] == [member.member_id for member in heartbeat.members]
    for got, sent in zip(whole.members, heartbeat.members, strict=True):
        assert got.text.isprintable()
        assert got.text == sent.text or not sent.text.isprintable() or len(sent.text) > TEXT_LENGTH
    assert msgspec.structs.replace(whole, members=()) == msgspec.structs.replace(heartbeat, members=())


@given(st.binary(max_size=2000))
def test_random_bytes_are_refused_and_nothing_else(datagram: bytes) -> None:
    assert refusal_of(datagram) in (HeartbeatRefusal.TRUNCATED, HeartbeatRefusal.FORGED)


@given(st.binary(max_size=1500))
def test_random_bytes_with_a_good_signature_are_refused_and_nothing_else(body: bytes) -> None:
    datagram = _sign(uuid.UUID(AMPHORA).bytes + body)
    assert refusal_of(datagram) in (HeartbeatRefusal.TRUNCATED, HeartbeatRefusal.MALFORMED)


@given(heartbeats, st.data())
def test_any_changed_byte_is_refused(heartbeat: Heartbeat, data: st.DataObject) -> None:
    datagram = bytearray(encode_heartbeat(split_heartbeat(heartbeat)[0], KEY))
    place = data.draw(st.integers(min_value=0, max_value=len(datagram) - 1))
    datagram[place] ^= data.draw(st.integers(min_value=1, max_value=255))
    assert refusal_of(bytes(datagram)) is HeartbeatRefusal.FORGED


@given(heartbeats, st.data())
def test_any_cut_is_refused(heartbeat: Heartbeat, data: st.DataObject) -> None:
    datagram = encode_heartbeat(split_heartbeat(heartbeat)[0], KEY)
    cut = datagram[: data.draw(st.integers(min_value=0, max_value=len(datagram) - 1))]
    assert refusal_of(cut) in (HeartbeatRefusal.TRUNCATED, HeartbeatRefusal.FORGED)


def test_the_amphora_can_be_read_before_anything_is_verified() -> None:
    assert read_amphora_id(encode_heartbeat(make_heartbeat(), KEY)) == AMPHORA


def test_too_large_is_refused_before_it_is_read() -> None:
    assert refusal_of(b"x" * (MOST_BYTES + 1)) is HeartbeatRefusal.TRUNCATED


def test_an_unknown_amphora_is_refused() -> None:
    assert refusal_of(encode_heartbeat(make_heartbeat(), KEY), key=None) is HeartbeatRefusal.UNKNOWN


def test_another_key_is_refused() -> None:
    assert refusal_of(encode_heartbeat(make_heartbeat(), Secret(b"q" * 32))) is HeartbeatRefusal.FORGED


def test_an_amphora_cannot_sign_for_another() -> None:
    inner = encode_heartbeat(make_heartbeat(amphora_id=str(uuid.UUID(int=9))), KEY)[16:-32]
    assert refusal_of(_sign(uuid.UUID(AMPHORA).bytes + inner)) is HeartbeatRefusal.FORGED


@pytest.mark.parametrize("sent_at", [NOW - 30.1, NOW + 30.1, float("nan"), float("inf"), float("-inf")])
def test_outside_the_window_is_late(sent_at: float) -> None:
    assert refusal_of(encode_heartbeat(make_heartbeat(sent_at=sent_at), KEY)) is HeartbeatRefusal.LATE


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"version": 2},
            {"part": 1},
            {"part": 3, "parts": 2},
            {"parts": 0},
            {"sequence": -1},
            {"amphora_id": "short"},
        ),
        # No id of a load balancer, and none that a database would look for.
        *({"load_balancer_id": text} for text in ("x" * 36, "\0" * 36, "1" * 36)),
    ],
)
def test_another_form_is_malformed(changes: dict[str, object]) -> None:
    body = msgspec.msgpack.encode(make_heartbeat(**changes))
    assert refusal_of(_sign(uuid.UUID(AMPHORA).bytes + body)) is HeartbeatRefusal.MALFORMED


def test_later_versions_may_append_attributes() -> None:
    values = msgspec.msgpack.decode(msgspec.msgpack.encode(make_heartbeat()))
    body = msgspec.msgpack.encode([*values, {"new": True}])
    assert decode(_sign(uuid.UUID(AMPHORA).bytes + body)) == make_heartbeat()


def test_an_item_too_large_for_its_datagram_stands_alone() -> None:
    member = MemberObserved(AMPHORA, AMPHORA, MemberState.DOWN, "L7STS", 500, "é" * TEXT_LENGTH)
    parts = split_heartbeat(make_heartbeat(members=(member, member)), max_bytes=300)
    assert [len(part.members) for part in parts] == [1, 1]


def test_an_empty_heartbeat_is_one_part() -> None:
    assert split_heartbeat(make_heartbeat()) == (make_heartbeat(),)


def _sign(message: bytes) -> bytes:
    return message + hmac.digest(KEY.reveal(), message, "sha256")
