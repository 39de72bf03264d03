"""A value that does not print."""

import hmac
from typing import Any, Generic, TypeVar

T = TypeVar("T", str, bytes)


class Secret(Generic[T]):
    """Wrap a password, key or token; `reveal()` is the only way to read it, so that every use can be found."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value: T = value

    def reveal(self) -> T:
        return self._value

    def __repr__(self) -> str:
        return "[redacted]"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return "[redacted]"

    def __eq__(self, other: object) -> bool:
        """Say whether both hold the same. How long it takes tells at most that they have different lengths."""
        if not isinstance(other, Secret) or type(self._value) is not type(other._value):
            return False
        return hmac.compare_digest(_to_bytes(self._value), _to_bytes(other._value))

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret is not pickled")


def _to_bytes(value: str | bytes) -> bytes:
    # A text of others may hold what UTF-8 cannot.
    return value.encode("utf-8", errors="surrogatepass") if isinstance(value, str) else value


class Discreet:
    """Mixed into a struct whose wire or file has a secret as plain text: it prints `[redacted]` for `unprinted` fields.

    For what only passes through; whatever is kept is a `Secret`.
    """

    __slots__ = ()
    # Not annotated: an annotation would make it an option of the configuration.
    unprinted = frozenset[str]()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        values = [(name, getattr(self, name)) for name in self.__struct_fields__]  # type: ignore[attr-defined]
        return [(name, Secret("") if value and name in self.unprinted else value) for name, value in values]

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({told})"
