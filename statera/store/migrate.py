"""Bring the schema to this version, and say which one it is. Synchronous: runs once, before anything serves."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from statera.base.errors import Transient
from statera.store.engine import SETTINGS, driver_url
from statera.store.link import LINK

_LOCK_KEY = 0x53544154
"""Of the advisory lock that keeps two upgrades apart; no other meaning."""

LOCK_MOST_MS = 1000
LOCK_AGAIN_S = 1.0
LOCKED_WITHIN_S = 60.0

_CAUSES = (
    "connection refused",
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "could not translate host name",
    "failed to resolve host",
    "timeout expired",
    "no such file or directory",
    "permission denied",
    "too many clients",
    "does not exist",
)
"""What a driver may say of a connection that failed and that tells nobody a secret; the first that is there counts."""


class _Locked(Transient):
    """Somebody else holds what the upgrade changes."""

    def __init__(self) -> None:
        sentence = "Other sessions, a backup say, hold tables that the upgrade changes: try again when they have ended."
        super().__init__("database-unavailable", sentence, retry_after_s=5.0)


def upgrade(url: str, revision: str = "head") -> str:
    """Apply the migrations that are missing and return the revision; two at once wait for each other.

    A database that a later version has upgraded stays as it is: it serves this one, too.

    All of it is done or none. Raises `Transient` (slug `database-unavailable`) when the database does not answer, or
    others hold its tables for too long.
    """
    deadline = time.monotonic() + LOCKED_WITHIN_S
    while True:
        try:
            return _upgrade(url, revision)
        except _Locked:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOCK_AGAIN_S)


def _upgrade(url: str, revision: str) -> str:
    config = _config()
    with _connect(url) as connection:
        with connection.begin():
            # Whoever waits for a table keeps all who come later waiting, too: it gives up soon, and comes back.
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_MOST_MS}ms'"))
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            config.attributes["connection"] = connection
            if not is_later(_read_revision(connection)):
                command.upgrade(config, revision)
            _keep_settings(connection)
        return _read_revision(connection)


def _keep_settings(connection: sa.Connection) -> None:
    # For sessions that a pooler starts, where nobody else can set them.
    names = connection.execute(sa.text("SELECT quote_ident(current_database())")).scalar_one()
    for name, value in SETTINGS.items():
        connection.execute(sa.text(f"ALTER ROLE CURRENT_USER IN DATABASE {names} SET {name} = '{value}'"))
        # This one has begun without, and a pooler gives it to others.
        connection.execute(sa.text(f"SET {name} = '{value}'"))


def current_revision(url: str) -> str:
    """Return the revision of the database's schema, "" before the first migration. Raises `Transient`."""
    with _connect(url) as connection:
        return _read_revision(connection)


def head_revision() -> str:
    """Return the revision that this version of Statera needs."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def is_later(revision: str) -> bool:
    """Say whether a revision is one of a later version: they are numbers of four digits."""
    return revision > head_revision()


def _config() -> Config:
    config = Config()
    # Alembic interpolates `%` in its options, and a path may hold one.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _read_revision(connection: sa.Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or ""


@contextmanager
def _connect(url: str) -> Iterator[sa.Connection]:
    arguments = {**LINK, "connect_timeout": 10, "prepare_threshold": None}
    engine = sa.create_engine(driver_url(url), poolclass=sa.NullPool, connect_args=arguments)
    try:
        with engine.connect() as connection:
            yield connection
    except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
        if isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise _Locked from error
        # The driver's own text may hold the connection string; it stays in the chained exception.
        sentence = f"The database of database.url does not answer{tell_cause(str(error.orig))}."
        raise Transient("database-unavailable", sentence, retry_after_s=2.0) from error
    finally:
        engine.dispose()


def tell_cause(words: str) -> str:
    """Return what is known of a failed connection, without what the driver says beside it: ": ..." or nothing."""
    cause = next((cause for cause in _CAUSES if cause in words.lower()), "")
    return f": {cause}" if cause else ""
