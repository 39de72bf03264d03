"""Hosts and networks in memory. Calls to hosts may be refused, lost, late, doubled, lied about or never answered."""

import asyncio
import datetime as dt
import math
import re
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec

from statera.base.errors import Lasting, LostClaim, StateraError, Transient
from statera.base.reason import Reason
from statera.base.secret import Secret
from statera.drivers.compute_noop import NoopCompute, NoopHost, NoopSandbox
from statera.model.addressing import AddressWanted, PortRecord
from statera.model.amphora import AmphoraObserved, AppliedConfiguration, Host
from statera.model.network import Attachment, Port, PortAddress
from statera.model.spec import Configuration, SandboxSpec
from tests.simulation.faults import Faults
from tests.simulation.processes import Process
from tests.simulation.story import Story, tell_time

CALL_MOST_S = 10.0
"""After which a caller gives up on a host."""
LASTING_S = 60.0
"""How long a lie works on: until the next re-check, or until two sweeps of orphans after their grace."""


Reach = Callable[[], Coroutine[Any, Any, None]]


class SimHost(NoopHost):
    """A host that may be cut off, lose its agent or its power: sandboxes go then, what is on its disk stays."""

    is_cut_off = False
    is_lost = False
    """Whether it never comes back."""
    has_agent = True
    has_started = False
    """Whether the machine has started anew, and nobody has spoken on it yet."""
    back_at = -math.inf
    """When it was reached again last."""
    struck_at = 0.0
    """When a request came late, or it did not answer, last."""

    def __init__(self, name: str, *, amphora_limit: int) -> None:
        super().__init__(name, amphora_limit=amphora_limit)
        self._on_disk: dict[str, NoopSandbox] = {}

    @property
    def answers(self) -> bool:
        return self.has_agent and not self.is_cut_off

    def describe(self) -> Host:
        if self.answers:
            return super().describe()
        reason = Reason(slug="agent-unreachable", sentence=f"The agent of host {self.name} does not answer.")
        is_alive = not self.is_cut_off
        return Host(name=self.name, reachable=False, is_alive=is_alive, amphora_limit=self.amphora_limit, reason=reason)

    def lose_power(self) -> None:
        self._on_disk = dict(self.sandboxes)
        self.sandboxes.clear()
        self.has_started = True

    def come_back(self, *, with_disk: bool) -> None:
        """Be reached again; the agent builds again what stands on the disk, if that has outlived the power."""
        if self.is_cut_off:
            self.back_at = tell_time()
        self.is_cut_off, self.has_agent = False, True
        self.sandboxes |= self._on_disk if with_disk else {}
        self._on_disk.clear()


class Hosts(NoopCompute):
    """What really is, whoever asks and whatever he is told."""

    hosts: dict[str, SimHost]  # type: ignore[assignment]

    def __init__(self, names: Sequence[str], rejected: Callable[[Configuration], bool]) -> None:
        super().__init__(())
        self.hosts = {name: SimHost(name, amphora_limit=100) for name in names}
        self._rejected = rejected
        self.most_served: dict[str, int] = {}
        """By load balancer: the highest generation that any of its sandboxes has been configured to."""
        self.shown: dict[str, set[str]] = {}
        """By load balancer: the digests of all certificates that any of its sandboxes has been given."""
        self.wrongs: list[str] = []
        """What a host did and may never do."""

    @contextmanager
    def _fence(self, name: str, amphora_id: str, what: str, epoch: int) -> Iterator[None]:
        """Note it when a host obeys an older epoch than it obeyed before."""
        fence, was_there = self.hosts[name].fences.get(amphora_id, 0), amphora_id in self.hosts[name].sandboxes
        yield
        # Nothing to remove: then no epoch is too old.
        if epoch < fence and (was_there or what != "removal"):
            self.wrongs.append(f"host {name} obeys the {what} of {amphora_id}, epoch {epoch}, after epoch {fence}")

    async def ensure_amphora(self, host: str, sandbox: SandboxSpec, *, epoch: int, **values: Any) -> None:
        with self._fence(host, sandbox.amphora_id, "build", epoch):
            await super().ensure_amphora(host, sandbox, epoch=epoch, **values)

    async def apply_configuration(
        self, host: str, amphora_id: str, configuration: Configuration
    ) -> AppliedConfiguration:
        with self._fence(host, amphora_id, "configuration", configuration.epoch):
            done = await super().apply_configuration(host, amphora_id, configuration)
        owner = self.hosts[host].sandboxes[amphora_id].spec.load_balancer_id
        self.most_served[owner] = max(configuration.generation, self.most_served.get(owner, 0))
        self.shown.setdefault(owner, set()).update(configuration.contents)
        return done

    async def remove_amphora(self, host: str, amphora_id: str, *, epoch: int, hands_over: bool = False) -> None:
        with self._fence(host, amphora_id, "removal", epoch):
            await super().remove_amphora(host, amphora_id, epoch=epoch, hands_over=hands_over)

    def reach(self, name: str) -> NoopHost:
        host = super().reach(name)
        if not self.hosts[name].answers:
            raise Transient("agent-unreachable", f"The agent of host {name} does not answer.")
        return host

    def judge_document(self, configuration: Configuration) -> str:
        return "nobody can listen there." if self._rejected(configuration) else ""


class SimCompute:
    """`ComputeDriver` of one process."""

    def __init__(self, hosts: Hosts, process: Process, story: Story) -> None:
        self._hosts = hosts
        self._process = process
        self._faults: Faults = process.faults
        self._story = story
        self._old_news: dict[tuple[str, str], AmphoraObserved | None] = {}

    async def observe_hosts(self) -> tuple[Host, ...]:
        await self._process.point("observing hosts")
        hosts: tuple[Host, ...] = await self._hosts.observe_hosts()
        if not self._process.strikes("question-hangs"):
            return hosts
        hanging = self._faults.rng.choice(hosts).name
        await self._hang(hanging)
        # Its machine is looked at beside: that lives unless it does not answer at all.
        return tuple(_hush(host) if host.name == hanging else host for host in hosts)

    async def observe_amphora(self, host: str, amphora_id: str) -> AmphoraObserved | None:
        now: AmphoraObserved | None = await self._look(host, self._hosts.observe_amphora(host, amphora_id))
        if (host, amphora_id) in self._old_news and self._process.strikes("host-old-news"):
            self._process.disturb(LASTING_S)
            self._tell(f"is told old news of {amphora_id[:8]}")
            return self._old_news[host, amphora_id]
        self._old_news[host, amphora_id] = now
        return now

    async def observe_amphorae(self, host: str) -> tuple[AmphoraObserved, ...]:
        found: tuple[AmphoraObserved, ...] = await self._look(host, self._hosts.observe_amphorae(host))
        return found

    async def observe_neighbours(
        self, host: str, attachment: Attachment, mtu: int, addresses: Sequence[str]
    ) -> tuple[str, ...]:
        asking = self._hosts.observe_neighbours(host, attachment, mtu, addresses)
        found: tuple[str, ...] = await self._look(host, asking)
        return found

    async def mark_host(self, host: str, deployment_id: str, mark: int) -> int:
        return int(await self._look(host, self._hosts.mark_host(host, deployment_id, mark)))

    async def observe_metrics(self, host: str, amphora_id: str) -> Any:
        return await self._look(host, self._hosts.observe_metrics(host, amphora_id))

    async def ensure_amphora(
        self, host: str, sandbox: SandboxSpec, *, epoch: int, heartbeat_key: Secret[bytes], deployment_id: str = ""
    ) -> None:
        what = f"build {sandbox.amphora_id[:8]} on {host}, epoch {epoch}"

        async def act() -> None:
            await self._hosts.ensure_amphora(
                host, sandbox, epoch=epoch, heartbeat_key=heartbeat_key, deployment_id=deployment_id
            )

        await self._do(host, what, act)

    async def apply_configuration(
        self, host: str, amphora_id: str, configuration: Configuration
    ) -> AppliedConfiguration:
        what = f"configure {amphora_id[:8]} on {host} to {configuration.generation}, epoch {configuration.epoch}"
        done = await self._do(host, what, lambda: self._hosts.apply_configuration(host, amphora_id, configuration))
        return done or AppliedConfiguration(means="reload")

    async def check_configuration(self, host: str, amphora_id: str, configuration: Configuration) -> Any:
        return await self._look(host, self._hosts.check_configuration(host, amphora_id, configuration))

    async def remove_amphora(self, host: str, amphora_id: str, *, epoch: int, hands_over: bool = False) -> None:
        what = f"remove {amphora_id[:8]} from {host}, epoch {epoch}"
        remove = self._hosts.remove_amphora
        await self._do(host, what, lambda: remove(host, amphora_id, epoch=epoch, hands_over=hands_over))

    async def close(self) -> None: ...

    async def _look(self, host: str, asking: Any) -> Any:
        try:
            await self._process.point(f"asking {host}", "asking a host")
            self._refuse_or(host)
            if self._process.strikes("question-hangs"):
                await self._hang(host)
                raise _silent(host)
        except BaseException:
            asking.close()
            raise
        return await asking

    async def _hang(self, host: str) -> None:
        self._tell(f"waits for {host} in vain")
        self._process.disturb(CALL_MOST_S)
        await asyncio.sleep(CALL_MOST_S)

    async def _do(self, host: str, what: str, act: Callable[[], Any]) -> Any:
        kind = what.partition(" ")[0]
        await self._process.point(f"the request to {what}", f"the request to {kind}")
        self._refuse_or(host)
        if self._process.strikes("host-hangs"):
            await self._hang(host)
            raise _silent(host)
        if self._process.strikes("host-late"):
            self._process.disturb(CALL_MOST_S)
            self._later(host, what, act)
            await asyncio.sleep(CALL_MOST_S)
            raise _silent(host)
        if self._process.strikes("host-lies"):
            self._process.disturb(LASTING_S)
            self._tell(f"is told that it could {what}, which is a lie")
            return None
        done = await act()
        self._tell(what)
        if self._process.strikes("host-twice"):
            self._later(host, what, act)
        await self._process.point(f"the answer to {what}", f"the answer to {kind}")
        if self._process.strikes("host-answer-lost"):
            raise _silent(host)
        return done

    def _refuse_or(self, host: str) -> None:
        if self._process.strikes("host-refuses"):
            raise _silent(host)

    def _later(self, host: str, what: str, act: Callable[[], Any]) -> None:
        delay_s = self._faults.draw_s(0.1, 60.0)
        self._tell(f"asks to {what}, which arrives after {delay_s:.1f} s")
        task = asyncio.create_task(self._arrive(delay_s, host, what, act))
        _ON_THEIR_WAY.add(task)
        task.add_done_callback(_ON_THEIR_WAY.discard)

    async def _arrive(self, delay_s: float, host: str, what: str, act: Callable[[], Any]) -> None:
        await asyncio.sleep(delay_s)
        try:
            await act()
            self._hosts.hosts[host].struck_at = tell_time()
            self._story.tell("the network", f"delivers late: {what}")
        except (Transient, Lasting, LostClaim) as error:
            self._story.tell("the network", f"delivers late, refused ({error.reason.slug}): {what}")

    def _tell(self, what: str) -> None:
        self._story.tell(self._process.name, what)


_ON_THEIR_WAY: set["asyncio.Task[None]"] = set()
"""Requests that nobody waits for any more."""


def _hush(host: Host) -> Host:
    return msgspec.structs.replace(host, reachable=False, reason=_silent(host.name).reason)


def _silent(host: str) -> StateraError:
    return Transient("agent-unreachable", f"The agent of host {host} does not answer.")


class Ports:
    """`AddressBook` in memory, the truth that all processes share."""

    def __init__(self, now: Callable[[], dt.datetime]) -> None:
        self._now = now
        self.records: dict[tuple[str, str], PortRecord] = {}
        self._made = 0

    async def ensure_port(
        self, device_id: str, network_id: str, name: str, mac_address: str, wanted: Sequence[AddressWanted]
    ) -> Port:
        known = self.records.get((device_id, network_id))
        held = list(known.port.addresses) if known is not None else []
        for one in wanted:
            if all(place.subnet_id != one.subnet_id for place in held):
                self._made += 1
                address = f"10.{8 + self._made // 60000}.{self._made // 250 % 250}.{self._made % 250 + 2}"
                held.append(PortAddress(subnet_id=one.subnet_id, address=address))
        port = Port(
            id=f"port-{device_id}-{network_id}",
            network_id=network_id,
            name=name,
            device_id=device_id,
            mac_address=mac_address,
            addresses=tuple(held),
        )
        created_at = known.created_at if known is not None else self._now()
        self.records[device_id, network_id] = PortRecord(port=port, created_at=created_at)
        return port

    async def remove_ports(self, device_id: str, keep_networks: Collection[str] = ()) -> None:
        for key in [key for key in self.records if key[0] == device_id and key[1] not in keep_networks]:
            del self.records[key]

    async def list_ports(self, *, older_than_s: float | None = None) -> tuple[PortRecord, ...]:
        return tuple(self.records.values())

    async def load_port(self, port_id: str) -> Port | None:
        return next((one.port for one in self.records.values() if one.port.id == port_id), None)


class ReachedPorts:
    """The address book as one process reaches it: over the database, with the database's faults."""

    def __init__(self, ports: Ports, process: Process, reach: Reach) -> None:
        """`reach` raises `Transient` while the database does not answer."""
        self._ports = ports
        self._process = process
        self._reach = reach

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*args: Any, **values: Any) -> Any:
            await self._process.point(f"the start of {name}")
            await self._reach()
            answer = await getattr(self._ports, name)(*args, **values)
            await self._process.point(f"the end of {name}")
            return answer

        return call


def decode_rejected(configuration: Configuration, port: int) -> bool:
    """Say whether a configuration has a listener on the port that this outside rejects."""
    # Ids begin with such digits, too.
    return re.search(rf":{port}(?!\w)", msgspec.json.encode(configuration.haproxy).decode()) is not None
