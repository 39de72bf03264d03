"""What the health process counts. Heartbeats are counted by the receiver itself and told from there every second: at
twenty thousand a second each of them must cost nothing more.
"""

from collections import Counter

from statera.base.clock import Clock
from statera.base.metrics import counter, gauge
from statera.health.receiver import HeartbeatReceiver

HEARTBEATS = counter(
    "statera_heartbeats_total", "Heartbeats by outcome: accepted, unverified, or why they were refused.", "outcome"
)
HEARD = gauge("statera_health_amphorae_heard", "Amphorae that have spoken to this process.")
SILENT = gauge("statera_health_amphorae_silent", "Amphorae that should speak and do not.")

MISHELD = gauge(
    "statera_health_shared_vips_misheld",
    "Load balancers of several amphorae whose VIPs have for a while been on none of them, or on several.",
    "on",
)


class Teller:
    """Brings the counters up to what a receiver has counted."""

    def __init__(self, receiver: HeartbeatReceiver, clock: Clock) -> None:
        self._receiver = receiver
        self._clock = clock
        self._told: Counter[str] = Counter()

    async def tell(self) -> None:
        receiver = self._receiver
        now = Counter({kind.value: count for kind, count in receiver.counts.items()})
        now["accepted"], now["unverified"] = receiver.accepted, receiver.unverified
        for outcome, count in (now - self._told).items():
            HEARTBEATS.labels(outcome).inc(count)
        self._told = now
        HEARD.set(receiver.memory.count_voices())
        SILENT.set(receiver.memory.count_silent())
        on_none, on_several = receiver.memory.holders.count(self._clock.now())
        MISHELD.labels("none").set(on_none)
        MISHELD.labels("several").set(on_several)
