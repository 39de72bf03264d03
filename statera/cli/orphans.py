"""`statera orphans`: sandboxes on hosts that the database does not know."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rich.table import Table

from statera.app import open_compute, open_store
from statera.base.settings import Settings
from statera.cli.tables import print_table
from statera.control.sweep import Stray, collect_strays, list_strays
from statera.model.deployment import Deployment
from statera.model.ports import ComputeDriver
from statera.store.deployment import load_deployment
from statera.store.engine import Store

T = TypeVar("T")


def print_orphans(settings: Settings) -> None:
    """Print them, whose they are, and whether workers remove them."""

    async def look(store: Store, compute: ComputeDriver) -> tuple[Deployment, list[Stray]]:
        return await load_deployment(store), await list_strays(store, compute)

    deployment, strays = _run(settings, look)
    if deployment.held_since is not None:
        since = f"{deployment.held_since:%Y-%m-%d %H:%M:%S}"
        print(f"The database was set back: since {since} workers remove nothing. `statera orphans collect` ends that.")
    if not strays:
        print("The database knows every sandbox on the hosts that answer.")
        return
    table = Table("host", "amphora", "load balancer", "made by", "what becomes of it", box=None)
    for stray in strays:
        whose = f"deployment {stray.amphora.deployment_id}" if stray.is_foreign else "this deployment"
        held = stray.is_foreign or deployment.held_since is not None
        becomes = "stays" if held else f"removed after {settings.reconcile.orphan_grace_s:.0f} s"
        table.add_row(stray.host, stray.amphora.id, stray.amphora.load_balancer_id, whose, becomes)
    print_table(table)


def collect_orphans(settings: Settings, *, foreign: bool) -> None:
    """Remove them now, and let workers remove later ones by themselves again. Raises `Transient`."""

    async def collect(store: Store, compute: ComputeDriver) -> list[Stray]:
        return await collect_strays(store, compute, foreign=foreign)

    for stray in _run(settings, collect):
        print(f"Removed amphora {stray.amphora.id} of load balancer {stray.amphora.load_balancer_id} on {stray.host}.")
    print("What the database does not know is removed by workers again.")


def _run(settings: Settings, work: Callable[[Store, ComputeDriver], Awaitable[T]]) -> T:
    async def run() -> T:
        store, compute = open_store(settings), open_compute(settings)
        try:
            return await work(store, compute)
        finally:
            await compute.close()
            await store.close()

    return asyncio.run(run())
