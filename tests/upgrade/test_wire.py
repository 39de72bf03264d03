"""Messages of every protocol are read by this version, and those of this version by the first protocol's structs.

`tests/golden/wire/protocol_<n>` holds what that version really said: written once, never rewritten.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from statera.agent import folders
from statera.base.secret import Secret
from statera.model import agent_wire, amphora, deployment, document, heartbeat, network, own_certificates, spec
from statera.model.datagrams import DatagramDocument
from statera.model.document import Document
from statera.model.engines import EngineName
from statera.model.heartbeat import decode_heartbeat
from statera.model.protocol import FIRST_PROTOCOL, PROTOCOL, list_unknown, read_protocol
from statera.model.spec import SandboxSpec
from statera.model.vrrp import VrrpSpec
from tests.upgrade import protocol_1
from tests.upgrade.forgetting import forget, forget_marked, read_since

RECORDED = Path(__file__).parents[1] / "golden" / "wire"
ROOMS = (agent_wire, amphora, deployment, document, folders, network, own_certificates, spec)
JSON_FILES = sorted(RECORDED.glob("*/*.json"))
HEARTBEATS = sorted(RECORDED.glob("*/Heartbeat.hex"))
KEY = Secret(b"k" * 32)
NO_DEFAULT = msgspec.NODEFAULT


def find_kind(name: str) -> type[Any]:
    """Return this version's struct of a name."""
    kind: type[Any] = next(getattr(room, name) for room in ROOMS if hasattr(room, name))
    return kind


def _kind_of(path: Path) -> str:
    return path.stem.partition("-")[0]


def _list_lost(told: Any, kept: Any, place: str = "") -> Iterator[str]:
    """Name what was told and was not kept; what is missing there was its default, which is empty."""
    if isinstance(told, dict) and isinstance(kept, dict):
        for key, value in told.items():
            if key in kept:
                yield from _list_lost(value, kept[key], f"{place}.{key}")
            elif value:
                yield f"{place}.{key}"
    elif isinstance(told, list) and isinstance(kept, list) and len(told) == len(kept):
        for number, (one, other) in enumerate(zip(told, kept, strict=True)):
            yield from _list_lost(one, other, f"{place}[{number}]")
    elif told != kept:
        yield f"{place}: {told!r} became {kept!r}"


def _load(name: str, protocol: int = 1) -> Any:
    content = (RECORDED / f"protocol_{protocol}" / f"{name}.json").read_bytes()
    return msgspec.json.decode(content, type=find_kind(_kind_of(Path(name))))


def test_every_protocol_has_its_messages() -> None:
    for protocol in range(FIRST_PROTOCOL, PROTOCOL + 1):
        assert (RECORDED / f"protocol_{protocol}" / "SandboxRequest.json").exists(), "record them, once"


@pytest.mark.parametrize("path", JSON_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recorded_messages_are_read_without_loss(path: Path) -> None:
    message = msgspec.json.decode(path.read_bytes(), type=find_kind(_kind_of(path)))
    assert list(_list_lost(json.loads(path.read_bytes()), json.loads(msgspec.json.encode(message)))) == []


@pytest.mark.parametrize("path", JSON_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_first_protocol_keeps_all_that_it_knows(path: Path) -> None:
    kind = getattr(protocol_1, _kind_of(path), None)
    if kind is None:
        return  # It did not have such messages.
    today = json.loads(msgspec.json.encode(msgspec.json.decode(path.read_bytes(), type=find_kind(_kind_of(path)))))
    known = msgspec.json.decode(json.dumps(today), type=kind)
    assert list(_list_lost(json.loads(msgspec.json.encode(known)), today)) == []


@pytest.mark.parametrize("protocol", range(FIRST_PROTOCOL, PROTOCOL))
@pytest.mark.parametrize("path", JSON_FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_older_side_keeps_all_that_it_knows_and_says_nothing_later(path: Path, protocol: int) -> None:
    kind = find_kind(_kind_of(path))
    body = forget(path.read_bytes(), kind, protocol)
    if int(path.parent.name.removeprefix("protocol_")) <= protocol:
        assert list(_list_lost(json.loads(path.read_bytes()), json.loads(body))) == []
    assert list(list_unknown(msgspec.json.decode(body, type=kind), protocol)) == []


@pytest.mark.parametrize(
    "path", [one for one in JSON_FILES if one.stem != "Record"], ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_what_the_first_protocol_knew_is_what_has_no_later_mark(path: Path) -> None:
    kind = find_kind(_kind_of(path))
    kept, marked = (json.loads(one(path.read_bytes(), kind, FIRST_PROTOCOL)) for one in (forget, forget_marked))
    assert list(_list_lost(kept, marked)) == list(_list_lost(marked, kept)) == []


@pytest.mark.parametrize("path", HEARTBEATS, ids=lambda path: path.parent.name)
def test_heartbeats_of_all_protocols_are_read_by_each(path: Path) -> None:
    datagram = bytes.fromhex(path.read_text(encoding="ascii"))
    beat = decode_heartbeat(datagram, lambda _: KEY, now=1700000101.0, max_skew_s=30.0)
    assert (beat.sequence, beat.generation, beat.process) == (9, 12, 4242)
    assert [one.text for one in beat.members] == ["Connection refused", ""]
    longer = [*msgspec.to_builtins(beat), "an attribute that a later version has appended"]
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(longer), type=protocol_1.Heartbeat)
    known = msgspec.to_builtins(again)
    assert known == msgspec.to_builtins(beat)[: len(known)]
    assert msgspec.convert(longer, heartbeat.Heartbeat) == beat


# Digests


def test_digests_are_those_that_the_first_protocol_computes() -> None:
    """An agent that knows fewer attributes computes the same, as long as it is not asked for more than it knows."""
    seen, sandbox, wanted = _load("AmphoraObserved"), _load("SandboxRequest"), _load("ConfigurationRequest")
    assert sandbox.sandbox.digest() == seen.sandbox_digest
    assert wanted.haproxy.digest() == seen.configuration_digest
    handing = msgspec.structs.replace(sandbox.sandbox, handed_over_by=("10.0.0.9",))
    assert handing.digest() != seen.sandbox_digest
    older = msgspec.json.decode(msgspec.json.encode(handing), type=protocol_1.SandboxSpec)
    assert older.digest() == seen.sandbox_digest
    told = _load("ConfigurationRequest-datagrams", 2).haproxy
    plain = msgspec.structs.replace(told, datagrams=None)
    assert msgspec.json.decode(msgspec.json.encode(plain), type=protocol_1.Document).digest() == plain.digest()


def test_records_of_other_versions_say_what_they_hold_not_what_they_heard() -> None:
    """A digest that came is believed only by an agent that has kept all that came with it."""
    old, new = _load("Record"), _load("Record", PROTOCOL)
    assert old.protocol == FIRST_PROTOCOL
    assert old.read_again().tell_sandbox_digest() == new.sandbox_digest == old.sandbox.digest()
    assert old.read_again().tell_document_digest() == new.document_digest
    told = msgspec.structs.replace(new, sandbox_digest="as it came", document_digest="as it came, too")
    assert (told.read_again().tell_sandbox_digest(), told.tell_document_digest()) == ("as it came", "as it came, too")
    later = msgspec.structs.replace(told, protocol=PROTOCOL + 1).read_again()
    assert later.tell_sandbox_digest() == new.sandbox.digest()
    assert later.tell_document_digest() == new.document.digest()
    assert msgspec.structs.replace(told, document=None).tell_document_digest() == ""


# Rules


def _list_pairs() -> Iterator[tuple[type[Any], type[Any]]]:
    for name, old in vars(protocol_1).items():
        if isinstance(old, type) and issubclass(old, msgspec.Struct) and name not in ("Record", "Reason"):
            room = heartbeat if hasattr(heartbeat, name) else None
            yield old, getattr(room, name) if room else find_kind(name)


@pytest.mark.parametrize(("old", "new"), list(_list_pairs()), ids=lambda kind: kind.__name__)
def test_attributes_are_only_added_and_say_since_when(old: type[Any], new: type[Any]) -> None:
    before = {field.name: field for field in msgspec.structs.fields(old)}
    after = {field.name: field for field in msgspec.structs.fields(new)}
    assert before.keys() <= after.keys(), "an attribute has gone: older sides still send it, or need it"
    in_digest = new.__module__ in (document.__name__, spec.__name__, network.__name__)
    for name, field in after.items():
        if name not in before:
            assert field.default is not NO_DEFAULT or field.default_factory is not NO_DEFAULT, f"{name}: no default"
            if new is not heartbeat.Heartbeat:
                protocol = read_since(new, name)
                assert protocol is not None, f"{name}: mark it with `since`"
                assert protocol <= PROTOCOL, f"{name}: raise PROTOCOL"
                assert f'"{name}"' in _read_all(protocol), f"{name}: raise PROTOCOL, and record a message with it"
            is_left_out = new.__struct_config__.omit_defaults or field.default is UNSET
            assert is_left_out or not in_digest, f"{name}: would change all digests of older agents"


def _list_structs(kinds: Iterator[type[Any]]) -> set[type[Any]]:
    """Return these structs and all below them."""
    found: set[type[Any]] = set()
    waiting: list[Any] = [msgspec.inspect.type_info(kind) for kind in kinds]
    while waiting:
        info = waiting.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls not in found:
                found.add(info.cls)
                waiting += [field.type for field in info.fields]
        elif isinstance(info, msgspec.inspect.Type):
            below = [getattr(info, name) for name in info.__struct_fields__]
            waiting += [one for value in below for one in (value if isinstance(value, tuple) else (value,))]
    return found


def test_what_came_later_is_marked_in_newer_messages_too() -> None:
    """Structs that the first protocol did not have are held to the messages that were recorded with them."""
    known = {new for _, new in _list_pairs()}
    recorded = "".join(_read_all(protocol) for protocol in range(FIRST_PROTOCOL, PROTOCOL + 1))
    for kind in _list_structs(find_kind(_kind_of(path)) for path in JSON_FILES if path.stem != "Record"):
        for name in kind.__struct_fields__ if kind not in known and not kind.__struct_config__.array_like else ():
            told = f'"{name}"' in recorded or read_since(kind, name) is not None
            assert told, f"{kind.__name__}.{name}: mark it with `since`, raise PROTOCOL, record a message with it"


def _read_all(protocol: int) -> str:
    return "".join(path.read_text() for path in (RECORDED / f"protocol_{protocol}").glob("*.json"))


def test_what_an_older_side_would_drop_is_named() -> None:
    sandbox: SandboxSpec = _load("SandboxRequest").sandbox
    sharing = msgspec.structs.replace(sandbox, vrrp=VrrpSpec(priority=100, advert_ms=80))
    assert list(list_unknown(sandbox, 1)) == []
    assert list(list_unknown(msgspec.structs.replace(sandbox, handed_over_by=("10.0.0.9",)), 1)) == []
    request = agent_wire.SandboxRequest(epoch=1, sandbox=sharing, heartbeat_key=b"")
    assert list(list_unknown(request, 1)) == ["a VIP that two amphorae share (ACTIVE_STANDBY)"]
    assert list(list_unknown(request, PROTOCOL)) == []
    served = DatagramDocument(
        engine=EngineName.NGINX, load_balancer_id="", amphora_id="", max_connections=1, listeners=()
    )
    wanted = agent_wire.ConfigurationRequest(generation=1, epoch=1, haproxy=Document(datagrams=served))
    assert list(list_unknown(wanted, 1)) == ["a UDP listener"]


def test_a_side_that_does_not_tell_speaks_the_first_protocol() -> None:
    assert [read_protocol(text) for text in (None, "", "2", "-1", "²", "2.0", "123456")] == [1, 1, 2, 1, 1, 1, 1]
