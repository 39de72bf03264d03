"""A client of the API that knows what it should answer."""

from typing import Any

import httpx

from statera.base.settings import Settings
from statera.drivers.network_local import networks_from_settings
from statera.store.claims import claim_load_balancer, load_snapshot, remove_load_balancer, save_settled
from statera.store.engine import Store

SINGULAR = {"l7policies": "l7policy"}


class Api:
    """Short requests below `/v2/lbaas`, and the worker's last word where a test needs it."""

    def __init__(self, client: httpx.AsyncClient, store: Store, settings: Settings) -> None:
        self.client = client
        self.store = store
        self.settings = settings
        self.networks = networks_from_settings(settings.networks)

    async def close(self) -> None:
        await self.client.aclose()

    def subnet_id(self, name: str = "front4") -> str:
        return next(subnet.id for network in self.networks for subnet in network.subnets if subnet.name == name)

    def network_id(self, name: str = "front") -> str:
        return next(network.id for network in self.networks if network.name == name)

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """Send a request; a path that begins with `//` is not below `/v2/lbaas`."""
        full = path[1:] if path.startswith("//") else f"/v2/lbaas{path}"
        return await self.client.request(method, full, json=body, **more)

    async def get(self, path: str, **more: Any) -> Any:
        answer = await self.ask("GET", path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def create(self, plural: str, **values: Any) -> dict[str, Any]:
        """Create an object and return it."""
        name = plural.rpartition("/")[2]
        root = SINGULAR.get(name, name[:-1])
        answer = await self.ask("POST", f"/{plural}", {root: values})
        assert answer.status_code == 201, answer.text
        return dict(answer.json()[root])

    async def create_balancer(self, **values: Any) -> dict[str, Any]:
        return await self.create("loadbalancers", **({"vip_subnet_id": self.subnet_id()} | values))

    async def create_pool(self, **values: Any) -> dict[str, Any]:
        """Create a pool, on a load balancer of its own unless one is named."""
        if not values.keys() & {"loadbalancer_id", "listener_id"}:
            values["loadbalancer_id"] = (await self.create_balancer())["id"]
        return await self.create("pools", **({"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"} | values))

    async def create_listener(self, **values: Any) -> dict[str, Any]:
        """Create an HTTP listener, on a load balancer of its own unless one is named."""
        if "loadbalancer_id" not in values:
            values["loadbalancer_id"] = (await self.create_balancer())["id"]
        return await self.create("listeners", **({"protocol": "HTTP", "protocol_port": 80} | values))

    async def create_policy(self, **values: Any) -> dict[str, Any]:
        """Create an L7 policy, on a listener of its own unless one is named."""
        if "listener_id" not in values:
            values["listener_id"] = (await self.create_listener())["id"]
        return await self.create("l7policies", **({"action": "REJECT"} | values))

    async def refuse(self, method: str, path: str, body: Any = None, *, status: int, **more: Any) -> str:
        """Send a request that is refused in shape A; return the sentence."""
        answer = await self.ask(method, path, body, **more)
        assert answer.status_code == status, answer.text
        fault = answer.json()
        code = "Client" if status < 500 else "Server"
        assert fault.keys() == {"faultcode", "faultstring", "debuginfo"}
        assert (fault["faultcode"], fault["debuginfo"]) == (code, None)
        return str(fault["faultstring"])

    async def settle(self) -> None:
        """Do what a worker does when all that is wanted is true, with every load balancer that is due."""
        while claim := await claim_load_balancer(self.store, owner="test", lease_s=5):
            snapshot = await load_snapshot(self.store, claim)
            assert snapshot is not None
            balancer = snapshot.tree.load_balancer
            if balancer.deleting:
                await remove_load_balancer(self.store, claim)
            else:
                await save_settled(self.store, claim, balancer.generation, recheck_s=600)
