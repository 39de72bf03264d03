"""A PROMETHEUS listener: its frontend answers `/metrics` only, and asks the agent over a unix socket for the content.

The agent asks HAProxy's own exporter, a frontend that only root and HAProxy's user can reach, and renames. HAProxy
itself stays out of it: a scrape costs it nothing when there is none.
"""

from collections.abc import Iterator

from statera.model.l7 import METRICS_PATH
from statera.model.spec import ListenerSpec
from statera.render import tokens
from statera.render.paths import HaproxyPaths

EXPORTER = "exporter"
AGENT = "agent"


def name_metrics_backend(listener: ListenerSpec) -> str:
    """Return the backend of the agent; its name is no listener's and no pool's."""
    return f"metrics-{tokens.name(listener.id)}"


def list_scrape_lines(listener: ListenerSpec) -> Iterator[str]:
    """Yield what a frontend of a PROMETHEUS listener does with requests."""
    yield f"    http-request return status 404 unless {{ path {METRICS_PATH} }}"
    yield "    http-request deny deny_status 405 unless { method GET }"
    yield f"    default_backend {name_metrics_backend(listener)}"


def list_metrics_backend_lines(listener: ListenerSpec, connect: str, server: str, paths: HaproxyPaths) -> Iterator[str]:
    """Yield the backend of one listener, with its two timeouts."""
    yield f"backend {name_metrics_backend(listener)}"
    yield "    mode http"
    yield f"    timeout connect {connect}"
    yield f"    timeout server {server}"
    # Else a client waits seconds for the 503 of an agent that is not there.
    yield "    retries 0"
    yield f"    server {AGENT} unix@{paths.metrics_socket}"


def list_exporter_lines(paths: HaproxyPaths) -> Iterator[str]:
    """Yield HAProxy's own exporter, once for all listeners."""
    yield f"frontend {EXPORTER}"
    yield "    mode http"
    yield "    timeout client 10s"
    yield f"    bind unix@{paths.exporter_socket} mode 600"
    yield f"    http-request use-service prometheus-exporter if {{ path {METRICS_PATH} }}"
