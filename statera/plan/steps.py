"""Steps of a plan: typed imperatives, each with a sentence for the load balancer's history.

Every step may be repeated and may be interrupted: the next pass looks again and plans what is left. A plan's last
step says how the pass ends: `Settle`, `DropLoadBalancer` or `Wait`.
"""

import msgspec

from statera.base.reason import Reason
from statera.model.amphora import Amphora


class PortWanted(msgspec.Struct, frozen=True, kw_only=True):
    """An amphora's place on one network, with an address in each subnet."""

    network_id: str
    subnet_ids: tuple[str, ...]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    sentence: str


class CondemnAmphora(Step, frozen=True, kw_only=True, tag=True):
    """Mark a row as one that serves no more: before its successor is added, or when the successor is ready to serve."""

    amphora_id: str


class GiveUpAmphora(Step, frozen=True, kw_only=True, tag=True):
    """Mark a row as dead for sure, so that another takes its place, and take that from the budget of replacements."""

    amphora_id: str
    reason: Reason


class AddAmphora(Step, frozen=True, kw_only=True, tag=True):
    """Write the row, before anything outside carries its id."""

    amphora: Amphora
    is_spare: bool = False
    """Its row and sandbox are there already: they become the load balancer's."""


class EnsurePorts(Step, frozen=True, kw_only=True, tag=True):
    amphora_id: str
    ports: tuple[PortWanted, ...]


class EnsureSandbox(Step, frozen=True, kw_only=True, tag=True):
    """Build the sandbox, or bring it to its spec with interfaces on just these networks."""

    amphora_id: str
    network_ids: tuple[str, ...]
    with_vips: bool = True
    """False for one that stands by until it takes over: it binds the VIPs, but does not have them."""


class Configure(Step, frozen=True, kw_only=True, tag=True):
    """Bring the configuration of the tree's generation live."""

    amphora_id: str


class ConfirmAmphora(Step, frozen=True, kw_only=True, tag=True):
    """Write into the row that it has been built and serves."""

    amphora_id: str


class ReleasePorts(Step, frozen=True, kw_only=True, tag=True):
    """Free the ports of an amphora on all other networks than these."""

    amphora_id: str
    keep_networks: tuple[str, ...]


class RemoveSandbox(Step, frozen=True, kw_only=True, tag=True):
    amphora_id: str
    host: str
    hands_over: bool = False
    """Whether others take its VIPs over, while it finishes the connections that it has."""


class RemovePorts(Step, frozen=True, kw_only=True, tag=True):
    """Free all ports of an amphora."""

    amphora_id: str


class DropAmphora(Step, frozen=True, kw_only=True, tag=True):
    """Delete the row, after everything that carries its id is gone."""

    amphora_id: str


class ReleaseVip(Step, frozen=True, kw_only=True, tag=True):
    pass


class DropLoadBalancer(Step, frozen=True, kw_only=True, tag=True):
    pass


class Settle(Step, frozen=True, kw_only=True, tag=True):
    """Record that all wanted at this generation is true."""

    generation: int
    leaves_traces: bool = False
    """Something that is not wanted any more stands on a host that does not answer: to be looked at again soon."""


class Wait(Step, frozen=True, kw_only=True, tag=True):
    """Stop here and try again later."""

    reason: Reason


AnyStep = (
    CondemnAmphora
    | GiveUpAmphora
    | AddAmphora
    | EnsurePorts
    | EnsureSandbox
    | Configure
    | ConfirmAmphora
    | ReleasePorts
    | RemoveSandbox
    | RemovePorts
    | DropAmphora
    | ReleaseVip
    | DropLoadBalancer
    | Settle
    | Wait
)


class Plan(msgspec.Struct, frozen=True):
    steps: tuple[AnyStep, ...]

    @property
    def last(self) -> AnyStep:
        return self.steps[-1]

    @property
    def actions(self) -> tuple[AnyStep, ...]:
        """The steps before the last one: empty when the world is as it should be."""
        return self.steps[:-1]

    def sentence(self) -> str:
        return " ".join(step.sentence for step in self.steps)
