"""Structured logs: one event per line, with the ids that follow a request or a load balancer through every process."""

import logging
import sys
from typing import cast

import structlog


def configure_logging(*, level: str, form: str, process: str) -> None:
    """Set up structlog and the standard library's logging for this process. `form` is `text` or `json`."""
    processors: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(process=process)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s", force=True)


def get_logger(room: str) -> structlog.typing.FilteringBoundLogger:
    """Return the logger of one room."""
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger(room=room))
