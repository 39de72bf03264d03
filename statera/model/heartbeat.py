"""The heartbeat of one amphora: what an agent says every few seconds, and its form on the wire.

A datagram is `16 raw bytes of the amphora's id | msgpack | 32 bytes HMAC-SHA256 over all before`. The id stands in
front so that the receiver finds the key before it trusts anything. Structs are msgpack arrays: a later version may only
append attributes with defaults. A large load balancer is told in several parts of the same `sequence`.
"""

import enum
import hmac
from collections.abc import Callable, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from statera.base.errors import StateraError
from statera.base.ids import is_uuid
from statera.base.printable import make_printable
from statera.base.secret import Secret

VERSION = 1
ID_BYTES = 16
MAC_BYTES = 32
MOST_BYTES = 8192
"""No datagram larger than this is looked at; agents send at most `max_bytes` of `split_heartbeat`."""
MOST_PARTS = 1000
TEXT_LENGTH = 160
"""Longest text of a check, in characters: even in 4-byte characters it leaves room for the rest of the item."""

Id = Annotated[str, Meta(min_length=36, max_length=36)]
Count = Annotated[int, Meta(ge=0)]


class ListenerState(enum.StrEnum):
    """How HAProxy holds a listener's socket."""

    OPEN = "open"
    FULL = "full"
    """At its connection limit."""
    STOP = "stop"


class MemberState(enum.StrEnum):
    """How HAProxy treats a member."""

    UP = "up"
    DOWN = "down"
    DRAIN = "drain"
    MAINT = "maint"
    NO_CHECK = "no_check"


class ListenerObserved(msgspec.Struct, frozen=True, array_like=True):
    """One listener as HAProxy counts it, since HAProxy's own start."""

    id: Id
    status: ListenerState
    active_connections: Count = 0
    total_connections: Count = 0
    bytes_in: Count = 0
    bytes_out: Count = 0
    request_errors: Count = 0


class MemberObserved(msgspec.Struct, frozen=True, array_like=True):
    """One member as HAProxy sees it from one pool."""

    pool_id: Id
    member_id: Id
    state: MemberState
    check: Annotated[str, Meta(max_length=16)] = ""
    """Short status of the last check, such as `L4CON` (HAProxy management guide 9.1, `check_status`); "" for none."""
    code: int | None = None
    """Code of layers 5 to 7, such as an HTTP status."""
    text: Annotated[str, Meta(max_length=TEXT_LENGTH)] = ""
    """The check's own words."""
    since_s: Annotated[float, Meta(ge=0)] = 0.0
    """Seconds in this state."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What one amphora is at `sent_at`. A fact, not a wish."""

    version: int = VERSION
    amphora_id: Id
    load_balancer_id: Id
    boot: Count
    """A number that the agent draws once per start, such as that time in unix milliseconds; `sequence` counts in it."""
    sequence: Count
    """Raised by one per heartbeat; the parts of one heartbeat share it."""
    sent_at: float
    """Unix time in seconds."""
    generation: Count
    """Generation of the live configuration, 0 before the first."""
    epoch: Count
    part: Annotated[int, Meta(ge=0, lt=MOST_PARTS)] = 0
    parts: Annotated[int, Meta(ge=1, le=MOST_PARTS)] = 1
    haproxy_running: bool
    listeners: Annotated[tuple[ListenerObserved, ...], Meta(max_length=1000)] = ()
    members: Annotated[tuple[MemberObserved, ...], Meta(max_length=1000)] = ()
    process: Count = 0
    """Tells apart the processes that the counters are of: each load of a configuration counts from zero."""
    has_vips: bool | None = None
    """Whether it has the VIPs that it shares with others; None for one that shares none."""


class HeartbeatRefusal(enum.StrEnum):
    """Why a datagram does nothing but raise a counter."""

    TRUNCATED = "truncated"
    """Too short or too long to be a heartbeat."""
    UNKNOWN = "unknown"
    """No amphora has this id."""
    FORGED = "forged"
    """Not signed with the amphora's key, or signed for another amphora."""
    MALFORMED = "malformed"
    """Well signed, but not in the form of this version."""
    LATE = "late"
    """Sent too long ago, or in the future: a replay, or clocks that differ."""
    REPLAYED = "replayed"
    """Not newer than what the receiver has seen."""
    FOREIGN = "foreign"
    """Tells of a load balancer that the amphora does not belong to."""


class HeartbeatRefused(StateraError):
    """A datagram that is not a heartbeat to act on."""

    def __init__(self, kind: HeartbeatRefusal, sentence: str) -> None:
        super().__init__(f"heartbeat-{kind.value}", sentence)
        self.kind = kind


_decoder = msgspec.msgpack.Decoder(Heartbeat)
_encoder = msgspec.msgpack.Encoder()


def encode_heartbeat(heartbeat: Heartbeat, key: Secret[bytes]) -> bytes:
    """Return the signed datagram of one heartbeat, or of one part of it."""
    message = bytes.fromhex(heartbeat.amphora_id.replace("-", "")) + _encoder.encode(heartbeat)
    return message + hmac.digest(key.reveal(), message, "sha256")


def read_amphora_id(datagram: bytes) -> str:
    """Return the amphora that a datagram claims to be from; nothing is verified yet.

    Raises `HeartbeatRefused` (TRUNCATED) when it is too short or too long to be a heartbeat.
    """
    if not ID_BYTES + MAC_BYTES < len(datagram) <= MOST_BYTES:
        raise HeartbeatRefused(HeartbeatRefusal.TRUNCATED, f"A datagram of {len(datagram)} bytes is no heartbeat.")
    digits = datagram[:ID_BYTES].hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def decode_heartbeat(
    datagram: bytes, key_of: Callable[[str], Secret[bytes] | None], now: float, max_skew_s: float
) -> Heartbeat:
    """Verify and read one datagram. `now` is unix time; `max_skew_s` how far `sent_at` may be from it, in seconds.

    Raises `HeartbeatRefused` and nothing else, whatever the bytes. Replays within the window are for the caller to see.
    """
    amphora_id = read_amphora_id(datagram)
    key = key_of(amphora_id)
    if key is None:
        raise HeartbeatRefused(HeartbeatRefusal.UNKNOWN, f"No amphora has the id {amphora_id}.")
    message, mac = datagram[:-MAC_BYTES], datagram[-MAC_BYTES:]
    if not hmac.compare_digest(hmac.digest(key.reveal(), message, "sha256"), mac):
        raise HeartbeatRefused(HeartbeatRefusal.FORGED, f"The signature is not that of amphora {amphora_id}.")
    heartbeat = _decode_body(message[ID_BYTES:], amphora_id)
    # Written so that a time that is not a number is refused too.
    if not abs(now - heartbeat.sent_at) <= max_skew_s:
        late = f"Amphora {amphora_id} sent it more than {max_skew_s:g} s away from this clock."
        raise HeartbeatRefused(HeartbeatRefusal.LATE, late)
    return heartbeat


def _decode_body(body: bytes, amphora_id: str) -> Heartbeat:
    try:
        heartbeat = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = f"Amphora {amphora_id} sent what this version does not understand."
        raise HeartbeatRefused(HeartbeatRefusal.MALFORMED, why) from error
    if heartbeat.version != VERSION or heartbeat.part >= heartbeat.parts:
        why = f"Amphora {amphora_id} speaks version {heartbeat.version}, part {heartbeat.part} of {heartbeat.parts}."
        raise HeartbeatRefused(HeartbeatRefusal.MALFORMED, why)
    if not is_uuid(heartbeat.load_balancer_id):
        # The database would refuse to look for it, and for all that it is asked for together with it.
        raise HeartbeatRefused(HeartbeatRefusal.MALFORMED, f"Amphora {amphora_id} tells of no load balancer.")
    if heartbeat.amphora_id != amphora_id:
        raise HeartbeatRefused(HeartbeatRefusal.FORGED, f"Amphora {amphora_id} signed for another one.")
    return heartbeat


def split_heartbeat(heartbeat: Heartbeat, max_bytes: int = 1400) -> tuple[Heartbeat, ...]:
    """Return the parts of a heartbeat so that each makes a datagram of at most `max_bytes`, in order.

    Texts longer than `TEXT_LENGTH` are cut, and what does not print becomes `?`. An item that alone is too large gets
    a part of its own.
    """
    members = tuple(map(_clean_text, heartbeat.members))
    whole = msgspec.structs.replace(heartbeat, members=members)
    # Nearly all are small.
    if ID_BYTES + len(_encoder.encode(whole)) + MAC_BYTES <= max_bytes:
        return (whole,)
    items: list[ListenerObserved | MemberObserved] = [*heartbeat.listeners, *members]
    empty = msgspec.structs.replace(heartbeat, listeners=(), members=(), part=MOST_PARTS - 1, parts=MOST_PARTS)
    # Array headers of the two lists grow from one byte to three.
    room = max_bytes - ID_BYTES - MAC_BYTES - len(_encoder.encode(empty)) - 4
    groups: list[list[ListenerObserved | MemberObserved]] = [[]]
    left = room
    for item in items:
        size = len(_encoder.encode(item))
        if size > left and groups[-1]:
            groups.append([])
            left = room
        groups[-1].append(item)
        left -= size
    return tuple(_part_of(heartbeat, group, number, len(groups)) for number, group in enumerate(groups))


def _clean_text(member: MemberObserved) -> MemberObserved:
    # The words come from a server that a tenant runs: half a character must not keep the heartbeat from being sent.
    text = make_printable(member.text, TEXT_LENGTH)
    return member if text == member.text else msgspec.structs.replace(member, text=text)


def _part_of(
    heartbeat: Heartbeat, items: Sequence[ListenerObserved | MemberObserved], part: int, parts: int
) -> Heartbeat:
    return msgspec.structs.replace(
        heartbeat,
        part=part,
        parts=parts,
        listeners=tuple(item for item in items if isinstance(item, ListenerObserved)),
        members=tuple(item for item in items if isinstance(item, MemberObserved)),
    )


def join_heartbeat(parts: Sequence[Heartbeat]) -> Heartbeat:
    """Return the whole heartbeat of all its parts, given in any order."""
    ordered = sorted(parts, key=lambda part: part.part)
    return msgspec.structs.replace(
        ordered[0],
        part=0,
        parts=1,
        listeners=tuple(listener for part in ordered for listener in part.listeners),
        members=tuple(member for part in ordered for member in part.members),
    )
