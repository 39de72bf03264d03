"""Bytes that are nearly right: pieces of a corpus, changed a little."""

import random
from collections.abc import Sequence

MOST_BYTES = 200_000
ODD = (
    b"",
    b"\0",
    b"\n",
    b"\r\n\r\n",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xc3\xa9",
    b"\xe2\x80\xa8",
    b"-1",
    b"0",
    b"1e999",
    b"NaN",
    b"18446744073709551616",
    b"99999999999999999999999999",
    b"\xc2\xb2",
    b"\xd9\xa1",
    b'"',
    b"'",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[[[[",
    b"null",
    b"true",
    b",",
    b":",
    b";",
    b"#",
    b"%",
    b"%00",
    b"%zz",
    b"$(x)",
    b"..",
    b"(",
    b")",
    b"(?:",
    b"*",
    b"{1,65535}",
    b"a|",
    b"-----BEGIN ",
    b"-----END ",
    b"\x30\x82\xff\xff",
    b"\x30\x80",
    b"\xdd\xff\xff\xff\xff",
    b"\xc1",
    b"\xdf\x7f\xff\xff\xff",
    b" " * 300,
    b"A" * 3000,
)


def mutate(dice: random.Random, corpus: Sequence[bytes]) -> bytes:
    """Return a change of one of the corpus; seldom something of no form at all."""
    if dice.random() < 0.02:
        return dice.randbytes(dice.randrange(300))
    data = dice.choice(corpus)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        data = _change(dice, data, corpus)
    return data[:MOST_BYTES]


def _change(dice: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    at = dice.randrange(len(data) + 1)
    end = min(len(data), at + dice.choice((1, 1, 2, 4, 8, 40, 1000)))
    match dice.randrange(7):
        case 0:  # A bit.
            return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :] if at < len(data) else data
        case 1:
            return data[:at] + dice.choice(ODD) + data[end:]
        case 2:
            return data[:at] + dice.choice(ODD) + data[at:]
        case 3:
            return data[:at] + data[end:]
        case 4:  # The same again, often enough to nest deeply.
            return data[:at] + data[at:end] * dice.choice((2, 3, 50, 2000)) + data[end:]
        case 5:
            other = dice.choice(corpus)
            start = dice.randrange(len(other) + 1)
            return data[:at] + other[start : start + dice.choice((4, 40, 400))] + data[end:]
        case _:
            return data[:at]
