"""Which amphorae leave their hosts next, when hosts are drained: so many at a time, and only where there is room."""

from collections.abc import Collection, Mapping, Sequence

import msgspec

from statera.base.reason import Reason
from statera.model.amphora import Host
from statera.model.draining import Stay
from statera.plan.placement import choose_host


class Moves(msgspec.Struct, frozen=True, kw_only=True):
    """`start`: those to be replaced now. `blocked`: by host, why one there cannot be."""

    start: tuple[Stay, ...]
    blocked: Mapping[str, Reason]


def decide_moves(
    stays: Sequence[Stay],
    hosts: Sequence[Host],
    placed: Mapping[str, int],
    *,
    at_once: int,
    gone: Collection[str] = (),
) -> Moves:
    """Return what to begin with, so that at most `at_once` load balancers are moving. `gone`: hosts that are no more.

    Of one load balancer only one amphora moves at a time: the other one serves meanwhile. What was on a host that is
    gone serves no more, and each waits for nobody: its twin there would be waited for in vain.
    """
    busy = {stay.load_balancer_id for stay in stays if stay.is_asked}
    moving = {stay.load_balancer_id for stay in stays if stay.is_asked and not stay.is_stuck}
    loads = {host.name: max(host.amphora_count, placed.get(host.name, 0)) for host in hosts}
    start: list[Stay] = []
    blocked: dict[str, Reason] = {}
    for stay in stays:
        waits = stay.load_balancer_id in busy and stay.host not in gone
        if stay.is_asked or stay.deleting or waits:
            continue
        host = choose_host(hosts, loads, (stay.host,), zone=stay.compute_zone)
        if isinstance(host, Reason):
            blocked.setdefault(stay.host, host)
        elif stay.load_balancer_id in moving or len(moving) < at_once:
            start.append(stay)
            moving.add(stay.load_balancer_id)
            busy.add(stay.load_balancer_id)
            loads[host] += 1
    return Moves(start=tuple(start), blocked=blocked)
