"""The drivers without an outside, made to fail when they are told to, for tests.

What they answer is what the real ones answer; `tests/contract` holds both to it.
"""

import asyncio
from collections.abc import Sequence

from statera.base.errors import StateraError, Transient
from statera.base.reason import Reason
from statera.base.secret import Secret
from statera.drivers.compute_noop import NoopCompute, NoopHost, NoopSandbox
from statera.model.agent_wire import Verdict
from statera.model.amphora import AmphoraObserved, AppliedConfiguration, Host
from statera.model.network import Attachment
from statera.model.spec import Configuration, SandboxSpec


class FakeHost(NoopHost):
    """A host that may be out of reach, alone its agent or the whole machine."""

    reachable = True
    is_alive = False
    """While it is out of reach."""
    is_lost = True
    """While it is out of reach: its sandboxes serve no more either."""

    def describe(self) -> Host:
        """Return what is known of the host."""
        told = super().describe()
        if self.reachable:
            return told
        reason = Reason(slug="agent-unreachable", sentence=f"The agent of host {self.name} does not answer.")
        limit = told.amphora_limit
        return Host(name=told.name, reachable=False, is_alive=self.is_alive, amphora_limit=limit, reason=reason)

    def list_addresses(self) -> list[str]:
        return super().list_addresses() if self.reachable or not self.is_lost else []


class Gate:
    """Holds a call where it stands: `reached` tells that it waits, `open` lets it go on."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def pass_through(self) -> None:
        self.reached.set()
        await self._opened.wait()


class FakeCompute(NoopCompute):
    """`ComputeDriver` over hosts in memory that a test can disturb."""

    hosts: dict[str, FakeHost]  # type: ignore[assignment]

    def __init__(self, *names: str, amphora_limit: int = 1000) -> None:
        super().__init__(())
        self.hosts = {name: FakeHost(name, amphora_limit=amphora_limit) for name in names or ("one",)}
        self.rejected_words = ""
        """A configuration whose text has these is rejected; "" rejects none."""
        self.gateways = {"10.9.0.1"}
        """Who else answers on the networks."""
        self.islands: set[str] = set()
        """Hosts that see nobody on the networks."""
        self.calls: list[str] = []
        """The names of the methods called, oldest first."""
        self._failures: dict[str, list[StateraError]] = {}
        self._gates: dict[str, Gate] = {}

    # What a test tells it

    def fail_next(self, method: str, error: StateraError) -> None:
        """Let the next call of a method fail before it does anything; several are used up in order."""
        self._failures.setdefault(method, []).append(error)

    def hold(self, method: str) -> Gate:
        """Make the next call of a method wait, before it does anything, until the gate is opened."""
        self._gates[method] = Gate()
        return self._gates[method]

    def list_sandboxes(self) -> dict[str, NoopSandbox]:
        """Return the sandboxes of all hosts by amphora."""
        return {one: sandbox for host in self.hosts.values() for one, sandbox in host.sandboxes.items()}

    # ComputeDriver

    async def observe_hosts(self) -> tuple[Host, ...]:
        await self._begin("observe_hosts")
        return await super().observe_hosts()

    async def observe_amphora(self, host: str, amphora_id: str) -> AmphoraObserved | None:
        await self._begin("observe_amphora")
        return await super().observe_amphora(host, amphora_id)

    async def observe_amphorae(self, host: str) -> tuple[AmphoraObserved, ...]:
        await self._begin("observe_amphorae")
        return await super().observe_amphorae(host)

    async def observe_neighbours(
        self, host: str, attachment: Attachment, mtu: int, addresses: Sequence[str]
    ) -> tuple[str, ...]:
        await self._begin("observe_neighbours")
        seen = await super().observe_neighbours(host, attachment, mtu, addresses)
        return () if host in self.islands else (*seen, *(one for one in addresses if one in self.gateways))

    async def mark_host(self, host: str, deployment_id: str, mark: int) -> int:
        await self._begin("mark_host")
        return await super().mark_host(host, deployment_id, mark)

    async def ensure_amphora(
        self, host: str, sandbox: SandboxSpec, *, epoch: int, heartbeat_key: Secret[bytes], deployment_id: str = ""
    ) -> None:
        await self._begin("ensure_amphora")
        await super().ensure_amphora(
            host, sandbox, epoch=epoch, heartbeat_key=heartbeat_key, deployment_id=deployment_id
        )

    async def apply_configuration(
        self, host: str, amphora_id: str, configuration: Configuration
    ) -> AppliedConfiguration:
        await self._begin("apply_configuration")
        return await super().apply_configuration(host, amphora_id, configuration)

    async def check_configuration(self, host: str, amphora_id: str, configuration: Configuration) -> Verdict:
        await self._begin("check_configuration")
        return await super().check_configuration(host, amphora_id, configuration)

    async def remove_amphora(self, host: str, amphora_id: str, *, epoch: int, hands_over: bool = False) -> None:
        await self._begin("remove_amphora")
        await super().remove_amphora(host, amphora_id, epoch=epoch)

    async def _begin(self, method: str) -> None:
        self.calls.append(method)
        # A real call yields to others while it is on its way.
        await asyncio.sleep(0)
        gate = self._gates.pop(method, None)
        if gate is not None:
            await gate.pass_through()
        failures: Sequence[StateraError] = self._failures.get(method, ())
        if failures:
            raise self._failures[method].pop(0)

    def reach(self, name: str) -> NoopHost:
        """Return the host. Raises `Transient` when it does not answer."""
        host = super().reach(name)
        if not self.hosts[name].reachable:
            raise Transient("agent-unreachable", f"The agent of host {name} does not answer.")
        return host

    def judge_document(self, configuration: Configuration) -> str:
        """Return words against a document that has the rejected ones."""
        document = configuration.haproxy
        if document is None or not self.rejected_words or self.rejected_words not in document.text():
            return ""
        return f"unknown keyword '{self.rejected_words}'."
