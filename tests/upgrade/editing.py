"""A client that edits without a pause and tries again only when nobody listens: what it was promised must be kept."""

import itertools
import threading
import time
from typing import Any

import httpx

from statera.cli.playground import Playground

PAUSE_S = 0.1
TIMEOUT_S = 15.0
BALANCERS = "/v2/lbaas/loadbalancers"
CREATES_EVERY = 25


class Editor:
    """Edits one load balancer, and creates some beside it. Each request has a connection of its own."""

    def __init__(self, playground: Playground, balancer: Any) -> None:
        self.accepted = 0
        self.refused = 0
        """Requests that were sent again because nobody listened."""
        self.faults: list[str] = []
        """Requests that were neither accepted nor refused at the door."""
        self.promised: dict[tuple[str, str, str], Any] = {}
        """By path, kind and field: the last value that was accepted."""
        self.made: list[str] = []
        self._base = str(playground.client.base_url)
        self._subnet = playground.find_subnet_id()
        self._balancer = balancer
        self._numbers = itertools.count(1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._edit_on, daemon=True)

    def __enter__(self) -> "Editor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _edit_on(self) -> None:
        listener, pool = self._balancer["listeners"][0]["id"], self._balancer["pools"][0]["id"]
        while not self._stop.wait(PAUSE_S):
            number = next(self._numbers)
            algorithm = ("ROUND_ROBIN", "LEAST_CONNECTIONS")[number % 2]
            self._put(f"{BALANCERS}/{self._balancer['id']}", "loadbalancer", "description", f"edit {number}")
            self._put(f"/v2/lbaas/listeners/{listener}", "listener", "connection_limit", 10_000 + number)
            self._put(f"/v2/lbaas/pools/{pool}", "pool", "lb_algorithm", algorithm)
            if number % CREATES_EVERY == 1:
                wanted = {"loadbalancer": {"name": f"beside-{number}", "vip_subnet_id": self._subnet}}
                if answer := self._send("POST", BALANCERS, wanted):
                    self.made.append(answer.json()["loadbalancer"]["id"])

    def _put(self, path: str, kind: str, field: str, value: Any) -> None:
        if self._send("PUT", path, {kind: {field: value}}) is not None:
            self.promised[path, kind, field] = value

    def _send(self, method: str, path: str, body: Any) -> httpx.Response | None:
        while True:
            try:
                answer = httpx.request(method, self._base + path, json=body, timeout=TIMEOUT_S, trust_env=False)
            except httpx.ConnectError:
                self.refused += 1
                time.sleep(PAUSE_S)
                if self._stop.is_set():
                    return None
                continue
            except httpx.TransportError as error:
                self.faults.append(f"{method} {path}: {type(error).__name__}: {error}")
                return None
            if not answer.is_success:
                self.faults.append(f"{method} {path}: {answer.status_code} {answer.text}")
                return None
            self.accepted += 1
            return answer

    def check_kept(self, playground: Playground) -> None:
        """See that all that was accepted is there, and live."""
        for one in (self._balancer["id"], *self.made):
            playground.wait_active(one)
        for (path, kind, field), value in self.promised.items():
            assert playground.request("GET", path)[kind][field] == value, (path, field)
