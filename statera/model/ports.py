"""The driver protocols. Every method is idempotent; `ensure_` makes it so, `remove_` makes it gone, `observe_` looks.

Errors: `Refused` for what the tenant can mend (a taken address), `Transient` for what may work later (an agent that
does not answer), `Lasting` for what needs a change (a configuration that HAProxy rejects).
`tests/contract` runs one suite per protocol on every implementation.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from statera.base.secret import Secret
from statera.model.agent_wire import Metrics, Verdict
from statera.model.amphora import AmphoraObserved, AppliedConfiguration, Host
from statera.model.features import Installed
from statera.model.forecast import Forecast
from statera.model.network import Attachment, Network, Port, Subnet, VipRequest
from statera.model.secrets import ContainerRow, SecretParts, SecretReader, SecretRow
from statera.model.spec import Configuration, SandboxSpec
from statera.model.token import Token
from statera.model.tree import Tree


class NetworkDriver(Protocol):
    """Networks and the addresses on them."""

    async def observe_networks(
        self, network_ids: Collection[str] = (), subnet_ids: Collection[str] = ()
    ) -> tuple[Network, ...]:
        """Return networks with their subnets: at least those with one of these ids or subnets, without ids all."""
        ...

    async def observe_subnet(self, subnet_id: str) -> Subnet | None: ...

    async def observe_port(self, port_id: str) -> Port | None: ...

    async def observe_ports(self) -> tuple[Port, ...]:
        """Return all ports; the sweep finds orphans among them by `device_id`."""
        ...

    async def ensure_vip(self, request: VipRequest) -> Port:
        """Allocate the addresses of a load balancer; asked again for the same id it returns the same port.

        Raises `Refused` (CONFLICT, slug `vip-address-in-use`) for a taken address, (INVALID) for one outside its
        subnet, and (CONFLICT, slug `address-range-full`) when no address is left.
        """
        ...

    async def ensure_amphora_port(self, amphora_id: str, network_id: str, subnet_ids: Sequence[str]) -> Port:
        """Allocate an amphora's own port with one address in each subnet; same answer when asked again."""
        ...

    async def remove_ports(self, device_id: str, *, keep: Sequence[str] = ()) -> None:
        """Free all ports of a load balancer or an amphora, except those on the networks in `keep`."""
        ...


class TokenDriver(Protocol):
    """The identity service that gives tokens to callers."""

    def knows(self, token: Secret[str]) -> bool:
        """Say whether `observe_token` has its answer, or waits for it, without one more question to the service."""
        ...

    async def observe_token(self, token: Secret[str]) -> Token | None:
        """Return whom a token stands for, None for one that is not valid.

        Raises `Transient` (slug `identity-unavailable`) when that cannot be found out now.
        """
        ...


class ComputeDriver(Protocol):
    """Hosts, and the sandboxes of amphorae on them."""

    async def observe_hosts(self) -> tuple[Host, ...]:
        """Return every known host; one that does not answer is not reachable and says why."""
        ...

    async def observe_amphora(self, host: str, amphora_id: str) -> AmphoraObserved | None:
        """Return what the host has under this id, None for nothing. Raises `Transient` when it does not answer."""
        ...

    async def observe_amphorae(self, host: str) -> tuple[AmphoraObserved, ...]: ...

    async def observe_neighbours(
        self, host: str, attachment: Attachment, mtu: int, addresses: Sequence[str]
    ) -> tuple[str, ...]:
        """Return those addresses for which somebody on a network answers, as seen from a host. Raises `Transient`."""
        ...

    async def observe_metrics(self, host: str, amphora_id: str) -> Metrics | None:
        """Return what HAProxy counts in an amphora, None when there is none. Raises `Transient`."""
        ...

    async def mark_host(self, host: str, deployment_id: str, mark: int) -> int:
        """Leave a deployment's mark with a host; return the highest that it remembered before, 0 for none.

        Raises `Transient` when it does not answer.
        """
        ...

    async def ensure_amphora(
        self, host: str, sandbox: SandboxSpec, *, epoch: int, heartbeat_key: Secret[bytes], deployment_id: str = ""
    ) -> None:
        """Build the sandbox or bring it to the spec, in the name of a deployment.

        Raises `Transient` or `Lasting` (slug `host-full`).
        """
        ...

    async def apply_configuration(
        self, host: str, amphora_id: str, configuration: Configuration
    ) -> AppliedConfiguration:
        """Bring a configuration live. Raises `Lasting` (slug `configuration-rejected`, HAProxy's words) when it is
        refused, with the old one still serving, and `LostClaim` for an older epoch.
        """
        ...

    async def check_configuration(self, host: str, amphora_id: str, configuration: Configuration) -> Verdict:
        """Return what the host's engines say of a configuration, and change nothing. There need be no such amphora.

        Raises `Transient` when the host does not answer.
        """
        ...

    async def remove_amphora(self, host: str, amphora_id: str, *, epoch: int, hands_over: bool = False) -> None:
        """Remove the sandbox and all its files. Gone already is fine.

        One that hands over lets another one take its VIPs, and finishes its connections within a few seconds.
        """
        ...


class ForecastPort(Protocol):
    """Says what an edit would do, and does nothing."""

    async def forecast(self, before: Tree, after: Tree) -> Forecast:
        """Return what would change. Raises `Lasting` for a tree that cannot be rendered, `Transient`.

        A host that does not answer makes no error: its amphora's verdict is missing, with the reason.
        """
        ...

    def recall_engines(self) -> tuple[Installed, ...]:
        """Return the HAProxy of every host as they told last; nothing while one of them has not. Does not wait."""
        ...


class SecretsDriver(Protocol):
    """Where tenants keep their certificates and keys. A reference that cannot be read any more never stops traffic."""

    async def observe_secret(self, ref: str, reader: SecretReader | None = None) -> SecretParts:
        """Return what stands behind a reference, for somebody, or for Statera itself (None).

        Raises `Refused` (INVALID, slug `secret-not-found`) for one that there is not or that the reader may not read,
        and `Transient` (slug `secrets-unavailable`) when the store does not answer.
        """
        ...

    async def ensure_access(self, refs: Collection[str], reader: SecretReader) -> None:
        """Let Statera itself read what the reader may read, from now on. Raises as `observe_secret`."""
        ...

    async def close(self) -> None: ...


class SecretsKeeper(SecretsDriver, Protocol):
    """A store that is Statera's own: what its key manager API does. Payloads lie sealed outside this process."""

    async def ensure_secret(self, row: SecretRow, payload: Secret[bytes] | None) -> None:
        """Keep a new secret, or the payload of one that had none or another."""
        ...

    async def find_secret(self, secret_id: str) -> SecretRow | None: ...

    async def find_container(self, container_id: str) -> ContainerRow | None: ...

    async def list_secrets(
        self, project_id: str, wanted: Mapping[str, str | int], *, limit: int, offset: int
    ) -> tuple[tuple[SecretRow, ...], int]:
        """Return part of a project's secrets, oldest first, and how many there are."""
        ...

    async def list_containers(
        self, project_id: str, wanted: Mapping[str, str | int], *, limit: int, offset: int
    ) -> tuple[tuple[ContainerRow, ...], int]: ...

    async def ensure_container(self, row: ContainerRow) -> None: ...

    async def load_payload(self, row: SecretRow) -> Secret[bytes] | None:
        """Return the payload, None when there is none. Raises `Lasting` (slug `secret-unreadable`)."""
        ...

    async def remove_secret(self, secret_id: str) -> None:
        """Forget a secret; gone already is fine. Raises `Refused` (CONFLICT) while something uses it."""
        ...

    async def remove_container(self, container_id: str) -> None: ...
