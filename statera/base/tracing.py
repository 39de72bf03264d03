"""OpenTelemetry traces, when `traces.endpoint` names a collector; else nothing of it is even imported.

A trace follows an edit: the request at the API, the pass of a worker, its calls, and what the agent does. Each span's
parent is the one in the errand, which travels in rows and headers: no room hands anything on for it.
"""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from statera import __version__
from statera.base.errand import current_errand, on_errand
from statera.base.settings import BadSettings, Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

_tracer: "Tracer | None" = None


@contextlib.contextmanager
def tracing(settings: Settings, process: str, exporter: "SpanExporter | None" = None) -> Iterator[None]:
    """Send spans to the collector during the block, or to `exporter`; what is left is sent at the end.

    Raises `BadSettings` when the libraries are missing.
    """
    global _tracer
    if not settings.traces.endpoint and exporter is None:
        yield
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter(endpoint=settings.traces.endpoint)
    except ImportError as error:
        sentence = f"Option traces.endpoint is set, which needs {error.name}: install `statera[otel]`."
        raise BadSettings(sentence) from error
    resource = Resource.create({"service.name": f"statera-{process}", "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("statera", __version__)
    try:
        yield
    finally:
        _tracer = None
        provider.shutdown()


@contextlib.contextmanager
def span(name: str, kind: str = "internal", **attributes: str | int) -> Iterator[None]:
    """Time the block as a span below the errand's, and be the parent of what happens in it.

    `kind` is `server`, `client`, `consumer` or `internal`. An exception that leaves the block marks the span.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry.trace import SpanKind

    errand = current_errand()
    known = {"statera.request_id": errand.request_id, "statera.load_balancer_id": errand.load_balancer_id}
    told = {**attributes, **{key: value for key, value in known.items() if value}}
    parent = _read_parent(errand.trace)
    with (
        _tracer.start_as_current_span(name, context=parent, kind=SpanKind[kind.upper()], attributes=told) as one,
        on_errand(msgspec.structs.replace(errand, trace=_write(one))),
    ):
        yield


def _read_parent(trace: str) -> "Context":
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if not trace:
        return Context()
    _, trace_id, span_id, flags = trace.split("-")
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(context), Context())


def _write(one: "Span") -> str:
    context = one.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
