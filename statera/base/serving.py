"""The HTTP server of a process. Apart from `listening.py`, because uvicorn is large and only some processes serve."""

import asyncio
import contextlib
from typing import Any

import uvicorn

READ_WITHIN_S = 0.1
"""A request that was sent before its connection closes is on its way for less."""


def make_server(application: Any, *, stop_within_s: int, **options: Any) -> uvicorn.Server:
    """Return a server for an ASGI application; its process listens to signals and sets `should_exit` itself.

    Requests that run at the stop have `stop_within_s` seconds. `options` are uvicorn's own.
    """
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=stop_within_s,
            ws="none",
            **options,
        )
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    return server


async def end_server(server: uvicorn.Server) -> None:
    """Have a server end that takes no more connections: first it reads what is under way on those that it has.

    uvicorn itself closes a connection at once that has not brought a request yet, and with it one that is just coming.
    """
    if server.started:
        for listening in server.servers:
            listening.close()
        await asyncio.sleep(READ_WITHIN_S)
    server.should_exit = True
