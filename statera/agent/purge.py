"""Remove everything of one installation from this host, when it is given up: a demonstration's end, `statera clean`."""

import asyncio
import contextlib

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from statera.agent.folders import HostFolders
from statera.agent.removal import remove_traces
from statera.base.settings import Settings


async def purge_host(settings: Settings) -> None:
    """Remove all sandboxes, and the bridges that the configuration lets agents make."""
    folders = HostFolders(settings)
    for amphora_id in folders.list_ids():
        one = folders.of(amphora_id)
        known = one.load()
        await remove_traces(amphora_id, one, known[0].sandbox if known else None)
    folders.remove()
    await asyncio.to_thread(_remove_bridges, settings)


def _remove_bridges(settings: Settings) -> None:
    with IPRoute() as host:
        for network in settings.networks:
            if network.kind == "bridge" and network.create:
                with contextlib.suppress(NetlinkError):
                    host.link("del", ifname=network.device)
