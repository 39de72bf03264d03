"""How Alembic runs our migrations: on the connection and in the transaction that `migrate.py` opened."""

from alembic import context

from statera.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
