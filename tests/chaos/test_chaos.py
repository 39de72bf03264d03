"""A short chaos on the real thing. `make chaos` is the long one; a seed that failed is replayed with --seed."""

import os

import pytest

from tests.chaos.run import Chaos

pytestmark = [pytest.mark.e2e, pytest.mark.root]

SEED, LENGTH_S, PAUSE_S = 891, 15.0, 0.7
"""A seed whose story has every kind of fault but one."""


def test_everything_converges_after_faults_of_every_kind() -> None:
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("plays hosts with namespaces: needs root")
    outcome = Chaos(SEED, LENGTH_S, PAUSE_S, f"c{os.getpid() % 10_000}", print).run()
    print(outcome)
    assert outcome.wrong == []
    assert outcome.answered > 100
    assert outcome.faults > 8
