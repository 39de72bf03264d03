"""Which marks of a host the database believes."""

import pytest

from statera.model.deployment import MOST_AHEAD, is_credible


@pytest.mark.parametrize(
    ("seen", "expected"), [(0, True), (7, True), (7 + MOST_AHEAD, True), (8 + MOST_AHEAD, False), (-1, False)]
)
def test_a_mark_that_no_database_has_come_to_is_not_believed(seen: int, expected: bool) -> None:
    assert is_credible(seen, 7) is expected
