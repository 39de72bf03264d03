"""How many wrong passwords of one user, or refused tokens from one address, are looked at in a minute."""

import ipaddress
from collections import deque
from collections.abc import Callable

from statera.base.recent import remember

WINDOW_S = 60.0
MOST_NAMES = 4096
"""Names remembered at a time; whoever invents more makes old ones forgotten, and still waits for each check's turn."""


class FailedLogins:
    """Remembers failures of the last minute by name: of a user, known or not, or of a place. `now` returns seconds."""

    def __init__(self, most: int, now: Callable[[], float]) -> None:
        self._most = most
        self._now = now
        self._failures: dict[str, deque[float]] = {}

    def wait_s(self, name: str) -> float:
        """Return after how many seconds this one may try again, 0 when it may now."""
        failures = self._failures.get(name)
        if failures is None:
            return 0.0
        while failures and failures[0] <= self._now() - WINDOW_S:
            failures.popleft()
        if not failures:
            del self._failures[name]
            return 0.0
        return failures[0] + WINDOW_S - self._now() if len(failures) >= self._most else 0.0

    def note(self, name: str) -> None:
        """Count a failure."""
        failures = self._failures.get(name) or deque(maxlen=self._most)
        failures.append(self._now())
        remember(self._failures, name, failures, MOST_NAMES)

    def take_back(self, name: str) -> None:
        """Count one failure less: the newest was none."""
        if failures := self._failures.get(name):
            failures.pop()


def find_place(address: str) -> str:
    """Return what of an address tells clients apart: all of IPv4; of IPv6 the /64, which is one client's."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(found.ipv4_mapped or ipaddress.ip_network((found.packed[:8] + bytes(8), 64)))
