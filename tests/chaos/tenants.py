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
MEMBERS = 3
"""Of each load balancer from the start; the other web servers come and go as members of those that are watched."""
MOST_WEIGHT = 9
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
        self.spares = {server.address: Promise(kept=False) for server in servers[MEMBERS:]}
        """By address of a web server: whether it is a member."""
        self._ids: dict[str, str] = {}
        """By name of a load balancer, or by address of a member."""
        self._number = number
        self._servers = servers[:MEMBERS]
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
        self._members = f"/v2/lbaas/pools/{self.balancer['pools'][0]['id']}/members"
        self._first = [one["id"] for one in ground.request("GET", self._members)["members"]]

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        for client in self._clients:
            client.close()

    def _edit_on(self) -> None:
        while not self._stop.wait(self._chance.uniform(0.2, 1.8) * PAUSE_S):
            edits = (
                self._rename,
                self._choose,
                self._limit,
                self._make,
                self._remove,
                self._weigh,
                self._add,
                self._drop,
            )
            self._chance.choice(edits)()

    def _rename(self) -> None:
        self._put(f"{BALANCERS}/{self.balancer['id']}", "loadbalancer", "name", f"name-{next(self._count)}")

    def _choose(self) -> None:
        path = f"/v2/lbaas/pools/{self.balancer['pools'][0]['id']}"
        self._put(path, "pool", "lb_algorithm", self._chance.choice(ALGORITHMS))

    def _limit(self) -> None:
        path = f"/v2/lbaas/listeners/{self.balancer['listeners'][0]['id']}"
        self._put(path, "listener", "connection_limit", 1000 + next(self._count))

    def _weigh(self) -> None:
        path = f"{self._members}/{self._chance.choice(self._first)}"
        self._put(path, "member", "weight", self._chance.randint(1, MOST_WEIGHT))

    def _add(self) -> None:
        absent = [address for address, promise in self.spares.items() if not promise.kept]
        if absent:
            address = self._chance.choice(absent)
            member = {"member": {"address": address, "protocol_port": WEB_PORT}}
            # Under its former id it is gone.
            self._ids.pop(address, None)
            may_be_there = True in self.spares[address].maybe
            fate = self._send("POST", self._members, member, name=address, may_be_there=may_be_there)
            self.spares[address].note(True, fate)

    def _drop(self) -> None:
        there = [address for address, promise in self.spares.items() if promise.kept and address in self._ids]
        if there:
            address = self._chance.choice(there)
            self.spares[address].note(False, self._send("DELETE", f"{self._members}/{self._ids[address]}"))

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

    def _send(self, method: str, path: str, body: Any = None, *, name: str = "", may_be_there: bool = False) -> Fate:
        """Send an edit to one of the APIs; an answer that has no place here is kept in `faults`.

        `name` is what a new object is known by; it `may_be_there` when an earlier answer was lost.
        """
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
                (made,) = answer.json().values()
                self._ids[name] = made["id"]
            return Fate.DONE
        if (answer.status_code == 404 and method == "DELETE") or (answer.status_code == 409 and may_be_there):
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
        there = {one["address"] for one in ground.request("GET", self._members)["members"]}
        for address, promise in self.spares.items():
            if not promise.is_kept_by(address in there):
                broken.append(f"{self._members}: {address} is {'there' if address in there else 'gone'}")
        return broken
