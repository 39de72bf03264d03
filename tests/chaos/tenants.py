"""Tenants who edit all the time, and remember what was promised to them.

An answer of 2xx is a promise. Whether an edit without an answer was made nobody knows: either is right.
"""

import enum
import itertools
import random
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec

from statera.cli.playground import WEB_PORT, WebServer
from tests.hosts.ground import Ground

PAUSE_S = 0.1
MOST_BESIDE = 3
TIMEOUT_S = 5.0
BALANCERS = "/v2/lbaas/loadbalancers"
PATIENT = {"type": "HTTP", "delay": 5, "timeout": 5, "max_retries": 1, "max_retries_down": 3, "url_path": "/"}
"""A machine that is busy with faults must not make members look dead."""
ALGORITHMS = ("ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP")


class Fate(enum.Enum):
    """What became of an edit, as far as its sender knows."""

    DONE = enum.auto()
    REFUSED = enum.auto()
    UNKNOWN = enum.auto()


class Promise(msgspec.Struct, kw_only=True):
    """What a field may hold: the last value that was promised, or one that was asked for since."""

    kept: Any = None
    """None: nothing was promised yet, and whatever it holds is right."""
    maybe: list[Any] = msgspec.field(default_factory=list)

    def note(self, value: Any, fate: Fate) -> None:
        if fate is Fate.DONE:
            self.kept, self.maybe = value, []
        elif fate is Fate.UNKNOWN:
            self.maybe.append(value)

    def is_kept_by(self, value: Any) -> bool:
        return self.kept is None or value == self.kept or value in self.maybe


class Tenant:
    """Edits one load balancer for ever, and makes and deletes others beside it. One thread each."""

    def __init__(
        self, ground: Ground, number: int, seed: int, servers: Sequence[WebServer], flavor_id: str | None = None
    ) -> None:
        self.answers: Counter[str] = Counter()
        self.promises: dict[tuple[str, str], Promise] = {}
        """By (path of the object, field)."""
        self.beside: dict[str, Promise] = {}
        """By name of another load balancer: whether it is there."""
        self._ids: dict[str, str] = {}
        self._number = number
        self._servers = servers
        self._chance = random.Random(f"{seed}/{number}")
        self._clients = [httpx.Client(base_url=client.base_url, timeout=TIMEOUT_S) for client in ground.clients]
        self._count = itertools.count(1)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._edit_on, daemon=True)
        self.faults: list[str] = []
        """Answers that no tenant should get."""
        self._subnet = ground.find_subnet_id()
        wanted = self._describe(f"tenant-{number}")
        wanted["loadbalancer"]["flavor_id"] = flavor_id
        made = ground.request("POST", BALANCERS, wanted)
        self.balancer: Any = made["loadbalancer"]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        for client in self._clients:
            client.close()

    def _edit_on(self) -> None:
        while not self._stop.wait(self._chance.uniform(0.2, 1.8) * PAUSE_S):
            edits = (self._rename, self._choose, self._limit, self._make, self._remove)
            self._chance.choice(edits)()

    def _rename(self) -> None:
        self._put(f"{BALANCERS}/{self.balancer['id']}", "loadbalancer", "name", f"name-{next(self._count)}")

    def _choose(self) -> None:
        path = f"/v2/lbaas/pools/{self.balancer['pools'][0]['id']}"
        self._put(path, "pool", "lb_algorithm", self._chance.choice(ALGORITHMS))

    def _limit(self) -> None:
        path = f"/v2/lbaas/listeners/{self.balancer['listeners'][0]['id']}"
        self._put(path, "listener", "connection_limit", 1000 + next(self._count))

    def _put(self, path: str, kind: str, field: str, value: Any) -> None:
        promise = self.promises.setdefault((path, field), Promise())
        promise.note(value, self._send("PUT", path, {kind: {field: value}}))

    def _make(self) -> None:
        if sum(bool(promise.kept) for promise in self.beside.values()) >= MOST_BESIDE:
            return
        name = f"beside-{self._number}-{next(self._count)}"
        self.beside[name] = Promise(kept=False)
        self.beside[name].note(True, self._send("POST", BALANCERS, self._describe(name), name=name))

    def _describe(self, name: str) -> Any:
        members = [{"address": server.address, "protocol_port": WEB_PORT} for server in self._servers]
        pool: dict[str, Any] = {"name": name, "protocol": "HTTP", "lb_algorithm": ALGORITHMS[0], "members": members}
        pool["healthmonitor"] = PATIENT
        listener = {"name": name, "protocol": "HTTP", "protocol_port": 80, "default_pool": pool}
        return {"loadbalancer": {"name": name, "vip_subnet_id": self._subnet, "listeners": [listener]}}

    def _remove(self) -> None:
        there = [name for name, promise in self.beside.items() if promise.kept and name in self._ids]
        if not there:
            return
        name = self._chance.choice(there)
        self.beside[name].note(False, self._send("DELETE", f"{BALANCERS}/{self._ids[name]}?cascade=true"))

    def _send(self, method: str, path: str, body: Any = None, *, name: str = "") -> Fate:
        """Send an edit to one of the APIs; an answer that has no place here is kept in `faults`."""
        try:
            answer = self._chance.choice(self._clients).request(method, path, json=body)
        except httpx.ConnectError:
            self.answers["no connection"] += 1
            return Fate.REFUSED
        except httpx.HTTPError as error:
            self.answers[type(error).__name__] += 1
            return Fate.UNKNOWN
        self.answers[str(answer.status_code)] += 1
        if answer.status_code < 300:
            if name:
                self._ids[name] = answer.json()["loadbalancer"]["id"]
            return Fate.DONE
        if answer.status_code == 404 and method == "DELETE":
            # An earlier one, whose answer was lost, has done it.
            return Fate.DONE
        if answer.status_code == 503:
            # The database may have gone between the commit and its answer.
            return Fate.UNKNOWN
        self.faults.append(f"{method} {path}: {answer.status_code} {answer.text}")
        return Fate.REFUSED

    # What became of it

    def list_broken(self, ground: Ground) -> list[str]:
        """Return the promises that were not kept."""
        broken = []
        for (path, field), promise in self.promises.items():
            (shown,) = ground.request("GET", path).values()
            if not promise.is_kept_by(shown[field]):
                broken.append(f"{path} {field}: {shown[field]}, promised {promise.kept} or {promise.maybe}")
        names = {one["name"] for one in ground.request("GET", BALANCERS)["loadbalancers"]}
        for name, promise in self.beside.items():
            if not promise.is_kept_by(name in names):
                broken.append(f"{name} is {'there' if name in names else 'gone'}")
        return broken
