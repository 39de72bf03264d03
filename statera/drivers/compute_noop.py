"""Hosts without an outside: every operation succeeds, and nothing but this process's memory knows of it.

For conformance runs of the API, for developers of clients, and to measure the control plane alone. What it answers is
what the real agents answer (`tests/contract` holds both to it); what a restart forgets, the next pass builds again.
"""

from collections.abc import Sequence

from statera.base.errors import Lasting, LostClaim, Transient
from statera.base.reason import Reason
from statera.base.secret import Secret
from statera.model.agent_wire import Metrics, Verdict
from statera.model.amphora import AmphoraObserved, AppliedConfiguration, Host
from statera.model.heartbeat import ListenerObserved
from statera.model.network import Attachment
from statera.model.protocol import PROTOCOL
from statera.model.spec import Configuration, SandboxSpec

ENGINE_VERSIONS = {"haproxy": "2.6.12-1+deb12u1", "nginx": "1.22.1", "prometheus-exporter": "2.6.12"}
"""What documents are rendered for."""
AMPHORA_LIMIT = 1_000_000
MOST_FENCES = 10_000
"""Epochs remembered of amphorae that are gone; a request comes late by seconds, not by so many amphorae."""


class NoopSandbox:
    """One amphora as its host has it."""

    def __init__(self, spec: SandboxSpec, deployment_id: str) -> None:
        self.spec = spec
        self.deployment_id = deployment_id
        self.configuration: Configuration | None = None
        self.haproxy_running = False
        self.broken_s = 0.0
        self.reason: Reason | None = None
        self.reloads = 0
        self.counted: tuple[ListenerObserved, ...] = ()
        """What HAProxy would have counted: nothing, unless a test says so."""

    @property
    def text(self) -> str:
        """The live configuration file, "" without one."""
        document = self.configuration.haproxy if self.configuration is not None else None
        return document.text() if document is not None else ""


class NoopHost:
    """One host. `fences` outlives its sandboxes: a request of an older epoch that comes late builds nothing again."""

    def __init__(self, name: str, *, amphora_limit: int = AMPHORA_LIMIT) -> None:
        self.name = name
        self.amphora_limit = amphora_limit
        self.engine_versions = ENGINE_VERSIONS
        self.sandboxes: dict[str, NoopSandbox] = {}
        self.fences: dict[str, int] = {}
        self.marks: dict[str, int] = {}

    def check_fence(self, amphora_id: str, load_balancer_id: str, epoch: int) -> None:
        """Raise `LostClaim` for an older epoch than was accepted before."""
        if epoch < self.fences.get(amphora_id, 0):
            raise LostClaim(load_balancer_id)

    def raise_fence(self, amphora_id: str, epoch: int) -> None:
        """Remember the epoch, and forget the amphora that has been gone longest when there are too many."""
        self.fences[amphora_id] = max(epoch, self.fences.pop(amphora_id, 0))
        if len(self.fences) > MOST_FENCES + len(self.sandboxes):
            del self.fences[next(one for one in self.fences if one not in self.sandboxes)]

    def describe(self) -> Host:
        """Return what the host says of itself."""
        return Host(
            name=self.name,
            zone=None,
            reachable=True,
            amphora_count=len(self.sandboxes),
            amphora_limit=self.amphora_limit,
            agent_version="noop",
            protocol=PROTOCOL,
            engine_versions=self.engine_versions,
        )

    def list_addresses(self) -> list[str]:
        """Return the addresses without prefix lengths for which its sandboxes answer on the network."""
        interfaces = [one for sandbox in self.sandboxes.values() for one in sandbox.spec.interfaces]
        own = [text.partition("/")[0] for one in interfaces for text in one.addresses]
        return [*own, *(text for one in interfaces for text in one.vips)]

    def observe(self, amphora_id: str) -> AmphoraObserved:
        """Return what there is of a sandbox that exists."""
        sandbox = self.sandboxes[amphora_id]
        live = sandbox.configuration
        return AmphoraObserved(
            id=amphora_id,
            load_balancer_id=sandbox.spec.load_balancer_id,
            deployment_id=sandbox.deployment_id,
            epoch=self.fences[amphora_id],
            generation=live.generation if live is not None else 0,
            sandbox_digest=sandbox.spec.digest(),
            configuration_digest=live.haproxy.digest() if live is not None and live.haproxy is not None else "",
            haproxy_running=sandbox.haproxy_running,
            broken_s=sandbox.broken_s,
            reason=sandbox.reason,
        )


class NoopCompute:
    """`ComputeDriver` over hosts in memory."""

    def __init__(self, names: Sequence[str], *, amphora_limit: int = AMPHORA_LIMIT) -> None:
        self.hosts = {name: NoopHost(name, amphora_limit=amphora_limit) for name in names}

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""

    async def observe_hosts(self) -> tuple[Host, ...]:
        return tuple(host.describe() for host in self.hosts.values())

    async def observe_amphora(self, host: str, amphora_id: str) -> AmphoraObserved | None:
        found = self.reach(host)
        return found.observe(amphora_id) if amphora_id in found.sandboxes else None

    async def observe_amphorae(self, host: str) -> tuple[AmphoraObserved, ...]:
        found = self.reach(host)
        return tuple(found.observe(amphora_id) for amphora_id in found.sandboxes)

    async def observe_neighbours(
        self, host: str, attachment: Attachment, mtu: int, addresses: Sequence[str]
    ) -> tuple[str, ...]:
        self.reach(host)
        held = {address for one in self.hosts.values() for address in one.list_addresses()}
        return tuple(address for address in addresses if address in held)

    async def observe_metrics(self, host: str, amphora_id: str) -> Metrics | None:
        sandbox = self.reach(host).sandboxes.get(amphora_id)
        if sandbox is None:
            return None
        # One that needs no HAProxy is as it should be, as the agents tell it.
        live = sandbox.configuration
        running = sandbox.haproxy_running or live is None or live.haproxy is None
        return Metrics(amphora_id=amphora_id, haproxy_running=running, listeners=sandbox.counted, members=())

    async def mark_host(self, host: str, deployment_id: str, mark: int) -> int:
        marks = self.reach(host).marks
        before = marks.get(deployment_id, 0)
        marks[deployment_id] = max(before, mark)
        return before

    async def ensure_amphora(
        self, host: str, sandbox: SandboxSpec, *, epoch: int, heartbeat_key: Secret[bytes], deployment_id: str = ""
    ) -> None:
        found = self.reach(host)
        found.check_fence(sandbox.amphora_id, sandbox.load_balancer_id, epoch)
        built = found.sandboxes.get(sandbox.amphora_id)
        if built is not None:
            built.spec, built.deployment_id = sandbox, deployment_id
        elif len(found.sandboxes) >= found.amphora_limit:
            raise Lasting("host-full", f"Host {host} holds {found.amphora_limit} amphorae, as many as it may.")
        else:
            found.sandboxes[sandbox.amphora_id] = NoopSandbox(sandbox, deployment_id)
        found.raise_fence(sandbox.amphora_id, epoch)

    async def apply_configuration(
        self, host: str, amphora_id: str, configuration: Configuration
    ) -> AppliedConfiguration:
        found = self.reach(host)
        sandbox = found.sandboxes.get(amphora_id)
        if sandbox is None:
            raise Transient("sandbox-missing", f"Amphora {amphora_id} has no sandbox on this host.")
        found.check_fence(amphora_id, sandbox.spec.load_balancer_id, configuration.epoch)
        self.check_document(sandbox, configuration)
        found.raise_fence(amphora_id, configuration.epoch)
        sandbox.reason = None
        document = configuration.haproxy
        live, sandbox.configuration = sandbox.configuration, configuration
        was_running, sandbox.haproxy_running = sandbox.haproxy_running, document is not None
        if live is not None and live.haproxy == document and was_running == sandbox.haproxy_running:
            return AppliedConfiguration(means="unchanged")
        sandbox.reloads += 1
        return AppliedConfiguration(means="reload", why="the text differs")

    async def check_configuration(self, host: str, amphora_id: str, configuration: Configuration) -> Verdict:
        words = self.judge_document(configuration)
        self.reach(host)
        return Verdict(accepted=not words, words=words)

    async def remove_amphora(self, host: str, amphora_id: str, *, epoch: int, hands_over: bool = False) -> None:
        found = self.reach(host)
        sandbox = found.sandboxes.get(amphora_id)
        if sandbox is not None:
            found.check_fence(amphora_id, sandbox.spec.load_balancer_id, epoch)
            del found.sandboxes[amphora_id]
        # A request of the same pass that comes late builds nothing again.
        found.raise_fence(amphora_id, epoch + 1)

    def reach(self, name: str) -> NoopHost:
        """Return the host. Raises `Transient` when there is none of this name."""
        host = self.hosts.get(name)
        if host is None:
            raise Transient("host-unknown", f"Host {name} is not in the configuration.")
        return host

    def check_document(self, sandbox: NoopSandbox, configuration: Configuration) -> None:
        """Raise `Lasting` for a configuration that is rejected."""
        words = self.judge_document(configuration)
        if words:
            sentence = f"HAProxy rejects the configuration: {words}"
            sandbox.reason = Reason(slug="configuration-rejected", sentence=sentence)
            raise Lasting("configuration-rejected", sentence)

    def judge_document(self, configuration: Configuration) -> str:
        """Return what is said against a configuration: nothing, as nothing reads it."""
        return ""
