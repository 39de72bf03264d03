"""Numbers in words of others: plain digits, and few enough that no row, message or division is too small for them."""

MOST_DIGITS = 18
"""The largest is below 2^60. Python refuses more than some thousand, and PostgreSQL what needs more than 63 bits."""


def read_digits(text: str, most: int = MOST_DIGITS) -> int | None:
    """Return the number that a word of at most `most` ASCII digits is, None for any other word.

    Not left to `str.isdigit` alone: it takes digits of any script, superscripts too, of which `int` takes some.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= most else None
