"""What this process counts for Prometheus. Each room declares its own metrics where it counts them:

    PASSES = counter("statera_passes_total", "Reconcile passes that ended.", "outcome")
    PASSES.labels("settled").inc()

Names end in their unit (`_seconds`, `_bytes`), counters in `_total`. Labels have few values: never an id, a name or a
text of a tenant. Every metric has its row in `docs/metrics.md`; a test compares. They are served by `exposition.py`.
"""

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from statera import __version__

disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry(auto_describe=True)
"""One per process. Not the library's own, to which anything that is imported may add."""
ProcessCollector(registry=REGISTRY)

QUICK_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of buckets, in seconds, for what people wait for."""


def counter(name: str, meaning: str, *labels: str) -> Counter:
    """Declare what only grows; without labels it begins at 0."""
    assert name.endswith("_total"), name
    return Counter(name, meaning, labels, registry=REGISTRY)


def gauge(name: str, meaning: str, *labels: str) -> Gauge:
    """Declare what rises and falls."""
    return Gauge(name, meaning, labels, registry=REGISTRY)


def histogram(name: str, meaning: str, *labels: str, buckets: Sequence[float] = QUICK_S) -> Histogram:
    """Declare a distribution."""
    return Histogram(name, meaning, labels, registry=REGISTRY, buckets=buckets)


BUILD = gauge("statera_build_info", "1, for the version that runs.", "version")
BUILD.labels(__version__).set(1)
