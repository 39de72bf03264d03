"""Two amphorae of one load balancer on one bridge, each with a HAProxy and a part in sharing the VIPs."""

import asyncio
import subprocess
import time

import msgspec

from statera.agent.host import AmphoraHost
from statera.agent.namespace import has_vips, namespace_name
from statera.agent.sandbox import Sandbox
from statera.base.ids import new_id
from statera.model.agent_wire import SandboxRequest
from statera.model.spec import SandboxSpec
from statera.model.vrrp import VrrpSpec
from tests.agent.ground import HEARTBEAT_KEY, Ground, fetch

ADVERT_MS = 80
DEAF = "table inet partition { chain hears { type filter hook input priority 0; meta l4proto vrrp drop; }; }"
HEARING = "delete table inet partition"
"""Rules for nft(8): no adverts are heard, and they are again."""


class Pair:
    """The two, first the one with the higher priority."""

    def __init__(self, ground: Ground, host: AmphoraHost) -> None:
        self.ground = ground
        self.host = host
        self.port = 0
        self.ids = [ground.amphora_id, new_id()]
        self._net, self._net6 = ground.gateway.rpartition(".")[0], ground.gateway6[:-1]

    def own(self, number: int) -> tuple[str, str]:
        return f"{self._net}.{10 + number}", f"{self._net6}{10 + number}"

    def spec(self, number: int) -> SandboxSpec:
        plain = self.ground.sandbox(
            self.ids[number],
            mac_address=f"02:00:00:00:0a:{number + 1:02x}",
            addresses=(f"{self.own(number)[0]}/24", f"{self.own(number)[1]}/64"),
        )
        vrrp = VrrpSpec(priority=100 - 10 * number, advert_ms=ADVERT_MS, peers=self.own(1 - number))
        return msgspec.structs.replace(plain, vrrp=vrrp)

    async def build(self, port: int) -> None:
        """Build both, with one member on this port of the host."""
        self.port = port
        for number in (0, 1):
            await self.ensure(self.spec(number))
        for amphora_id in self.ids:
            await self.host.apply(amphora_id, self.ground.configuration(self.ground.document([port])))

    async def share(self, amphora_id: str, *, peers: tuple[str, ...]) -> None:
        """Let an amphora share the VIPs with these from now on."""
        spec = self.spec(self.ids.index(amphora_id))
        assert spec.vrrp is not None
        changed = msgspec.structs.replace(spec, vrrp=msgspec.structs.replace(spec.vrrp, peers=peers))
        await self.ensure(changed)

    async def ensure(self, spec: SandboxSpec) -> None:
        await self.host.ensure(SandboxRequest(epoch=1, sandbox=spec, heartbeat_key=HEARTBEAT_KEY))

    def sandbox(self, amphora_id: str) -> Sandbox:
        return self.host.sandboxes[amphora_id]

    def masters(self) -> list[str]:
        """Return those that have the VIPs now."""
        return [one for one in self.ids if has_vips(self.sandbox(one).record.sandbox)]

    async def has_one_master(self) -> bool:
        return len(self.masters()) == 1

    async def answers(self) -> bool:
        """Say whether both VIPs are served."""
        return [await fetch(vip) for vip in (self.ground.vip, self.ground.vip6)] == [str(self.port)] * 2

    async def stays_one(self, for_s: float) -> bool:
        """Say whether at every look within this time just one has the VIPs."""
        until = time.monotonic() + for_s
        while time.monotonic() < until:
            if not await self.has_one_master():
                return False
            await asyncio.sleep(0.02)
        return True

    def block(self, amphora_id: str) -> None:
        """Let an amphora hear no adverts any more."""
        self._nft(amphora_id, DEAF)

    def unblock(self, amphora_id: str) -> None:
        self._nft(amphora_id, HEARING)

    def _nft(self, amphora_id: str, rules: str) -> None:
        command = ["ip", "netns", "exec", namespace_name(amphora_id), "nft", "-f", "-"]
        subprocess.run(command, input=rules, check=True, text=True)

    async def order(self) -> tuple[str, str]:
        """Return the one that has the VIPs, and the other one."""
        [first] = self.masters()
        return first, next(one for one in self.ids if one != first)
