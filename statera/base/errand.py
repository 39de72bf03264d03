"""What a piece of work is for: the request that asked for it and the load balancer it is about.

It travels with the work: from the API into the edit's row, from there into the pass of a worker, from there in headers
to agents. While it is bound, every log line carries it, under the same names in every process.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar

import msgspec
import structlog

from statera.base.ids import is_uuid, new_id

REQUEST_HEADER = "x-openstack-request-id"
LOAD_BALANCER_HEADER = "x-statera-load-balancer-id"
TRACE_HEADER = "traceparent"

_REQUEST = re.compile(r"req-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """Each is "" where it is not known."""

    request_id: str = ""
    """`req-` and a UUID, as the client got it."""
    load_balancer_id: str = ""
    trace: str = ""
    """The span that asked, as W3C's `traceparent`; only while traces are on."""


_current: ContextVar[Errand] = ContextVar("errand", default=Errand())  # noqa: B039 - frozen


def new_request_id() -> str:
    """Return the name of a new request."""
    return f"req-{new_id()}"


def current_errand() -> Errand:
    """Return what this task works for."""
    return _current.get()


@contextlib.contextmanager
def on_errand(errand: Errand) -> Iterator[None]:
    """Work for this during the block, and so do the tasks that begin in it."""
    token = _current.set(errand)
    told = {"request_id": errand.request_id, "load_balancer_id": errand.load_balancer_id}
    with structlog.contextvars.bound_contextvars(**{name: value for name, value in told.items() if value}):
        try:
            yield
        finally:
            _current.reset(token)


def write_headers() -> dict[str, str]:
    """Return the headers that tell another process what this task works for."""
    errand = current_errand()
    told = {
        REQUEST_HEADER: errand.request_id,
        LOAD_BALANCER_HEADER: errand.load_balancer_id,
        TRACE_HEADER: errand.trace,
    }
    return {name: value for name, value in told.items() if value}


def read_headers(headers: Mapping[str, str]) -> Errand:
    """Return what a request is for, by its headers in lower case. What is not in its form counts as missing."""
    request_id = headers.get(REQUEST_HEADER, "")
    load_balancer_id = headers.get(LOAD_BALANCER_HEADER, "")
    trace = headers.get(TRACE_HEADER, "")
    return Errand(
        request_id=request_id if _REQUEST.fullmatch(request_id) else "",
        load_balancer_id=load_balancer_id if is_uuid(load_balancer_id) else "",
        trace=trace if _TRACE.fullmatch(trace) else "",
    )
