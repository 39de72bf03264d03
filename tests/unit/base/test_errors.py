"""Errors carry a reason: a slug for machines, a sentence for people."""

import pytest

from statera.base.errors import Lasting, LostClaim, Refusal, Refused, StateraError, Transient


@pytest.mark.parametrize(
    ("error", "slug", "sentence"),
    [
        (Refused(Refusal.INVALID, "No."), "request-invalid", "No."),
        (Refused(Refusal.CONFLICT, "Taken.", slug="vip-address-in-use"), "vip-address-in-use", "Taken."),
        (Transient("agent-unreachable", "Silence."), "agent-unreachable", "Silence."),
        (Lasting("configuration-rejected", "Bad."), "configuration-rejected", "Bad."),
        (LostClaim("x"), "claim-lost", "Another worker has taken over load balancer x."),
    ],
)
def test_reasons(error: StateraError, slug: str, sentence: str):
    assert (error.reason.slug, error.reason.sentence, error.sentence, str(error)) == (
        slug,
        sentence,
        sentence,
        sentence,
    )
    assert error.reason.since is None


def test_kinds_do_not_mix():
    kinds = (Refused, Transient, Lasting, LostClaim)
    for kind in kinds:
        assert issubclass(kind, StateraError)
        assert [other for other in kinds if issubclass(kind, other)] == [kind]
