"""The migrations lead from nothing to exactly what `tables.py` says."""

import concurrent.futures

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from statera.base.errors import Transient
from statera.drivers.postgres_embedded import EmbeddedPostgres
from statera.store.engine import driver_url
from statera.store.migrate import current_revision, head_revision, tell_cause, upgrade
from statera.store.tables import TABLE_OF, metadata
from tests.fixtures.postgres import make_database

_COLUMNS = """
    SELECT table_name, column_name, data_type, udt_name, is_nullable, column_default, generation_expression, is_identity
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY 1, 2
"""
_CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version' ORDER BY 1, 2
"""
_INDEXES = """
    SELECT tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1, 2
"""


def test_migrations_lead_to_the_metadata(database_url: str, postgres: EmbeddedPostgres) -> None:
    with make_database(postgres, template="template0") as bare_url:
        engine = sa.create_engine(driver_url(bare_url))
        metadata.create_all(engine)
        engine.dispose()
        for question in (_COLUMNS, _CONSTRAINTS, _INDEXES):
            assert _ask(database_url, question) == _ask(bare_url, question)


def test_alembic_sees_no_difference(database_url: str) -> None:
    engine = sa.create_engine(driver_url(database_url))
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_upgrade_twice_at_once_and_again(postgres: EmbeddedPostgres) -> None:
    with make_database(postgres, template="template0") as url:
        assert current_revision(url) == ""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            revisions = list(pool.map(upgrade, [url, url]))
        assert revisions == [head_revision()] * 2
        assert upgrade(url) == head_revision() == current_revision(url)


def test_upgrade_without_a_database_is_transient(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(Transient) as caught:
        upgrade(postgres.url_of("no_such_database"))
    assert caught.value.reason.slug == "database-unavailable"
    assert "The database of database.url does not answer: " in caught.value.sentence


def test_the_cause_is_told_without_the_rest() -> None:
    told = tell_cause('connection to server at "h", port 1 failed: FATAL:  password authentication failed for user "u"')
    assert told == ": password authentication failed"
    assert tell_cause("something with password=secret in it") == ""


def test_every_attribute_has_a_column() -> None:
    for kind, table in TABLE_OF.items():
        assert set(kind.__struct_fields__) <= set(table.c.keys())


def _ask(url: str, question: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(question).fetchall()
