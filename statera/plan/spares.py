"""Which spare amphorae there should be: ready sandboxes without a load balancer, the same number on each host."""

from collections.abc import Mapping, Sequence

import msgspec

from statera.model.amphora import Host, Spare


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
