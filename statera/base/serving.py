"""The HTTP server of a process. Apart from `listening.py`, because uvicorn is large and only some processes serve."""

import contextlib
from typing import Any

import uvicorn


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
