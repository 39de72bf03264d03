"""Every parser of bytes of others: only the errors that it documents, in time, in little memory."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import mutate
from tests.fuzz.once import try_once
from tests.fuzz.targets import CORPUS, TARGETS, load_corpus

TRIES = 40


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    for data in load_corpus(name):
        try_once(TARGETS[name], data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations(name: str) -> None:
    corpus = load_corpus(name)

    @settings(max_examples=TRIES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**64).map(lambda seed: mutate(random.Random(seed), corpus)))
    def look(data: bytes) -> None:
        try_once(TARGETS[name], data)

    look()


def test_the_corpus_is_of_what_is_fuzzed() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
