"""The API behind a real HTTP server on a free loopback port, in a thread of its own.

With `compute.driver = "noop"` a worker runs beside it, so that everything becomes ACTIVE without anything being built.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import tomli_w
import uvicorn

from statera.api.application import create_application
from statera.app import has_agents, open_compute, open_network, open_tokens
from statera.base.clock import SystemClock
from statera.base.settings import Settings
from statera.cli.ports import choose_port
from statera.control.surroundings import Surroundings
from statera.control.worker import run_control
from statera.store.engine import Store
from tests.contract.keeper import make_keeper

WITHIN_S = 20.0
PROCESSES_WITHIN_S = 60.0


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
    around = Surroundings(
        store=store,
        network=network,
        compute=compute,
        settings=settings,
        clock=SystemClock(),
        secrets=make_keeper(store),
    )
    await run_control(around, stop)


@contextlib.contextmanager
def run_noop(database_url: str, folder: Path, **sections: Any) -> Iterator[str]:
    """Give the URL of `statera up` with drivers that build nothing: all that is asked for becomes ACTIVE."""
    port = choose_port(0, socket.SOCK_STREAM)
    noop: dict[str, Any] = {"compute": {"driver": "noop"}, "network": {"driver": "noop"}}
    places = {"data_dir": f"{folder}/data", "run_dir": f"{folder}/run", "database": {"url": database_url}}
    config, log = folder / "statera.toml", folder / "log"
    config.write_text(tomli_w.dumps(places | noop | sections | {"api": {"port": port}}), encoding="utf-8")
    command = [sys.executable, "-m", "statera", "up", "--config", str(config)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + PROCESSES_WITHIN_S
    try:
        while not _listens(url):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, "the API did not start"
            time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(PROCESSES_WITHIN_S)


def _listens(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
