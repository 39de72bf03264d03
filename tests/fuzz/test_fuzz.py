"""Every parser of bytes of others: only the errors that it documents, in time, in little memory."""

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from statera.api.wire import read_body
from statera.base.errors import Refused
from statera.base.unreadable import UNREADABLE
from statera.model.heartbeat import Heartbeat, HeartbeatRefused, decode_heartbeat
from tests.contract.test_tables import CREATED, UPDATED
from tests.fuzz.mutate import mutate
from tests.fuzz.once import Hung, keep_find, try_once
from tests.fuzz.targets import ANSWERS, CORPUS, KEY, NOW, REQUESTS, TARGETS, Target, load_corpus


def try_often(target: Target, corpus: list[bytes], folder: Path, seed: int) -> None:
    """Try changes of the corpus; a find is kept in the folder, and its error tells the bytes."""
    dice = random.Random(seed)
    for _ in range(target.tries):
        data = mutate(dice, corpus)
        try:
            try_once(target, data)
        except (Exception, Hung) as error:
            keep_find(folder, data, error)
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    for path in sorted((CORPUS / name).iterdir()):
        try:
            try_once(TARGETS[name], path.read_bytes())
        except (Exception, Hung) as error:
            error.add_note(str(path))
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_mutations(name: str) -> None:
    try_often(TARGETS[name], load_corpus(name), CORPUS / name, random.SystemRandom().randrange(2**32))


def test_the_corpus_is_of_what_is_fuzzed() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


# A corpus reaches what it is for


@pytest.mark.parametrize(
    ("name", "kind"), [("answers", kind) for kind in ANSWERS] + [("requests", kind) for kind in REQUESTS], ids=str
)
def test_the_corpus_has_one_of_each_message(name: str, kind: type[object]) -> None:
    assert _is_read(lambda data: msgspec.json.decode(data, type=kind), name, *UNREADABLE)


@pytest.mark.parametrize("name", [name for name in CREATED | UPDATED if "." not in name])
def test_the_corpus_has_one_of_each_body(name: str) -> None:
    kind = CREATED.get(name) or UPDATED[name]
    assert _is_read(lambda data: read_body(kind, msgspec.json.decode(data), name, name), "bodies", *UNREADABLE, Refused)


def test_the_corpus_has_a_heartbeat_in_parts() -> None:
    told = list[Heartbeat]()
    for data in load_corpus("heartbeats"):
        with contextlib.suppress(HeartbeatRefused):
            told.append(decode_heartbeat(data, lambda _: KEY, NOW, 30.0))
    assert {(one.part, one.parts) for one in told} >= {(0, 2), (1, 2)}


def _is_read(read: Callable[[bytes], object], name: str, *refusals: type[BaseException]) -> bool:
    for data in load_corpus(name):
        with contextlib.suppress(*refusals):
            read(data)
            return True
    return False


# The fuzzer itself


def test_a_find_is_kept_and_tells_its_bytes(tmp_path: Path) -> None:
    def refuse(data: bytes) -> None:
        assert b"\0" not in data

    with pytest.raises(AssertionError) as told:
        try_often(Target(refuse), [b"\0"], tmp_path, seed=1)
    (path,) = tmp_path.iterdir()
    assert b"\0" in path.read_bytes()
    assert told.value.__notes__ == [f"{path.stat().st_size} bytes, kept in {path}: {path.read_bytes()!r}"]


def test_what_takes_much_memory_is_a_find_also_after_what_took_more() -> None:
    def take(data: bytes) -> None:
        b"x" * (int(data) << 20)

    for mib in (b"200", b"100"):
        with pytest.raises(MemoryError, match="3 bytes took"):
            try_once(Target(take), mib)
