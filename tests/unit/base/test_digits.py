"""Numbers of others."""

import pytest

from statera.base.digits import read_digits


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("9" * 18, 10**18 - 1)]
    + [(text, None) for text in ("", "-1", "+1", " 1", "1\n", "1.0", "²", "٣", "9" * 19, "9" * 5000)],
)
def test_only_few_plain_digits_are_a_number(text: str, number: int | None) -> None:
    assert read_digits(text) == number
