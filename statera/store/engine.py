"""The connection pool, and what a database that is down looks like to everybody else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from statera.base.errors import StateraError, Transient

DRIVER = "postgresql+psycopg"


def driver_url(url: str) -> sa.URL:
    """Return the URL with our driver named, whatever spelling of PostgreSQL it came with."""
    return sa.make_url(url).set(drivername=DRIVER)


def _to_json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


class Store:
    """The database. One per process; safe for concurrent tasks."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.engine: AsyncEngine = create_async_engine(
            driver_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10.0,
            pool_recycle=1800,
            json_serializer=_to_json,
            json_deserializer=msgspec.json.decode,
            connect_args={"connect_timeout": 5, "application_name": "statera"},
        )

    async def close(self) -> None:
        await self.engine.dispose()

    async def check(self) -> None:
        """Ask the database for a sign of life. Raises `Transient`, slug `database-unavailable`."""
        async with self.read() as connection:
            await connection.execute(sa.text("SELECT 1"))

    @asynccontextmanager
    async def read(self, *, isolation: str | None = None) -> AsyncIterator[AsyncConnection]:
        """Give a connection for reading; connection trouble becomes `Transient`."""
        async with translated(), self.engine.connect() as connection:
            if isolation is not None:
                await connection.execution_options(isolation_level=isolation)
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Give a connection in a transaction that commits at the end; an error rolls everything back."""
        async with translated(), self.engine.begin() as connection:
            yield connection


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Turn the driver's connection errors into `Transient`; anything else passes."""
    try:
        yield
    except StateraError:
        raise
    except (OperationalError, InterfaceError, TimeoutError) as error:
        raise _unavailable() from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise _unavailable() from error
        raise
    except OSError as error:
        raise _unavailable() from error


def _unavailable() -> Transient:
    # The driver's own text may hold the connection string; it stays in the chained exception.
    return Transient("database-unavailable", "The database does not answer.", retry_after_s=2.0)
