"""What a call to an agent is for goes along with it."""

import asyncio
import itertools

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from structlog.typing import EventDict, WrappedLogger

from statera.agent import server
from statera.base.errand import Errand, new_request_id, on_errand
from statera.base.ids import new_id
from statera.base.settings import Settings
from statera.base.tracing import span, tracing
from tests.agent.test_server import Served, served

__all__ = ["served"]
pytestmark = pytest.mark.root
WITHIN_S = 10.0


async def test_the_agent_logs_and_traces_for_whom_it_works(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[EventDict] = []

    def keep(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        lines.append(dict(line))
        raise structlog.DropEvent

    logger = structlog.wrap_logger(None, processors=[structlog.contextvars.merge_contextvars, keep])
    monkeypatch.setattr(server, "log", logger)
    exporter, errand = InMemorySpanExporter(), Errand(request_id=new_request_id(), load_balancer_id=new_id())
    amphora_id = new_id()
    with tracing(Settings(), "test", exporter), on_errand(errand), span("pass"):
        await served.compute.remove_amphora("local", amphora_id, epoch=1)
        # The agent tells of a request when its answer is on its way.
        async with asyncio.timeout(WITHIN_S):
            while not lines:
                await asyncio.sleep(0.01)
    assert lines == [
        {
            "event": "request",
            "operation": "DELETE /v1/amphorae/{id}",
            "status": 204,
            "request_id": errand.request_id,
            "load_balancer_id": errand.load_balancer_id,
            "amphora_id": amphora_id,
        }
    ]
    names = {one.name: one for one in exporter.get_finished_spans()}
    order = ["pass", "call DELETE", "agent DELETE /v1/amphorae/{id}"]
    for above, below in itertools.pairwise(order):
        parent, context = names[below].parent, names[above].context
        assert parent is not None
        assert context is not None
        assert (parent.trace_id, parent.span_id) == (context.trace_id, context.span_id)
