"""Keeps the gauges of what is in the database up to date. Each worker does: any one of them may be the last."""

import asyncio
import contextlib
from collections.abc import Mapping
from math import inf

from prometheus_client import Gauge

from statera.base.errors import Transient
from statera.base.logging import get_logger
from statera.base.metrics import gauge
from statera.store.census import Census, take_census
from statera.store.engine import Store

log = get_logger("control")

EVERY_S = 10.0
SHARE = 0.01
"""Of a connection's time that counting may take: it reads all there is, so the more there is, the rarer it is."""

OBJECTS = gauge("statera_objects", "Objects of tenants.", "kind", "provisioning_status", "operating_status")
AMPHORAE = gauge("statera_amphorae", "Amphorae.", "host", "status")
DUE = gauge("statera_due_load_balancers", "Load balancers that should be worked on and that no worker has.")
OLDEST_DUE = gauge("statera_oldest_due_seconds", "How long the first of them has waited.")
HELD = gauge("statera_held_load_balancers", "Load balancers that a worker has.")
CERTIFICATES = gauge(
    "statera_tenant_certificates",
    "Certificates and lists of revocations of tenants that load balancers use: valid, expires (soon), expired.",
    "state",
)
FIRST_END = gauge(
    "statera_tenant_certificate_end_timestamp_seconds",
    "When the next certificate or list of revocations of a tenant ends that has not yet; infinite without any.",
)
TAKEN_AT = gauge("statera_census_timestamp_seconds", "When the gauges about the database were last brought up to date.")


async def run_census(store: Store, warn_days: float, stop: asyncio.Event) -> None:
    """Count again and again until `stop` is set. Without the database the gauges stay as they were."""
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        begun = loop.time()
        try:
            publish(await take_census(store, warn_days))
        except Transient as error:
            log.debug("census waits", sentence=error.sentence)
        except Exception:
            # The edge of the loop: numbers must never end the work.
            log.exception("census failed")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), max(EVERY_S, (loop.time() - begun) / SHARE))


def publish(census: Census) -> None:
    """Set the gauges; what there is none of any more is gone from them."""
    _tell(OBJECTS, census.objects)
    _tell(AMPHORAE, census.amphorae)
    _tell(CERTIFICATES, census.certificates)
    FIRST_END.set(inf if census.first_end is None else census.first_end)
    DUE.set(census.due)
    OLDEST_DUE.set(census.oldest_due_s)
    HELD.set(census.held)
    TAKEN_AT.set_to_current_time()


_told: dict[Gauge, set[tuple[str, ...]]] = {}


def _tell(measured: Gauge, numbers: Mapping[tuple[str, ...], int]) -> None:
    # In this order, so that whoever reads meanwhile misses nothing.
    for labels, number in numbers.items():
        measured.labels(*labels).set(number)
    for labels in _told.get(measured, set()) - numbers.keys():
        measured.remove(*labels)
    _told[measured] = set(numbers)
