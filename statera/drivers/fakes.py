"""Drivers without an outside: they keep in memory what the real ones keep on hosts, and fail when they are told to.

For tests and the simulator. What they answer is what the real ones answer; `tests/contract` holds both to it.
"""

import asyncio
from collections.abc import Sequence

import msgspec

from statera.base.errors import Lasting, LostClaim, StateraError, Transient
from statera.base.reason import Reason
from statera.base.secret import Secret
from statera.model.amphora import AmphoraObserved, AppliedConfiguration, Host
from statera.model.spec import Configuration, SandboxSpec

HAPROXY_VERSION = "2.6.12-1+deb12u1"


class FakeSandbox:
    """One amphora as its host has it."""

    def __init__(self, spec: SandboxSpec, key: Secret[bytes]) -> None:
        self.spec = spec
        self.key = key
        self.configuration: Configuration | None = None
        self.haproxy_running = False
        self.reason: Reason | None = None
        self.reloads = 0

    @property
    def text(self) -> str:
        """The live configuration file, "" without one."""
        document = self.configuration.haproxy if self.configuration is not None else None
        return document.text() if document is not None else ""


class FakeHost:
    """One host. `fences` outlives its sandboxes: a request of an older epoch that comes late builds nothing again."""

    def __init__(self, name: str, *, amphora_limit: int = 1000) -> None:
        self.name = name
        self.reachable = True
        self.amphora_limit = amphora_limit
        self.engine_versions = {"haproxy": HAPROXY_VERSION}
        self.sandboxes: dict[str, FakeSandbox] = {}
        self.fences: dict[str, int] = {}

    def check_fence(self, amphora_id: str, load_balancer_id: str, epoch: int) -> None:
        """Raise `LostClaim` for an older epoch than was accepted before."""
        if epoch < self.fences.get(amphora_id, 0):
            raise LostClaim(load_balancer_id)

    def observe(self, amphora_id: str) -> AmphoraObserved:
        """Return what there is of a sandbox that exists."""
        sandbox = self.sandboxes[amphora_id]
        live = sandbox.configuration
        return AmphoraObserved(
            id=amphora_id,
            load_balancer_id=sandbox.spec.load_balancer_id,
            epoch=self.fences[amphora_id],
            generation=live.generation if live is not None else 0,
            sandbox_digest=sandbox.spec.digest(),
            configuration_digest=live.haproxy.digest() if live is not None and live.haproxy is not None else "",
            haproxy_running=sandbox.haproxy_running,
            reason=sandbox.reason,
        )


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


class FakeCompute:
    """`ComputeDriver` over hosts in memory."""

    def __init__(self, *names: str, amphora_limit: int = 1000) -> None:
        self.hosts = {name: FakeHost(name, amphora_limit=amphora_limit) for name in names or ("one",)}
        self.rejected_words = ""
        """A configuration whose text has these is rejected; "" rejects none."""
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

    def list_sandboxes(self) -> dict[str, FakeSandbox]:
        """Return the sandboxes of all hosts by amphora."""
        return {one: sandbox for host in self.hosts.values() for one, sandbox in host.sandboxes.items()}

    # ComputeDriver

    async def observe_hosts(self) -> tuple[Host, ...]:
        await self._begin("observe_hosts")
        return tuple(_describe(host) for host in self.hosts.values())

    async def observe_amphora(self, host: str, amphora_id: str) -> AmphoraObserved | None:
        await self._begin("observe_amphora")
        found = self._reach(host)
        return found.observe(amphora_id) if amphora_id in found.sandboxes else None

    async def observe_amphorae(self, host: str) -> tuple[AmphoraObserved, ...]:
        await self._begin("observe_amphorae")
        found = self._reach(host)
        return tuple(found.observe(amphora_id) for amphora_id in found.sandboxes)

    async def ensure_amphora(
        self, host: str, sandbox: SandboxSpec, *, epoch: int, heartbeat_key: Secret[bytes]
    ) -> None:
        await self._begin("ensure_amphora")
        found = self._reach(host)
        found.check_fence(sandbox.amphora_id, sandbox.load_balancer_id, epoch)
        built = found.sandboxes.get(sandbox.amphora_id)
        if built is not None:
            built.spec = sandbox
        elif len(found.sandboxes) >= found.amphora_limit:
            raise Lasting("host-full", f"Host {host} holds {found.amphora_limit} amphorae, as many as it may.")
        else:
            found.sandboxes[sandbox.amphora_id] = FakeSandbox(sandbox, heartbeat_key)
        found.fences[sandbox.amphora_id] = epoch

    async def apply_configuration(
        self, host: str, amphora_id: str, configuration: Configuration
    ) -> AppliedConfiguration:
        await self._begin("apply_configuration")
        found = self._reach(host)
        sandbox = found.sandboxes.get(amphora_id)
        if sandbox is None:
            raise Transient("sandbox-missing", f"Amphora {amphora_id} has no sandbox on this host.")
        found.check_fence(amphora_id, sandbox.spec.load_balancer_id, configuration.epoch)
        document = configuration.haproxy
        if document is not None and self.rejected_words and self.rejected_words in document.text():
            sentence = f"HAProxy rejects the configuration: unknown keyword '{self.rejected_words}'."
            sandbox.reason = Reason(slug="configuration-rejected", sentence=sentence)
            raise Lasting("configuration-rejected", sentence)
        found.fences[amphora_id] = configuration.epoch
        sandbox.reason = None
        live, sandbox.configuration = sandbox.configuration, configuration
        was_running, sandbox.haproxy_running = sandbox.haproxy_running, document is not None
        if live is not None and live.haproxy == document and was_running == sandbox.haproxy_running:
            return AppliedConfiguration(means="unchanged")
        sandbox.reloads += 1
        return AppliedConfiguration(means="reload", why="the text differs")

    async def remove_amphora(self, host: str, amphora_id: str, *, epoch: int) -> None:
        await self._begin("remove_amphora")
        found = self._reach(host)
        sandbox = found.sandboxes.get(amphora_id)
        if sandbox is not None:
            found.check_fence(amphora_id, sandbox.spec.load_balancer_id, epoch)
            del found.sandboxes[amphora_id]
        found.fences[amphora_id] = epoch

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

    def _reach(self, name: str) -> FakeHost:
        host = self.hosts.get(name)
        if host is None:
            raise Transient("host-unknown", f"Host {name} is not configured.")
        if not host.reachable:
            raise Transient("agent-unreachable", f"The agent of host {name} does not answer.")
        return host


def _describe(host: FakeHost) -> Host:
    told = Host(name=host.name, reachable=True, amphora_limit=host.amphora_limit)
    if not host.reachable:
        reason = Reason(slug="agent-unreachable", sentence=f"The agent of host {host.name} does not answer.")
        return msgspec.structs.replace(told, reachable=False, reason=reason)
    return msgspec.structs.replace(
        told, amphora_count=len(host.sandboxes), agent_version="fake", engine_versions=host.engine_versions
    )
