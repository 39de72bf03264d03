"""What the health process counts. Heartbeats are counted by the receiver itself and told from there every second: at
twenty thousand a second each of them must cost nothing more.
"""

from collections import Counter

from statera.base.metrics import counter, gauge
from statera.health.receiver import HeartbeatReceiver

HEARTBEATS = counter(
    "statera_heartbeats_total", "Heartbeats by outcome: accepted, unverified, or why they were refused.", "outcome"
)
HEARD = gauge("statera_health_amphorae_heard", "Amphorae that have spoken to this process.")
SILENT = gauge("statera_health_amphorae_silent", "Amphorae that should speak and do not.")


class Teller:
    """Brings the counters up to what a receiver has counted."""

    def __init__(self, receiver: HeartbeatReceiver) -> None:
        self._receiver = receiver
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
