"""The API behind a real HTTP server on a free loopback port, in a thread of its own.

With `compute.driver = "noop"` a worker runs beside it, so that everything becomes ACTIVE without anything being built.
"""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn

from statera.api.application import create_application
from statera.app import has_agents, open_compute, open_network, open_tokens
from statera.base.clock import SystemClock
from statera.base.settings import Settings
from statera.control.worker import run_control
from statera.store.engine import Store
from tests.contract.keeper import make_keeper

WITHIN_S = 20.0


@contextlib.contextmanager
def serve(database_url: str, settings: Settings) -> Iterator[str]:
    """Give the URL of an API on this database, stopped in the end."""
    # With its protocol named, asyncio sends small answers at once (TCP_NODELAY).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server: list[uvicorn.Server] = []
    thread = threading.Thread(target=lambda: asyncio.run(_run(database_url, settings, listener, server)), daemon=True)
    thread.start()
    deadline = time.monotonic() + WITHIN_S
    while not (server and server[0].started):
        assert thread.is_alive(), "the server ended before it started"
        assert time.monotonic() < deadline, "the server did not start"
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server[0].should_exit = True
        thread.join(WITHIN_S)
        listener.close()


async def _run(database_url: str, settings: Settings, listener: socket.socket, server: list[uvicorn.Server]) -> None:
    store, stop = Store(database_url), asyncio.Event()
    network = open_network(settings, store)
    application = create_application(
        store=store,
        network=network,
        settings=settings,
        clock=SystemClock(),
        tokens=open_tokens(settings),
        keeper=make_keeper(store),
    )
    server.append(uvicorn.Server(uvicorn.Config(application, log_level="warning", lifespan="off")))
    async with asyncio.TaskGroup() as group:
        if not has_agents(settings):
            group.create_task(_work(store, settings, stop))
        await server[0].serve(sockets=[listener])
        stop.set()
    await store.close()


async def _work(store: Store, settings: Settings, stop: asyncio.Event) -> None:
    network, compute = open_network(settings, store), open_compute(settings)
    await run_control(store=store, network=network, compute=compute, settings=settings, clock=SystemClock(), stop=stop)
