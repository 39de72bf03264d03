"""Which spare amphorae there should be: ready sandboxes without a load balancer, the same number on each host."""

from collections.abc import Mapping, Sequence

import msgspec

from statera.model.amphora import AmphoraObserved, Host, Spare
from statera.model.network import Network, derive_mac_address
from statera.model.spec import InterfaceSpec, LimitsSpec, SandboxSpec


class SpareMoves(msgspec.Struct, frozen=True, kw_only=True):
    """What brings the pool to what it should be."""

    build: tuple[Spare, ...] = ()
    """Rows that are there and were never finished: a worker was cut off."""
    add: tuple[str, ...] = ()
    """Hosts, one name for each spare that is missing."""
    remove: tuple[Spare, ...] = ()


def decide_spares(
    hosts: Sequence[Host], spares: Sequence[Spare], placed: Mapping[str, int], *, per_host: int
) -> SpareMoves:
    """Return what is missing and what is too many; hosts that do not answer keep what they have.

    `placed` counts the rows of each host. A spare never takes the last room of a host.
    """
    build: list[Spare] = []
    add: list[str] = []
    remove = [spare for spare in spares if all(host.name != spare.host for host in hosts)]
    for host in hosts:
        mine = [spare for spare in spares if spare.host == host.name]
        # Ready ones first: they may be taken this very moment.
        kept = sorted(mine, key=lambda spare: (not spare.is_ready, spare.id))
        kept = [spare for spare in kept if not spare.is_condemned]
        wanted = 0 if host.draining else per_host
        remove += [*(spare for spare in mine if spare.is_condemned), *kept[wanted:]]
        if not host.reachable:
            continue
        build += [spare for spare in kept[:wanted] if not spare.is_ready]
        load = max(host.amphora_count, placed.get(host.name, 0))
        add += [host.name] * max(0, min(wanted - len(kept), host.amphora_limit - load - 1))
    return SpareMoves(build=tuple(build), add=tuple(add), remove=tuple(remove))


def is_spare(seen: AmphoraObserved | None) -> bool:
    """Say whether what its host has under the id of a spare is one: not lost, and without a load balancer."""
    return seen is not None and not seen.load_balancer_id


def decide_spare_sandbox(spare_id: str, home: Network | None, limits: LimitsSpec) -> SandboxSpec:
    """Return what a spare is built to: its link to the network of VIPs to come is there, without addresses.

    A load balancer whose VIP is on another network, or whose ports have MACs of another making, has it made anew.
    """
    interfaces = []
    if home is not None:
        interfaces.append(
            InterfaceSpec(
                name="eth0",
                network_id=home.id,
                attachment=home.attachment,
                mtu=home.mtu,
                mac_address=derive_mac_address(spare_id, home.id),
                addresses=(),
            )
        )
    return SandboxSpec(amphora_id=spare_id, load_balancer_id="", interfaces=tuple(interfaces), limits=limits)


def choose_home(networks: Sequence[Network], name: str) -> Network | None:
    """Return the network of this name, the first one for none."""
    return next((network for network in networks if name in ("", network.name)), None)
