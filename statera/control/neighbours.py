"""What other hosts see of an amphora whose own host is silent: does it still answer on its network?"""

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec

from statera.base.errors import Lasting, Transient
from statera.model.amphora import Amphora, Host
from statera.model.failover import Lookout
from statera.model.network import Network
from statera.model.ports import ComputeDriver
from statera.plan.world import World

MOST_ASKED = 3
"""Hosts: one whose own link is cut must not be the only witness."""


async def ask_around(compute: ComputeDriver, world: World, row: Amphora) -> Lookout:
    """Return the world's lookout with what other hosts see of an amphora; as it was when none of them can tell."""
    lookout = world.lookout
    assert lookout is not None
    network = next((one for one in world.networks if one.id == world.tree.load_balancer.vip.network_id), None)
    own = [place.address for port in row.ports if network and port.network_id == network.id for place in port.addresses]
    if network is None or not own:
        return lookout
    gateways = [subnet.gateway_ip for subnet in network.subnets if subnet.gateway_ip]
    witnesses = [host for host in world.hosts if host.reachable and host.name != row.host][:MOST_ASKED]
    seen = await asyncio.gather(*(_ask(compute, host, network, [*own, *gateways]) for host in witnesses))
    able = [addresses for addresses in seen if addresses is not None]
    # A witness that sees not even a gateway may be cut off itself; two agree.
    told = [addresses for addresses in able if addresses or not gateways or len(able) > 1]
    if not told:
        return lookout
    answers = any(address in addresses for addresses in told for address in own)
    return msgspec.structs.replace(lookout, answers={**lookout.answers, row.id: answers})


async def _ask(
    compute: ComputeDriver, host: Host, network: Network, addresses: Sequence[str]
) -> tuple[str, ...] | None:
    with contextlib.suppress(Transient, Lasting):
        return await compute.observe_neighbours(host.name, network.attachment, network.mtu, addresses)
    return None
