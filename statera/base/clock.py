"""Time as an argument: rooms that decide get `now` passed in; only edges call a clock."""

import datetime as dt
from typing import Protocol


class Clock(Protocol):
    """Tells the time; tests and the simulator bring their own."""

    def now(self) -> dt.datetime:
        """Return the current time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)
