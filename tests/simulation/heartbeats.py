"""What agents tell of their amphorae, and its way to the health processes: lost, late, twice, again, or forged."""

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from statera.base.secret import Secret
from statera.drivers.compute_noop import NoopSandbox
from statera.health.receiver import HeartbeatReceiver
from statera.model.heartbeat import (
    Heartbeat,
    ListenerObserved,
    ListenerState,
    MemberObserved,
    MemberState,
    encode_heartbeat,
    split_heartbeat,
)
from statera.model.spec import Configuration
from statera.render.haproxy import parse_backend_name
from tests.simulation.outside import SimHost
from tests.simulation.processes import Process
from tests.simulation.story import EPOCH, tell_time
from tests.simulation.vips import find_speakers

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation

LOOK_S = 0.5
"""How soon an agent tells of a configuration that it has taken; else it speaks every `agent.heartbeat_interval_s`."""
MOST_BYTES = 700
"""Small, so that some are told in parts."""
LATE_S = (3.0, 25.0)
DEAF_S = ((0.0, 30.0), (0.0, 30.0), (60.0, 120.0))
"""How long nothing of a host gets through to a health process."""
UNFIT_S = (2.0, 40.0)

FRONTEND = re.compile(r"^frontend (\S{36})$", re.MULTILINE)
BACKEND = re.compile(r"^backend (\S+:\S+)\n((?: .*\n)*)", re.MULTILINE)
SERVER = re.compile(r"^ +server (\S+) (\S+) weight (\d+)(.*)$", re.MULTILINE)

Key = tuple[str, int, int]
"""Amphora, boot and sequence of a heartbeat."""


class Told(msgspec.Struct, frozen=True):
    """What an agent said, which number that has among all that was said, and when it was."""

    number: int
    heartbeat: Heartbeat
    at: float


class Held(msgspec.Struct, frozen=True):
    """What a configuration file says of listeners and members."""

    configuration: Configuration | None
    """Whose file it is."""
    listeners: tuple[ListenerObserved, ...] = ()
    servers: tuple["Server", ...] = ()


class Server(msgspec.Struct, frozen=True):
    pool_id: str
    member_id: str
    place: str
    weight: int
    options: tuple[str, ...]


class Ear:
    """Where heartbeats arrive at a health process: one that stands still reads them later, one that is dead never."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.receiver: HeartbeatReceiver | None = None
        """Of the life that it has now."""
        self.deaf_until: dict[str, float] = {}
        """By host."""

    def hear(self, datagram: bytes) -> None:
        if self.process.dead or self.receiver is None:
            return
        if self.process.still_s > 0.0:
            asyncio.get_running_loop().call_later(self.process.still_s, self.hear, datagram)
        else:
            self.receiver.receive(datagram)


class Agents:
    """The agents of all hosts. `told` is what they said, and in which order; what is forged is not in it."""

    def __init__(self, world: "Simulation", interval_s: float) -> None:
        self.ears: list[Ear] = []
        self.told: dict[Key, Told] = {}
        self.heard: dict[str, int] = {}
        """By amphora: the newest of it that any health process has taken in."""
        self.unfit: set[tuple[str, str]] = set()
        """Hosts and the places of members that they do not reach."""
        self._world = world
        self._faults = world.faults
        self._interval_s = interval_s
        self._skews_s = {name: world.faults.draw_skew_s() for name in world.hosts.hosts}
        self._speakers: set[str] | None = None
        """Who has the VIPs that are shared, once that was looked for in this look."""
        self._boots: dict[str, int] = {}
        self._sequence = 0
        self._due: dict[str, float] = {}
        self._held: dict[str, Held] = {}
        self._of_old_boots: dict[str, tuple[bytes, ...]] = {}
        self._last: dict[str, tuple[bytes, ...]] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._speakers = None
            for host in self._world.hosts.hosts.values():
                if not host.has_agent:
                    self._boots.pop(host.name, None)
                if host.answers:
                    self._look(host)

    def _look(self, host: SimHost) -> None:
        if host.name not in self._boots or host.has_started:
            # As the real ones: the time at which it starts.
            self._boots[host.name], host.has_started = int(self._tell_unix(host) * 1000), False
            self._of_old_boots |= {one: self._last[one] for one in host.sandboxes if one in self._last}
        now_s = tell_time()
        for amphora_id, box in host.sandboxes.items():
            if not box.spec.load_balancer_id:
                # A spare has nothing to tell.
                continue
            held = self._held.get(amphora_id)
            is_news = held is None or held.configuration is not box.configuration
            if is_news or self._due.get(amphora_id, 0.0) <= now_s:
                if is_news:
                    self._held[amphora_id] = read_held(box)
                self._due[amphora_id] = now_s + self._interval_s
                self._speak(host, amphora_id, box)

    def _tell_unix(self, host: SimHost) -> float:
        return EPOCH.timestamp() + tell_time() + self._skews_s[host.name]

    def _speak(self, host: SimHost, amphora_id: str, box: NoopSandbox) -> None:
        self._sequence += 1
        live, held = box.configuration, self._held[amphora_id]
        runs = box.haproxy_running or live is None or not box.text
        heartbeat = Heartbeat(
            amphora_id=amphora_id,
            load_balancer_id=box.spec.load_balancer_id,
            boot=self._boots[host.name],
            sequence=self._sequence,
            sent_at=self._tell_unix(host),
            generation=live.generation if live is not None else 0,
            epoch=host.fences[amphora_id],
            haproxy_running=runs,
            listeners=held.listeners if runs else (),
            members=tuple(self._judge(host.name, server) for server in held.servers) if runs else (),
            has_vips=self._has_vips(amphora_id) if box.spec.vrrp is not None else None,
        )
        self.told[amphora_id, heartbeat.boot, heartbeat.sequence] = Told(len(self.told), heartbeat, tell_time())
        self._last[amphora_id] = _sign(heartbeat)
        self._send(host, amphora_id, self._last[amphora_id])
        if self._faults.strikes("heartbeat-forged"):
            self._forge(host, heartbeat)

    def _has_vips(self, amphora_id: str) -> bool:
        if self._speakers is None:
            self._speakers = find_speakers(self._world.hosts.hosts.values())
        return amphora_id in self._speakers

    def _judge(self, host: str, server: Server) -> MemberObserved:
        """Return what HAProxy says of a member."""
        seen = MemberObserved(pool_id=server.pool_id, member_id=server.member_id, state=MemberState.UP)
        if "disabled" in server.options:
            return msgspec.structs.replace(seen, state=MemberState.MAINT)
        if "check" not in server.options:
            return msgspec.structs.replace(seen, state=MemberState.NO_CHECK)
        if (host, server.place) in self.unfit:
            return msgspec.structs.replace(seen, state=MemberState.DOWN, check="L4CON", text="Connection refused")
        return seen if server.weight else msgspec.structs.replace(seen, state=MemberState.DRAIN)

    def _forge(self, host: SimHost, heartbeat: Heartbeat) -> None:
        """Have an amphora that was broken into say that all is well at another load balancer."""
        trees = self._world.database.list_balancers()
        others = [one for one in trees if one.load_balancer.id != heartbeat.load_balancer_id]
        if not others:
            return
        self._sequence += 1
        victim = self._faults.rng.choice(others)
        well = [MemberObserved(pool_id=one.pool_id, member_id=one.id, state=MemberState.UP) for one in victim.members]
        forged = msgspec.structs.replace(
            heartbeat,
            load_balancer_id=victim.load_balancer.id,
            generation=victim.load_balancer.generation,
            sequence=self._sequence,
            listeners=(),
            members=tuple(well),
        )
        self._send(host, heartbeat.amphora_id, _sign(forged))

    def _send(self, host: SimHost, amphora_id: str, datagrams: Sequence[bytes]) -> None:
        faults, loop = self._faults, asyncio.get_running_loop()
        for ear in self.ears:
            if faults.strikes("heartbeat-lost"):
                ear.deaf_until[host.name] = tell_time() + faults.draw_s(*faults.rng.choice(DEAF_S))
            for datagram in datagrams:
                if not faults.over and ear.deaf_until.get(host.name, -1.0) >= tell_time():
                    continue
                delay_s = faults.draw_s(*LATE_S) if faults.strikes("heartbeat-late") else faults.draw_s(0.001, 0.02)
                loop.call_later(delay_s, ear.hear, datagram)
                if faults.strikes("heartbeat-twice"):
                    loop.call_later(delay_s + faults.draw_s(0.0, 10.0), ear.hear, datagram)
            old = self._of_old_boots.get(amphora_id)
            if old is not None and faults.strikes("heartbeat-of-old-boot"):
                for datagram in old:
                    loop.call_later(faults.draw_s(0.001, 10.0), ear.hear, datagram)

    # What befalls members

    async def disturb_members(self) -> None:
        """Have members break and work again until the faults are over; then they stay as they are."""
        faults = self._faults
        while not faults.over:
            await asyncio.sleep(faults.draw_s(1.0, 20.0))
            self.change_fitness()

    def change_fitness(self) -> None:
        """Have a member that is served break, or work again: as all hosts see it, or one."""
        servers = [(name, one) for name, host in self._world.hosts.hosts.items() for one in self._list_servers(host)]
        if not servers:
            return
        host, server = self._faults.rng.choice(servers)
        seen_by = [host] if self._faults.rng.random() < 0.3 else list(self._world.hosts.hosts)
        places = {(name, server.place) for name in seen_by}
        is_back = (host, server.place) in self.unfit
        self.unfit = self.unfit - places if is_back else self.unfit | places
        self._world.story.tell(f"member {server.place}", f"{'answers' if is_back else 'does not answer'} {seen_by}")

    def _list_servers(self, host: SimHost) -> list[Server]:
        held = [self._held[one] for one in host.sandboxes if one in self._held]
        return [server for one in held for server in one.servers]


def _sign(heartbeat: Heartbeat) -> tuple[bytes, ...]:
    key = Secret(heartbeat.amphora_id.encode())
    return tuple(encode_heartbeat(part, key) for part in split_heartbeat(heartbeat, MOST_BYTES))


def read_held(box: NoopSandbox) -> Held:
    """Read what a sandbox's configuration holds, as its HAProxy would."""
    listeners = tuple(ListenerObserved(id=one, status=ListenerState.OPEN) for one in FRONTEND.findall(box.text))
    servers = []
    for name, lines in BACKEND.findall(box.text):
        names = parse_backend_name(name)
        assert names is not None
        servers += [
            Server(names[0], member_id, place, int(weight), tuple(rest.split()))
            for member_id, place, weight, rest in SERVER.findall(lines)
        ]
    # A pool that serves several listeners is told once.
    return Held(box.configuration, listeners, tuple({(one.pool_id, one.member_id): one for one in servers}.values()))
