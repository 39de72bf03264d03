"""One chaos: raise a ground, let tenants edit and clients ask, do what the story says, then see what is left of it."""

import heapq
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from bench.client import ask
from bench.watch import Watch
from statera.base.errors import Lasting
from tests.chaos.causes import Blow, explain_outages
from tests.chaos.clocks import write_offset
from tests.chaos.faults import Hurt
from tests.chaos.settled import list_unsettled
from tests.chaos.story import Fault, decide_story
from tests.chaos.tenants import BALANCERS, Tenant
from tests.chaos.ward import make_ward
from tests.hosts.ground import Ground, raise_ground

HOSTS, APIS, WORKERS, HEALTHS, TENANTS = 2, 2, 3, 2, 3
STEADY, FRAIL = 5, 2
"""Web servers that live all the time, as the members of all that is watched do, and others that die and come back."""
PAIRS = 1
"""Tenants whose load balancer has two amphorae."""
DISK_MIB = 16
KEPT_LOGS = Path("/var/tmp/statera-chaos-logs")
CONVERGED_WITHIN_S = 20.0
"""It takes 1 s on a quiet machine."""
TIMEOUT_S, PAUSE_S = 4.0, 0.03
"""Of the clients of each VIP: how long they wait for an answer, and then until the next request."""
CONTROL_S = 10.0
"""At first only the control plane is hurt: not one request may fail."""
OPTIONS = {
    "reconcile": {
        "lease_s": 2.0,
        "backoff_most_s": 1.0,
        "orphan_grace_s": 3.0,
        "error_after_s": 10.0,
        "recheck_s": 5.0,
    },
    "compute": {"agent_timeout_s": 2.0},
    "health": {"stale_after_s": 3.0, "max_skew_s": 10.0},
    "metrics": {"enabled": False},
}


class Outcome(msgspec.Struct, kw_only=True):
    """What came of a story. All of `wrong` should be empty."""

    seed: int
    faults: int
    converged_s: float
    answered: int
    failed: int
    calm_answered: int
    """Requests while only the control plane was hurt, when none may fail."""
    edits: dict[str, int]
    struck: dict[str, int]
    """Faults that may stop the traffic of something watched, by kind."""
    causes: dict[str, int]
    """Failed requests by the fault that explains them."""
    longest_s: float
    """Without an answer, of one VIP."""
    wrong: list[str]


class Chaos:
    """`tell` gets each line of the story as it happens."""

    def __init__(self, seed: int, length_s: float, pause_s: float, tag: str, tell: Callable[[str], None]) -> None:
        self._seed = seed
        self._length_s = length_s
        self._pause_s = pause_s
        self._tag = tag
        self._tell = tell
        self._clocks = Path(f"/var/tmp/statera chaos-{tag}-clocks")
        self._wrong: list[str] = []

    def run(self) -> Outcome:
        """Run the story and return what came of it; nothing is left on the machine."""
        self._clocks.mkdir(exist_ok=True)
        try:
            with raise_ground(
                self._tag,
                servers=STEADY + FRAIL,
                hosts=HOSTS,
                apis=APIS,
                workers=WORKERS,
                healths=HEALTHS,
                overrides=OPTIONS,
                disk_mib=DISK_MIB,
                launch=self._launch,
            ) as ground:
                return self._run(ground)
        finally:
            for path in self._clocks.iterdir():
                path.unlink()
            self._clocks.rmdir()

    def _clock_of(self, process: str) -> Path:
        return self._clocks / process

    def _launch(self, process: str) -> Sequence[str]:
        write_offset(self._clock_of(process), 0.0)
        source = Path(__file__).with_name("clocks.py")
        return [sys.executable, str(source), str(self._clock_of(process))]

    def _run(self, ground: Ground) -> Outcome:
        steady, frail = ground.servers[:STEADY], ground.servers[STEADY:]
        names = list(ground.controllers), list(ground.machines), [server.name for server in frail[1:]]
        story = decide_story(self._seed, self._length_s, self._pause_s, *names, control_s=CONTROL_S)
        pair = _make_flavor(ground)
        flavors = [pair if number < PAIRS else None for number in range(TENANTS)]
        tenants = [Tenant(ground, number, self._seed, steady, one) for number, one in enumerate(flavors)]
        owners = {one.balancer["id"]: ground.wait_active(one.balancer["id"])["vip_address"] for one in tenants}
        ground.wait_active(make_ward(ground, steady, frail))
        # This one is dead all the time: nothing that happens may bring its member ONLINE.
        ground.stop_web_process(frail[0])
        vips = list(owners.values())
        for vip in vips:
            ground.wait_for(partial(_is_served, vip), f"An answer of {vip}")
        started_at = time.monotonic()
        watch = Watch(*vips, clients=1, timeout_s=TIMEOUT_S, pause_s=PAUSE_S, origin_s=started_at)
        with Hurt(ground, self._clock_of, owners, origin_s=started_at) as hurt, watch:
            for tenant in tenants:
                tenant.start()
            self._play(hurt, story, started_at)
            for tenant in tenants:
                tenant.stop()
            converged_s = self._expect_settled(ground)
            # As soon as all rests one member comes back and another one dies: both must be told.
            ground.run_web_process(frail[0])
            ground.stop_web_process(frail[1])
            self._expect_settled(ground)
            for vip in vips:
                self._expect(ground, partial(_has_one_holder, ground, vip), f"one holder of {vip}")
                self._expect(ground, partial(_is_served, vip), f"an answer of {vip}")
        for tenant in tenants:
            self._wrong += [f"lost edit: {broken}" for broken in tenant.list_broken(ground)]
            self._wrong += [f"answer: {fault}" for fault in tenant.faults]
        self._expect_no_leaks(ground)
        explained = explain_outages(hurt.blows, watch.outages, set(vips[:PAIRS]))
        self._wrong += [*explained.wrong, *hurt.wrong]
        self._expect_calm(hurt.blows, watch)
        self._wrong += _list_crashes(ground)
        if self._wrong:
            self._keep_logs(ground)
        edits: Counter[str] = sum((tenant.answers for tenant in tenants), Counter())
        return Outcome(
            seed=self._seed,
            faults=len(story),
            converged_s=round(converged_s, 2),
            answered=len(watch.answered),
            failed=watch.failed,
            calm_answered=sum(one < CONTROL_S for one in watch.answered),
            edits=dict(edits),
            struck=Counter(blow.fault.kind for blow in hurt.blows if blow.fault.stops_traffic and blow.vips),
            causes=dict(explained.causes),
            longest_s=round(max((one.ended_s - one.began_s for one in watch.outages), default=0.0), 2),
            wrong=self._wrong,
        )

    def _play(self, hurt: Hurt, story: Sequence[Fault], started_at: float) -> None:
        moments = [(fault.begins_s, 0, number) for number, fault in enumerate(story)]
        moments += [(fault.ends_s, 1, number) for number, fault in enumerate(story)]
        heapq.heapify(moments)
        while moments:
            at_s, is_end, number = heapq.heappop(moments)
            time.sleep(max(0.0, started_at + at_s - time.monotonic()))
            fault = story[number]
            if is_end:
                hurt.undo(fault)
            else:
                self._tell(fault.tell())
                hurt.begin(fault)
        time.sleep(max(0.0, started_at + self._length_s - time.monotonic()))

    def _keep_logs(self, ground: Ground) -> None:
        KEPT_LOGS.mkdir(exist_ok=True)
        for path in ground.data_dir.glob("*.log"):
            shutil.copy(path, KEPT_LOGS)
        self._tell(f"The logs are kept in {KEPT_LOGS}.")

    # What is left

    def _expect(self, ground: Ground, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; note what has not come."""
        try:
            ground.wait_for(condition, what, CONVERGED_WITHIN_S)
        except Lasting:
            self._wrong.append(f"not within {CONVERGED_WITHIN_S:.0f} s: {what}")

    def _expect_settled(self, ground: Ground) -> float:
        """Return how many seconds it took."""
        begun_at = time.monotonic()
        last: list[str] = []

        def is_settled() -> bool:
            last[:] = list_unsettled(ground)
            return not last

        self._expect(ground, is_settled, "all that was edited settled and served")
        self._wrong += [f"stuck: {one}" for one in last]
        return time.monotonic() - begun_at

    def _expect_no_leaks(self, ground: Ground) -> None:
        self._expect(ground, lambda: _list_strangers(ground) == [], "no sandbox without a row, no row without one")
        self._wrong += [f"leak: {one}" for one in _list_strangers(ground)]
        for one in ground.request("GET", BALANCERS)["loadbalancers"]:
            ground.request("DELETE", f"{BALANCERS}/{one['id']}?cascade=true")
        self._expect(ground, lambda: ground.request("GET", BALANCERS)["loadbalancers"] == [], "all deleted")
        self._expect(ground, lambda: _list_remains(ground) == [], "nothing left after all was deleted")
        self._wrong += [f"leak: {one}" for one in _list_remains(ground)]

    def _expect_calm(self, blows: Sequence[Blow], watch: Watch) -> None:
        """Note each request that failed before the first fault that stops traffic."""
        calm_until_s = min((blow.began_s for blow in blows if blow.fault.stops_traffic), default=float("inf"))
        for outage in watch.outages:
            if outage.ended_s < calm_until_s:
                self._wrong.append(f"a fault of the control plane cost requests: {outage}")


def _make_flavor(ground: Ground) -> str:
    """Return the id of a flavor whose load balancers have two amphorae."""
    data = json.dumps({"loadbalancer_topology": "ACTIVE_STANDBY"})
    profile = {"name": "pair", "provider_name": "amphora", "flavor_data": data}
    made = ground.request("POST", "/v2/lbaas/flavorprofiles", {"flavorprofile": profile})["flavorprofile"]
    flavor = {"name": "pair", "flavor_profile_id": made["id"]}
    return str(ground.request("POST", "/v2/lbaas/flavors", {"flavor": flavor})["flavor"]["id"])


def _is_served(vip: str) -> bool:
    return not ask(vip, timeout_s=TIMEOUT_S).fault


def _has_one_holder(ground: Ground, vip: str) -> bool:
    return len(ground.find_holders(vip)) == 1


def _list_strangers(ground: Ground) -> list[str]:
    """Return what is on hosts and not in rows, or the reverse."""
    rows = {(one["host"], one["id"]) for one in ground.list_amphorae()}
    there = {(name, one) for name, machine in ground.machines.items() for one in machine.list_sandboxes()}
    return [f"sandbox {one} on {host} without a row" for host, one in sorted(there - rows)] + [
        f"row of amphora {one} on {host} without a sandbox" for host, one in sorted(rows - there)
    ]


def _list_remains(ground: Ground) -> list[str]:
    found = _list_strangers(ground)
    found += [f"amphora {one['id']}" for one in ground.list_amphorae()]
    found += [f"port {one['id']} {one['name']}" for one in ground.request("GET", "/network/v2.0/ports")["ports"]]
    for name, machine in ground.machines.items():
        kept = machine.disk / "amphorae"
        found += [f"folder {path.name} on {name}" for path in kept.iterdir()] if kept.is_dir() else []
        found += [f"link {link} on {name}" for link in machine.run("ls", "/sys/class/net").split() if link[:2] == "sv"]
    return found


def _list_crashes(ground: Ground) -> list[str]:
    """Return what processes logged of their own failures."""
    marks = ("Traceback", "internal-fault")
    return [
        f"{path.name}: {line}"
        for path in sorted(ground.data_dir.glob("*.log"))
        for line in path.read_text(errors="replace").splitlines()
        if any(mark in line for mark in marks)
    ]
