"""The health process: one receiver, and slow rhythms beside it. Entry: `run_health`."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable

from statera.base.clock import Clock
from statera.base.errors import Transient
from statera.base.logging import get_logger
from statera.base.settings import Settings
from statera.health.gauges import Teller
from statera.health.judge import Judge, judge_interval_s, touch_interval_s
from statera.health.receiver import HeartbeatReceiver
from statera.health.writer import StatusWriter
from statera.model.heartbeat import HeartbeatRefusal
from statera.store.engine import Store

log = get_logger("health")

FLUSH_S = 0.5
"""News of half a second go into one batch."""
COUNT_S = 3.0
"""Traffic of some seconds goes into one write."""
CERTIFICATES_S = 3.0
"""What a tenant waits for after renewing a certificate; one statement for all that have any."""
TELL_S = 1.0
REPORT_S = 60.0


async def run_health(store: Store, settings: Settings, clock: Clock, stop: asyncio.Event) -> None:
    """Receive heartbeats and keep the operating statuses true until `stop` is set.

    Raises `Lasting` (slug `health-address-unavailable`) when the UDP address cannot be had.
    """
    receiver = HeartbeatReceiver(store, settings, clock)
    await receiver.start()
    log.info("health_listens", host=settings.health.host, port=receiver.port)
    try:
        await serve(store, settings, clock, receiver, stop)
    finally:
        await receiver.close()


async def serve(
    store: Store, settings: Settings, clock: Clock, receiver: HeartbeatReceiver, stop: asyncio.Event
) -> None:
    """Judge, write and report from what a started receiver hears, until `stop` is set."""
    judge = Judge(store, settings.health, clock, receiver)
    writer = StatusWriter(store, clock, receiver.memory, judge, settings.health.certificate_warning_days)
    stale_after_s = settings.health.stale_after_s
    async with asyncio.TaskGroup() as group:
        group.create_task(_repeat(writer.flush, FLUSH_S, stop))
        group.create_task(_repeat(writer.hold, FLUSH_S, stop))
        group.create_task(_repeat(writer.count, COUNT_S, stop))
        group.create_task(_repeat(writer.watch_certificates, CERTIFICATES_S, stop))
        group.create_task(_repeat(writer.touch, touch_interval_s(stale_after_s), stop))
        group.create_task(_repeat(judge.look, judge_interval_s(stale_after_s), stop))
        group.create_task(_repeat(Teller(receiver, clock).tell, TELL_S, stop))
        group.create_task(_repeat(RefusalReport(receiver).tell, REPORT_S, stop))
    await writer.flush()
    await writer.hold()
    await writer.count()


async def _repeat(work: Callable[[], Awaitable[bool | None]], interval_s: float, stop: asyncio.Event) -> None:
    """Do `work` again and again, at once where it says that it has left some."""
    while not stop.is_set():
        is_more = None
        try:
            is_more = await work()
        except Transient as error:
            log.warning("health_waits", what=work.__qualname__, reason=error.sentence)
        except Exception:
            # The edge of the loop: one bad row must not end health for everybody else.
            log.exception("health_failed", what=work.__qualname__)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0 if is_more else interval_s)


class RefusalReport:
    """Tells the log once a minute what was refused, if anything was."""

    def __init__(self, receiver: HeartbeatReceiver) -> None:
        self._receiver = receiver
        self._told: Counter[HeartbeatRefusal] = Counter()

    async def tell(self) -> None:
        fresh = self._receiver.counts - self._told
        if fresh:
            log.warning("heartbeats_refused", **{kind.value: count for kind, count in fresh.items()})
        self._told = self._receiver.counts.copy()
