"""A short chaos on the real thing. `make chaos` is the long one; a seed that failed is replayed with --seed."""

import os

import pytest

from tests.chaos.run import Chaos

SEED, LENGTH_S, PAUSE_S = 18, 35.0, 0.6
"""`test_story` tells what is in it: every kind of fault, and a kill and a pause of every role."""


@pytest.mark.e2e
@pytest.mark.root
def test_everything_converges_after_faults_of_every_kind() -> None:
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("plays hosts with namespaces: needs root")
    outcome = Chaos(SEED, LENGTH_S, PAUSE_S, f"c{os.getpid() % 10_000}", print).run()
    print(outcome)
    assert outcome.wrong == []
    assert outcome.calm_answered > 100
    assert outcome.answered > 2 * outcome.calm_answered
    assert outcome.faults > 20
    assert outcome.struck.keys() >= {"engine-pause", "vrrp-kill", "vrrp-pause"}
