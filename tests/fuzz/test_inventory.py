"""No parser is forgotten: each place that reads bytes or texts has a fuzzer that runs it, or a reason to have none."""

import ast
import sys
from collections.abc import Callable
from functools import partial
from types import CodeType, FrameType

import pytest

from tests.fuzz.inventory import FUZZED, NOT_FUZZED, REPEATED, ROOT, list_places
from tests.fuzz.once import try_once
from tests.fuzz.targets import TARGETS, load_corpus


@pytest.fixture(scope="module")
def places() -> dict[str, int]:
    """The places of the source, with a line of each."""
    found: dict[str, int] = {}
    for path in sorted(ROOT.rglob("*.py")):
        file = str(path.relative_to(ROOT))
        for place, line in list_places(ast.parse(path.read_text(encoding="utf-8")), file):
            found.setdefault(place, line)
    return found


def test_each_place_has_an_entry(places: dict[str, int]) -> None:
    known = {place for table in (FUZZED, REPEATED, NOT_FUZZED) for listed in table.values() for place in listed}
    missing = [f"statera/{place}, line {line}" for place, line in places.items() if place not in known]
    assert missing == [], "they read bytes or texts: give each a fuzzer or a reason in tests/fuzz/inventory.py"
    assert known - places.keys() == set(), "they are not there any more"


def test_each_place_has_one_entry() -> None:
    every = [place for table in (FUZZED, REPEATED, NOT_FUZZED) for places in table.values() for place in places]
    assert sorted(every) == sorted(set(every))


@pytest.mark.parametrize("name", FUZZED | REPEATED)
def test_the_fuzzer_runs_what_it_is_said_to_run(name: str) -> None:
    # One by one: what recurses too deeply ends the profile, too.
    runs = [_profile(partial(try_once, TARGETS[name], data)) for data in load_corpus(name)]
    seen = {f"{code.co_filename.removeprefix(f'{ROOT}/')} {code.co_qualname}" for run in runs for code in run}
    assert set(FUZZED.get(name, ())) - seen == set()


def _profile(work: Callable[[], object]) -> set[CodeType]:
    """Return the functions that ran."""
    found: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            found.add(frame.f_code)

    known = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(known)
    return found


def test_a_place_is_found_wherever_it_stands() -> None:
    source = """
import msgspec
decoder = msgspec.json.Decoder()
class Reader:
    def load(self):
        return [x509.load_pem_x509_csr(one) for one in self.all()]
    async def fetch(self):
        def parse_line(line: str | None): ...
        return decoder.decode(await self.get())
def read_frame(count: int, *, frame: bytes): ...
def read_clock(now: float): ...
"""
    assert list(list_places(ast.parse(source), "a.py")) == [
        ("a.py <module>", 3),
        ("a.py Reader.load", 6),
        ("a.py Reader.fetch.<locals>.parse_line", 8),
        ("a.py Reader.fetch", 9),
        ("a.py read_frame", 10),
    ]
