"""The only place that wires concrete drivers into rooms. Each `run_` is the main coroutine of one process.

Rooms are imported inside the functions: a process loads only what it runs, which is what keeps all of them together
within their memory budget, and lets the agent ship without the store.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from statera.base.logging import get_logger
from statera.base.settings import HostSettings, Settings

if TYPE_CHECKING:
    from statera.drivers.postgres_embedded import EmbeddedPostgres
    from statera.store.engine import Store

log = get_logger("app")


def open_embedded_postgres(settings: Settings) -> "EmbeddedPostgres":
    """Return the private PostgreSQL of this data directory, not started."""
    from statera.drivers.postgres_embedded import EmbeddedPostgres

    return EmbeddedPostgres(
        data_dir=Path(settings.data_dir) / "postgres",
        run_dir=Path(settings.run_dir) / "pg",
        os_user=settings.database.os_user,
        bin_dir=settings.database.bin_dir,
    )


def find_database_url(settings: Settings) -> str:
    """Return the configured database, else the private one's."""
    return settings.database.url or open_embedded_postgres(settings).url


def open_store(settings: Settings) -> "Store":
    """Return the store of this deployment; it connects when first used."""
    from statera.store.engine import Store

    return Store(find_database_url(settings), pool_size=settings.database.pool_size)


def upgrade_database(settings: Settings) -> str:
    """Bring the schema to this version and return a sentence that says so."""
    from statera.store.migrate import upgrade

    revision = upgrade(find_database_url(settings))
    return f"The database is at revision {revision}."


def list_hosts(settings: Settings) -> tuple[HostSettings, ...]:
    """Return the hosts that run agents: the configured ones, else the one of `statera up`."""
    own = HostSettings(name=settings.agent.name, url=f"https://{settings.agent.host}:{settings.agent.port}")
    return settings.compute.hosts or (own,)


def list_heartbeat_targets(settings: Settings) -> tuple[str, ...]:
    """Return `host:port` of the health processes that agents report to."""
    return settings.agent.heartbeat_targets or (f"{settings.health.host}:{settings.health.port}",)


def pki_dir(settings: Settings) -> Path:
    """Return the folder of Statera's own certificates."""
    return Path(settings.data_dir) / "pki"
