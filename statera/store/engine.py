"""The connection pool, and what a database that is down looks like to everybody else.

A single statement runs through `execute`: committed by itself, one round trip. Several go through `run`. Both are tried
again after a deadlock or a serialization failure, so the work given to `run` must be safe to repeat until it commits.
"""

import select
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast

import msgspec
import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError, TimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from statera.base.errors import Lasting, StateraError, Transient
from statera.base.metrics import counter, gauge
from statera.store.link import ANSWER_MOST_S, LINK, opener

T = TypeVar("T")
AnyRow = sa.Row[*tuple[Any, ...]]

POOL_SIZE = gauge("statera_database_connections_limit", "Connections to the database that this process may have.")
POOL_BUSY = gauge("statera_database_connections_busy", "Connections that are in use now.")
UNAVAILABLE = counter("statera_database_unavailable_total", "Times that the database did not answer.")
COLLISIONS = counter("statera_database_collisions_total", "Transactions that met another one and were tried again.")

DRIVER = "postgresql+psycopg"
TRIES = 5
"""Of one transaction that collides with others."""
SETTINGS = {"timezone": "UTC", "jit": "off", "statement_timeout": "30s", "idle_in_transaction_session_timeout": "60s"}
"""Of our sessions. Short statements only: compiling them costs more than it saves, and none may hold a row for ever."""


def driver_url(url: str) -> sa.URL:
    """Return the URL with our driver named, whatever spelling of PostgreSQL it came with. Raises `Lasting`."""
    try:
        return sa.make_url(url).set(drivername=DRIVER)
    except ValueError:
        # Its text may hold a part of the password.
        sentence = "The URL of database.url, or of database.direct_url, has no host and port that can be read."
        raise Lasting("configuration-invalid", sentence) from None


def session_arguments(*, pooled: bool) -> dict[str, Any]:
    """Return what the driver is told for a session with `SETTINGS`.

    Behind a pooler (`pooled`) each transaction may have another session: no statement is prepared there, nothing is set
    at the start, which poolers refuse; `migrate.upgrade` has made the settings the role's own.
    """
    if pooled:
        return {"prepare_threshold": None}
    return {"options": " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())}


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class Store:
    """The database. One per process and event loop; safe for concurrent tasks."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 8,
        pooled: bool = False,
        direct_url: str = "",
        answer_most_s: float = ANSWER_MOST_S,
    ) -> None:
        """`pooled`: the URL leads to a pooler of transactions; `direct_url` then leads past it, if any does.

        A server that has not answered for `answer_most_s` seconds counts as lost.
        """
        arguments = {"async_creator_fn": opener(answer_most_s), **LINK, "application_name": "statera"}
        self.listen_url: sa.URL | None = driver_url(direct_url or url) if direct_url or not pooled else None
        """Where LISTEN works, None when nowhere."""
        self.engine: AsyncEngine = create_async_engine(
            driver_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10.0,
            pool_recycle=1800,
            hide_parameters=True,
            json_serializer=_to_json,
            json_deserializer=msgspec.json.decode,
            connect_args={**arguments, **session_arguments(pooled=pooled)},
        )
        sa.event.listen(self.engine.sync_engine, "checkout", _refuse_closed)
        POOL_SIZE.set(pool_size)
        POOL_BUSY.set_function(cast(sa.QueuePool, self.engine.pool).checkedout)

    async def close(self) -> None:
        await self.engine.dispose()

    async def check(self) -> None:
        """Ask the database for a sign of life. Raises `Transient`, slug `database-unavailable`."""
        await self.execute(sa.text("SELECT 1"))

    async def execute(self, statement: sa.Executable, values: Mapping[str, Any] | None = None) -> Sequence[AnyRow]:
        """Run one statement, committed by itself; return its rows, none for one that returns nothing."""
        return await _repeat(lambda: greenlet_spawn(self._execute_once, statement, values))

    def _execute_once(self, statement: sa.Executable, values: Mapping[str, Any] | None) -> Sequence[AnyRow]:
        # All of it in one greenlet: SQLAlchemy's own `AsyncConnection` begins five for the same, each with its price.
        with self.engine.sync_engine.connect() as connection:
            _set_autocommit(connection, True)
            result = connection.execute(statement, values)
            return result.all() if result.returns_rows else ()

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in a transaction that commits at the end; an error rolls everything back."""

        async def run_once() -> T:
            async with self._begin() as connection:
                return await work(connection)

        return await _repeat(run_once)

    @asynccontextmanager
    async def read(self, *, isolation: str = "AUTOCOMMIT") -> AsyncIterator[AsyncConnection]:
        """Give a connection for reading; connection trouble becomes `Transient`."""
        with translated():
            async with self.engine.connect() as connection:
                await connection.execution_options(isolation_level=isolation)
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction that commits at the end; an error rolls everything back."""
        with translated():
            async with self._begin() as connection:
                yield connection

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        async with self.engine.connect() as connection:
            await connection.run_sync(_set_autocommit, False)
            async with connection.begin():
                yield connection


def _set_autocommit(connection: sa.Connection, wanted: bool) -> None:
    """Have each statement commit itself, or not.

    Kept as it is until somebody wants the other: SQLAlchemy's isolation levels are set and reset for each use, and cost
    a read more than its own work.
    """
    session: Any = connection.connection.dbapi_connection
    if session.autocommit != wanted:
        session.autocommit = wanted


class _Collided(Transient):
    """Two transactions stood in each other's way; the same one goes through when repeated."""

    def __init__(self) -> None:
        super().__init__("database-unavailable", "The database is too busy to answer.", retry_after_s=1.0)


async def _repeat(attempt: Callable[[], Awaitable[T]]) -> T:
    for number in range(1, TRIES + 1):
        try:
            with translated():
                return await attempt()
        except _Collided:
            if number == TRIES:
                raise
    raise AssertionError("the last attempt raises")


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's connection errors into `Transient`; anything else passes."""
    try:
        yield
    except StateraError:
        raise
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
            COLLISIONS.inc()
            raise _Collided from error
        if isinstance(error.orig, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
            raise Transient(
                "database-not-upgraded",
                "The database's schema is not that of this version: run `statera db upgrade`.",
                retry_after_s=5.0,
            ) from error
        if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
            raise _unavailable() from error
        if isinstance(error.orig, psycopg.errors.ReadOnlySqlTransaction):
            raise _unavailable() from error
        raise
    except (TimeoutError, DisconnectionError, psycopg.OperationalError, OSError) as error:
        raise _unavailable() from error


def _unavailable() -> Transient:
    # The driver's own text may hold the connection string; it stays in the chained exception.
    UNAVAILABLE.inc()
    return Transient("database-unavailable", "The database does not answer.", retry_after_s=2.0)


def _refuse_closed(connection: Any, _record: Any, _proxy: Any) -> None:
    """Drop a pooled connection that the server has closed, at the price of one system call and no round trip.

    An idle connection has nothing to read; when it has, it is the server's farewell.
    """
    closed = connection.driver_connection.closed
    if not closed:
        watcher = select.poll()
        watcher.register(connection.driver_connection.fileno(), select.POLLIN)
        closed = bool(watcher.poll(0))
    if closed:
        raise DisconnectionError("the server closed this connection")
