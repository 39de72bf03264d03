"""A trace follows an edit from the request that asked for it into the pass that makes it true."""

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from statera.base.errand import Errand, current_errand, new_request_id, on_errand
from statera.base.settings import Settings
from statera.base.tracing import span, tracing
from statera.store.claims import mark_due
from tests.control.room import Room


def find_span(spans: tuple[ReadableSpan, ...], name: str) -> ReadableSpan:
    return next(one for one in spans if one.name == name)


async def test_the_pass_belongs_to_the_trace_of_the_request(room: Room) -> None:
    exporter = InMemorySpanExporter()
    request_id = new_request_id()
    with tracing(Settings(), "test", exporter):
        with on_errand(Errand(request_id=request_id)), span("api POST", "server"):
            tree = await room.create()
        async with room.control():
            await room.wait_settled(tree)
    spans = exporter.get_finished_spans()
    asked, done = find_span(spans, "api POST"), find_span(spans, "pass")
    assert asked.context is not None
    assert done.context is not None
    assert done.context.trace_id == asked.context.trace_id
    assert done.parent is not None
    assert done.parent.span_id == asked.context.span_id
    assert done.attributes is not None
    assert done.attributes["statera.request_id"] == request_id
    assert done.attributes["statera.load_balancer_id"] == tree.load_balancer.id
    assert done.resource.attributes["service.name"] == "statera-test"
    history = await room.history(tree)
    assert {event.request_id for event in history} == {request_id}, "what the worker did, too"


async def test_a_pass_that_nobody_asked_for_has_a_trace_of_its_own(room: Room) -> None:
    with on_errand(Errand(request_id=new_request_id(), trace=f"00-{'1' * 32}-{'2' * 16}-01")):
        tree = await room.create()
    await mark_due(room.store, [tree.load_balancer.id])
    first = await room.claim()
    assert (first.errand.request_id, first.errand.trace) != ("", "")
    await room.reconciler.run_pass(first)
    await mark_due(room.store, [tree.load_balancer.id])
    assert (await room.claim()).errand == Errand(load_balancer_id=tree.load_balancer.id)


async def test_nothing_is_traced_when_traces_are_off() -> None:
    with on_errand(Errand(request_id="req-1")), span("nothing"):
        assert current_errand() == Errand(request_id="req-1")
