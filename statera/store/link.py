"""One connection to the database, and when it counts as lost: a cut, or a server that is frozen, says no word."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

T = TypeVar("T")

LINK = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Of every connection, in libpq's words; the last in milliseconds, the others in seconds and probes.

A database that is cut off without a word is noticed after 10 s. The kernel alone sends a statement again for a quarter
of an hour, and waits for an answer for two hours. Unix sockets take none of it.
"""
ANSWER_MOST_S = 40.0
"""Seconds until a server that answers nothing counts as lost: more than its own limit of a statement.

The kernel of one that is frozen, or waits for its disk, answers the probes of `LINK` for it.
"""


class Link(psycopg.AsyncConnection[Any]):
    """A connection that hangs up when an answer takes longer than `answer_most_s` seconds."""

    answer_most_s = ANSWER_MOST_S

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Wait for an answer. Raises `psycopg.OperationalError` when it has hung up meanwhile."""
        timer = asyncio.get_running_loop().call_later(self.answer_most_s, self._hang_up)
        try:
            return await super().wait(gen, *args, **kwargs)
        finally:
            timer.cancel()

    def _hang_up(self) -> None:
        # libpq reads an end and closes: whoever waits is told as of any lost connection.
        with socket.socket(fileno=self.fileno()) as line:
            try:
                line.shutdown(socket.SHUT_RDWR)
            finally:
                line.detach()


def opener(answer_most_s: float) -> Callable[..., Awaitable[Link]]:
    """Return what opens connections, as the engine asks for them."""

    async def connect(*args: Any, **kwargs: Any) -> Link:
        link = await Link.connect(*args, **kwargs)
        link.answer_most_s = answer_most_s
        return link

    return connect
