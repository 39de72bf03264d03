"""The control room with a real database and networks, hosts in memory, and a clock that can be put forward."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from statera.base.settings import NetworkSettings, ReconcileSettings, Settings, SubnetSettings
from statera.control.reconcile import Reconciler
from statera.control.surroundings import Surroundings
from statera.control.worker import run_control
from statera.drivers.fakes import FakeCompute, Gate
from statera.drivers.network_local import LocalNetwork, networks_from_settings
from statera.model.amphora import Amphora
from statera.model.edits import Decide, Terms, delete_load_balancer
from statera.model.enums import ProvisioningStatus
from statera.model.network import VipRequest
from statera.model.tree import Tree, Vip
from statera.model.work import Claim, Event
from statera.store.addresses import StoredAddressBook
from statera.store.amphorae import list_amphorae
from statera.store.claims import claim_load_balancer, mark_due
from statera.store.engine import Store
from statera.store.events import list_events
from statera.store.trees import TreeEditor, insert_tree, load_tree
from tests.db.trees import make_tree
from tests.fixtures.clock import MovedClock

DEADLINE_S = 20.0
POLL_S = 0.01

QUICK = ReconcileSettings(
    lease_s=1.0, poll_s=0.1, backoff_first_s=0.05, backoff_most_s=0.2, error_after_s=60.0, orphan_grace_s=100.0
)


class Room:
    """Everything that `run_control` needs, and what tests ask of it."""

    def __init__(self, store: Store, *, options: ReconcileSettings = QUICK, allocation: str = "10.9.0.10-10.9.0.250"):
        subnet = SubnetSettings(name="front", cidr="10.9.0.0/24", gateway="10.9.0.1", allocation=(allocation,))
        back = SubnetSettings(name="back", cidr="10.8.0.0/24")
        networks = (
            NetworkSettings(name="front", device="front0", subnets=(subnet,)),
            NetworkSettings(name="back", device="back0", subnets=(back,)),
        )
        self.store = store
        self.settings = Settings(networks=networks, reconcile=options)
        self.networks = networks_from_settings(networks)
        self.network = LocalNetwork(self.networks, StoredAddressBook(store))
        self.compute = FakeCompute("one")
        self.clock = MovedClock()
        self.editor = TreeEditor(store)
        self.reconciler = self.make_reconciler()

    def make_reconciler(self) -> Reconciler:
        """Return what a worker that has just started would reconcile with."""
        return Reconciler(self.around)

    @property
    def around(self) -> Surroundings:
        return Surroundings(
            store=self.store, network=self.network, compute=self.compute, settings=self.settings, clock=self.clock
        )

    # As the API does

    async def create(self, tree: Tree | None = None) -> Tree:
        """Store a load balancer with a listener, pool, monitor and two members, as a client would ask for it."""
        tree = tree or make_tree()
        subnet = self.networks[0].subnets[0]
        request = VipRequest(
            load_balancer_id=tree.load_balancer.id, network_id=subnet.network_id, addresses=((subnet.id, None),)
        )
        port = await self.network.ensure_vip(request)
        vip = Vip(address=port.addresses[0].address, subnet_id=subnet.id, network_id=subnet.network_id, port_id=port.id)
        tree = msgspec.structs.replace(tree, load_balancer=msgspec.structs.replace(tree.load_balancer, vip=vip))
        await insert_tree(self.store, tree, actor="client", what="created")
        return tree

    async def edit(self, tree: Tree, decide: Decide) -> Tree:
        return await self.editor.edit(tree.load_balancer.id, decide, actor="client", what="edited")

    async def delete(self, tree: Tree) -> Tree:
        return await self.edit(tree, delete_load_balancer(cascade=True, terms=Terms(now=self.clock.now())))

    # As a worker does, one pass at a time

    async def claim(self, lease_s: float = 60.0) -> Claim:
        claim = await claim_load_balancer(self.store, owner="test", lease_s=lease_s)
        assert claim is not None, "no load balancer is due"
        return claim

    async def run_pass(self, tree: Tree | None = None) -> bool:
        """Claim and run one pass; with `tree` after having made it due."""
        if tree is not None:
            await mark_due(self.store, [tree.load_balancer.id])
        return await self.reconciler.run_pass(await self.claim())

    async def run_until_gone(self, tree: Tree) -> None:
        """Run passes until a load balancer that is to go has gone; others may be due again, and claimed before it."""
        for _ in range(5):
            if await self.load(tree) is None:
                return
            await self.run_pass(tree)
        raise AssertionError("the load balancer is still there")

    @asynccontextmanager
    async def control(self, count: int = 1) -> AsyncIterator[None]:
        """Run so many control processes until the end of the block."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(run_control(self.around, stop)) for _ in range(count)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    # What is there

    async def load(self, tree: Tree) -> Tree | None:
        return await load_tree(self.store, tree.load_balancer.id)

    async def show(self, tree: Tree) -> Tree:
        found = await self.load(tree)
        assert found is not None, "the load balancer is gone"
        return found

    async def amphorae(self, tree: Tree) -> list[Amphora]:
        return [one for one in await list_amphorae(self.store) if one.load_balancer_id == tree.load_balancer.id]

    async def history(self, tree: Tree) -> list[Event]:
        """Return the events, oldest first."""
        return list(reversed(await list_events(self.store, tree.load_balancer.id, 1000)))

    async def assert_nothing_left(self, tree: Tree) -> None:
        assert await self.load(tree) is None
        assert await self.amphorae(tree) == []
        assert self.compute.list_sandboxes() == {}
        assert await self.network.observe_ports() == ()

    async def wait_until(self, tree: Tree, what: str, check: Callable[[Tree | None], bool]) -> Tree | None:
        """Return what is stored once `check` likes it; fail, with what was seen last, when it does not in time."""
        found: Tree | None = None
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not check(found := await self.load(tree)):
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise AssertionError(f"{what} did not come; last seen: {found}") from None
        return found

    async def wait_settled(self, tree: Tree) -> Tree:
        """Wait until everything that is wanted now is live."""
        found = await self.wait_until(tree, "settling", lambda shown: shown is not None and is_settled(shown))
        assert found is not None
        return found

    async def wait_gone(self, tree: Tree) -> None:
        await self.wait_until(tree, "deletion", lambda shown: shown is None)


async def reach(gate: Gate, running: "asyncio.Task[Any]") -> None:
    """Wait until a task stands at a gate; fail when it ends before."""
    waiting = asyncio.create_task(gate.reached.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE_S)
    waiting.cancel()
    assert gate.reached.is_set(), f"the call was not made: {running}"


def is_settled(tree: Tree) -> bool:
    return tree.load_balancer.observed_generation == tree.load_balancer.generation and is_active(tree)


def statuses(tree: Tree) -> set[ProvisioningStatus]:
    rows = (tree.load_balancer, *tree.listeners, *tree.pools, *tree.members, *tree.health_monitors)
    return {row.provisioning_status for row in rows}


def is_active(tree: Tree) -> bool:
    return statuses(tree) == {ProvisioningStatus.ACTIVE}
