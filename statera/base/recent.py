"""Memory of the newest: what is kept of endlessly many, in a dictionary that never grows beyond a bound."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def remember(there: dict[K, V], key: K, value: V, most: int) -> None:
    """Keep a value as the newest; of `most` others the oldest goes."""
    there.pop(key, None)
    if len(there) >= most:
        del there[next(iter(there))]
    there[key] = value
