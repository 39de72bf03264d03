"""VIPs from the network driver, before anything of the load balancer is stored."""

from collections.abc import Sequence

from statera.base.errors import Refusal, Refused
from statera.model.network import VipRequest
from statera.model.ports import NetworkDriver
from statera.model.tree import Vip
from statera.model.vip import VipWish, build_vips, decide_vip


async def plan_vips(network: NetworkDriver, wish: VipWish, load_balancer_id: str) -> tuple[VipRequest, ...]:
    """Return what to ask of the network for the wished VIPs, in order of preference. Raises `Refused`."""
    port = None if wish.port_id is None else await network.observe_port(wish.port_id)
    network_ids = [one for one in (port and port.network_id, wish.network_id) if one]
    subnet_ids = [one for one in (wish.subnet_id, *(vip.subnet_id for vip in wish.additional)) if one]
    networks = await network.observe_networks(network_ids, subnet_ids)
    return decide_vip(wish, networks, port, load_balancer_id)


async def allocate_vips(network: NetworkDriver, wish: VipWish, requests: Sequence[VipRequest]) -> tuple[Vip, ...]:
    """Allocate the VIPs, the primary first. Raises `Refused`; then nothing is allocated."""
    for request in requests:
        try:
            return build_vips(request, await network.ensure_vip(request))
        except Refused as error:
            # Only a network as such leaves the choice of the subnet to us.
            if error.reason.slug != "address-range-full" or wish.network_id is None or wish.subnet_id is not None:
                raise
    detail = "Subnet(s) in the supplied network do not contain enough available IPs."
    raise Refused(Refusal.INVALID, f"Validation failure: {detail}")
