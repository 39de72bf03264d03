"""Clients that ask VIPs without a pause, and write down every request that failed, when and how."""

import http.client
import threading
import time

import msgspec

PAUSE_S = 0.03
TIMEOUT_S = 4.0


class Outage(msgspec.Struct, kw_only=True):
    """Requests to one VIP that failed one after the other. Times in seconds of the story."""

    vip: str
    began_s: float
    """When the first of them was sent."""
    ended_s: float
    failed: int
    how: str


class Traffic:
    """One client for each VIP; every request has a connection of its own."""

    def __init__(self, vips: list[str], started_at: float) -> None:
        self.answered = 0
        self.outages: list[Outage] = []
        self._started_at = started_at
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask_on, args=(vip,), daemon=True) for vip in vips]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def failed(self) -> int:
        return sum(outage.failed for outage in self.outages)

    def _ask_on(self, vip: str) -> None:
        current: Outage | None = None
        while not self._stop.is_set():
            began_s = time.monotonic() - self._started_at
            how = ask(vip)
            with self._lock:
                if not how:
                    self.answered += 1
                    current = None
                elif current is None:
                    current = Outage(vip=vip, began_s=began_s, ended_s=began_s, failed=1, how=how)
                    self.outages.append(current)
                else:
                    current.failed += 1
                if current is not None:
                    current.ended_s = time.monotonic() - self._started_at
            self._stop.wait(PAUSE_S)


def ask(vip: str) -> str:
    """Send one request; return "" for a good answer, else what was wrong with it."""
    connection = http.client.HTTPConnection(vip, 80, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    return "" if answer.status == 200 and body else f"status {answer.status}"
