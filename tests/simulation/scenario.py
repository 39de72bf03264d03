"""One run: a seed draws the faults and the edits; then the faults stop and everything must come to rest as wanted.

Entry: `simulate`. The rooms `control`, `plan`, `render` and `model` are the real ones; the database, the hosts and the
time are not.
"""

import asyncio
import datetime as dt
import logging
import random
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import msgspec
import structlog

from statera.base.errors import StateraError
from statera.base.settings import ComputeSettings, NetworkSettings, ReconcileSettings, Settings, SubnetSettings
from statera.control.surroundings import Surroundings
from statera.control.worker import run_control
from statera.drivers.network_local import LocalNetwork, networks_from_settings
from statera.model.drafts import Decide, Terms
from statera.model.edits import (
    create_listener,
    create_member,
    delete_listener,
    delete_load_balancer,
    delete_member,
    fail_over_load_balancer,
    update_listener,
    update_load_balancer,
    update_member,
)
from statera.model.enums import ListenerProtocol, Topology
from statera.model.network import VipRequest
from statera.model.tree import Listener, Member, Tree, Vip
from tests.db.trees import make_listener, make_member, make_tree
from tests.simulation.certificates import TLS_PORT, SimSecrets, Vault, list_certificates
from tests.simulation.database import Database
from tests.simulation.fate import Fate
from tests.simulation.faults import Faults
from tests.simulation.fleet import is_free
from tests.simulation.health import be_health, health_observed
from tests.simulation.heartbeats import Agents, Ear
from tests.simulation.invariants import Invariants
from tests.simulation.ledger import Asked, Ledger, describe
from tests.simulation.operator import Operator
from tests.simulation.outside import Hosts, Ports, ReachedPorts, SimCompute, decode_rejected
from tests.simulation.processes import Process
from tests.simulation.story import EPOCH, Story, tell_time
from tests.simulation.switches import choose_part, switch_part
from tests.simulation.twins import TwinBell, TwinStore, twins_in_place
from tests.simulation.virtual import run_virtually

HOSTS = ("one", "two", "three")
REJECTED_PORT = 6666
TROUBLE_S = 150.0
REST_MOST_S = 400.0
"""Of virtual time, until all is as wanted once the faults have stopped: several re-checks and orphan sweeps."""
NEWS_MOST_S = 10.0
"""Until a status tells of what has changed in peace: a heartbeat, a write, and something for the way."""
OPTIONS = ReconcileSettings(
    slots=4, lease_s=6.0, recheck_s=30.0, error_after_s=15.0, backoff_most_s=8.0, orphan_grace_s=20.0
)
FRONT = NetworkSettings(
    name="front", device="front0", subnets=(SubnetSettings(name="front", cidr="10.0.0.0/8", gateway="10.0.0.1"),)
)
MOST_BALANCERS = 4
EDITS = (
    *("member", "member", "weight", "drop-member", "listener"),
    *("bad", "tls", "tls", "switch", "switch-part", "topology", "fail-over", "delete"),
)


class Failed(AssertionError):
    """A seed found a fault. The text is its story."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """An edit that a client sends."""

    what: str
    decide: Decide
    asked: Asked
    replaces: tuple[str, ...] = ()
    """Amphorae whose place others are to take."""


def _wish(tree: Tree, what: str, decide: Decide, asked: Asked, replaces: tuple[str, ...] = ()) -> Wish:
    # A load balancer that takes an edit is not deleted.
    return Wish(what=what, decide=decide, asked={(tree.load_balancer.id, "there"): True, **asked}, replaces=replaces)


def _ask_for(member: Member, weight: int | None) -> Asked:
    return {(member.id, "there"): True, (member.id, "weight"): weight}


def _ask_certificates(listener: Listener, told: Mapping[str, Any]) -> Asked:
    shown = msgspec.structs.replace(listener, **told)
    return {(listener.id, "there"): True, (listener.id, "certificates"): list_certificates(shown)}


class Simulation:
    """The world of one seed."""

    def __init__(self, seed: int, deadly: str, sure: str) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.ledger = Ledger()
        self.story = Story(lambda: self.invariants.check(), lambda: self.invariants.check_rows())
        self.starting = ""
        """The name of the process that starts now."""
        self.faults = Faults(self.rng, deadly, sure)
        compute = ComputeSettings(spares_per_host=self.rng.choice((0, 0, 1, 2)))
        self.settings = Settings(networks=(FRONT,), reconcile=OPTIONS, compute=compute)
        self.networks = networks_from_settings(self.settings.networks)
        self.database_ahead_s = 0.0
        """By how much the database's clock is wrong."""
        self.database = Database(self.tell_database_time)
        self.database.rings = TwinBell.ring_all
        self.hosts = Hosts(HOSTS, lambda configuration: decode_rejected(configuration, REJECTED_PORT))
        self.ports = Ports(self.now)
        self.vault = Vault(self)
        self.invariants = Invariants(self)
        self.database.gives_up = self.invariants.check_given_up
        self.over = asyncio.Event()
        self.agents = Agents(self, self.settings.agent.heartbeat_interval_s)
        names = {"worker-0": self.work, "worker-1": self.work, "api-0": self.edit, "api-1": self.edit}
        names |= {"health-0": self.judge, "health-1": self.judge}
        names["operator"] = self.operate
        self.processes = [
            Process(name, main, self.faults, self.story, self._note_disturbed) for name, main in names.items()
        ]
        self.ears = {process.kind: Ear(process) for process in self.processes if process.kind.startswith("health")}
        self.agents.ears += self.ears.values()

    def now(self) -> dt.datetime:
        return EPOCH + dt.timedelta(seconds=tell_time())

    def tell_database_time(self) -> dt.datetime:
        return self.now() + dt.timedelta(seconds=self.database_ahead_s)

    def make_uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self.rng.getrandbits(128), version=4)

    def network_of(self, process: Process, store: TwinStore) -> LocalNetwork:
        return LocalNetwork(self.networks, ReachedPorts(self.ports, process, store.reach))

    def _note_disturbed(self, process: Process, until: float) -> None:
        """Take in that a fault works on a process: on what it holds, and on what nobody holds, if it is a worker."""
        if process.kind.startswith("worker"):
            for load_balancer_id, row in self.database.balancers.items():
                if row.lease_owner == process.name or is_free(row.lease_until, self.database.now()):
                    self.invariants.note_disturbed(load_balancer_id, until)

    def note_all_disturbed(self, seconds: float) -> None:
        """Take in that for so long nobody can work as he should."""
        for load_balancer_id in self.database.balancers:
            self.invariants.note_disturbed(load_balancer_id, tell_time() + seconds)

    # Processes

    async def work(self, process: Process) -> None:
        """Be a worker: the real one."""
        store: Any = TwinStore(self.database, process)
        compute: Any = SimCompute(self.hosts, process, self.story)
        network = self.network_of(process, store)
        secrets = SimSecrets(self.vault, process)
        around = Surroundings(
            store=store, network=network, compute=compute, settings=self.settings, clock=process, secrets=secrets
        )
        self.starting = process.name
        await run_control(around, asyncio.Event())

    async def edit(self, process: Process) -> None:
        """Be the API and its clients: create, edit, fail over and delete, at any time."""
        store = TwinStore(self.database, process)
        while True:
            await asyncio.sleep(self.faults.draw_s(0.05, 12.0))
            if self.faults.over:
                continue
            try:
                if len(self.database.balancers) < MOST_BALANCERS and self.rng.random() < 0.4:
                    await self._create(process, store)
                elif self.database.balancers:
                    load_balancer_id = self.rng.choice(sorted(self.database.balancers))
                    wish = self._choose_edit(self.database.balancers[load_balancer_id].tree)
                    self.story.tell(process.name, f"asks {load_balancer_id[:8]} to {wish.what}")
                    with self.ledger.asking(load_balancer_id, wish.asked):
                        await store.call("edit", load_balancer_id, wish.decide)
                    self.ledger.note_replaced(load_balancer_id, wish.replaces)
            except StateraError as error:
                self.story.tell(process.name, f"is refused: {error.reason.slug}")

    async def _create(self, process: Process, store: TwinStore) -> None:
        tree = make_tree(2)
        subnet = self.networks[0].subnets[0]
        request = VipRequest(
            load_balancer_id=tree.load_balancer.id, network_id=subnet.network_id, addresses=((subnet.id, None),)
        )
        port = await self.network_of(process, store).ensure_vip(request)
        vip = Vip(address=port.addresses[0].address, subnet_id=subnet.id, network_id=subnet.network_id, port_id=port.id)
        balancer = msgspec.structs.replace(tree.load_balancer, vip=vip, owns_vip_port=True)
        self.story.tell(process.name, f"creates {balancer.id[:8]}")
        tree = msgspec.structs.replace(tree, load_balancer=balancer)
        with self.ledger.asking(balancer.id, describe(tree)):
            await store.call("insert_tree", tree)

    def _choose_edit(self, tree: Tree) -> Wish:
        terms, rng = Terms(now=self.now()), self.rng
        balancer, pool = tree.load_balancer, tree.pools[0]
        kind = rng.choice(EDITS)
        if kind == "weight" and tree.members:
            weight = rng.randint(0, 256)
            member = rng.choice(tree.members)
            decide = update_member(member.id, lambda row: msgspec.structs.replace(row, weight=weight), terms)
            return _wish(tree, f"weigh a member {weight}", decide, _ask_for(member, weight))
        if kind == "drop-member" and tree.members:
            member_id = rng.choice(tree.members).id
            return _wish(tree, "drop a member", delete_member(member_id, terms), {(member_id, "there"): False})
        if kind == "listener":
            extra = next((one for one in tree.listeners if one.protocol_port not in (80, TLS_PORT)), None)
            if extra is not None:
                return _wish(tree, "drop a listener", delete_listener(extra.id, terms), {(extra.id, "there"): False})
            return self._wish_listener(tree, rng.randint(1000, 6000), terms)
        if kind == "bad":
            return self._wish_listener(tree, REJECTED_PORT, terms)
        if kind == "tls":
            return self._wish_certificates(tree, terms)
        if kind == "switch":
            up = not balancer.admin_state_up
            decide = update_load_balancer(lambda row: msgspec.structs.replace(row, admin_state_up=up), terms)
            return _wish(tree, "switch on or off", decide, {(balancer.id, "admin_state_up"): up})
        if kind == "switch-part":
            part = choose_part(tree, rng)
            up = not part.admin_state_up
            what = f"switch a {type(part).__name__} {'on' if up else 'off'}"
            asked = {(part.id, "there"): True, (part.id, "admin_state_up"): up}
            return _wish(tree, what, switch_part(part, up, terms), asked)
        if kind == "topology":
            other = next(one for one in Topology if one != balancer.topology)
            decide = update_load_balancer(lambda row: msgspec.structs.replace(row, topology=other), terms)
            return _wish(tree, f"become {other}", decide, {(balancer.id, "topology"): other})
        if kind == "fail-over":
            mine = tuple(row.id for row in self.database.list_amphorae(balancer.id))
            return _wish(tree, "fail over", fail_over_load_balancer(mine, terms), {}, replaces=mine)
        if kind == "delete":
            decide = delete_load_balancer(cascade=True, terms=terms)
            return _wish(tree, "be deleted", decide, {(balancer.id, "there"): False})
        member = make_member(pool, rng.randint(1, 10_000))
        asked = {**_ask_for(member, member.weight), (member.id, "admin_state_up"): True}
        return _wish(tree, "take a member", create_member(member, terms), asked)

    def _wish_listener(self, tree: Tree, port: int, terms: Terms) -> Wish:
        fresh = make_listener(tree.load_balancer, protocol=ListenerProtocol.TCP, protocol_port=port)
        what = "listen where nobody can" if port == REJECTED_PORT else f"listen on {port}"
        asked = {(fresh.id, "there"): True, (fresh.id, "protocol_port"): port, (fresh.id, "admin_state_up"): True}
        return _wish(tree, what, create_listener(fresh, terms), asked)

    def _wish_certificates(self, tree: Tree, terms: Terms) -> Wish:
        """Have a listener that ends TLS: with two certificates, then with one, then with two others."""
        known = next((one for one in tree.listeners if one.protocol == ListenerProtocol.TERMINATED_HTTPS), None)
        first = known.default_tls_container_ref if known is not None else self.vault.add()
        others = (self.vault.add(),) if known is None or not known.sni_container_refs else ()
        told = {"default_tls_container_ref": first, "sni_container_refs": others}
        if known is not None:
            decide = update_listener(known.id, lambda row: msgspec.structs.replace(row, **told), terms)
            return _wish(tree, "show other certificates", decide, _ask_certificates(known, told))
        fresh = make_listener(
            tree.load_balancer, protocol=ListenerProtocol.TERMINATED_HTTPS, protocol_port=TLS_PORT, **told
        )
        asked = {**_ask_certificates(fresh, told), (fresh.id, "admin_state_up"): True}
        return _wish(tree, "end TLS", create_listener(fresh, terms), asked)

    async def judge(self, process: Process) -> None:
        """Be a health process: the real one. Agents tell each of them."""
        await be_health(process, self, self.ears[process.kind])

    async def operate(self, process: Process) -> None:
        await Operator(self, process).run()

    # What invariants ask

    def find_refusal(self, tree: Tree) -> str:
        """Return why this tree cannot be served as it is, by the slug of the reason; "" where it can."""
        if self.vault.is_lost(tree):
            return "secret-not-found"
        return "configuration-rejected" if self._is_rejected(tree) else ""

    def _is_rejected(self, tree: Tree) -> bool:
        """Say whether no host takes the configuration that this tree means."""
        served = [one for one in tree.listeners if one.admin_state_up and not one.deleting]
        return tree.load_balancer.admin_state_up and any(one.protocol_port == REJECTED_PORT for one in served)

    def list_wanted_members(self, tree: Tree) -> set[tuple[str, str, str]]:
        """Return id, place and weight of the members that are to stand in the configuration."""
        served = {one.default_pool_id for one in tree.listeners if one.admin_state_up}
        served &= {one.id for one in tree.pools if one.admin_state_up and tree.load_balancer.admin_state_up}
        members = [one for one in tree.members if one.pool_id in served]
        return {(one.id, f"{one.address}:{one.protocol_port}", str(one.weight)) for one in members}

    def list_wanted_words(self, tree: Tree) -> dict[str, bool]:
        """Return the ports that are to stand in the configuration, and those of no listener any more that are not."""
        up = tree.load_balancer.admin_state_up
        address = tree.load_balancer.vip.address
        return {f"{address}:{one.protocol_port}": up and one.admin_state_up for one in tree.listeners}

    # Fate

    async def run(self) -> None:
        running = [asyncio.create_task(process.run(self.over)) for process in self.processes]
        fate = asyncio.create_task(Fate(self).run())
        speaking = asyncio.create_task(self.agents.run())
        try:
            await self._wait_for(running, TROUBLE_S)
            self.faults.over = True
            self.story.tell("the world", "has no more faults")
            await self._wait_for([*running, fate], 90.0, may_end={fate})
            began = tell_time()
            while (why := self.invariants.find_unrest()) is not None:
                if tell_time() - began > REST_MOST_S:
                    raise AssertionError(f"no rest after {REST_MOST_S:.0f} s: {why}")
                await self._wait_for(running, 5.0)
            self.story.tell("the world", "is as it is wanted")
            self.agents.change_fitness()
            await self._wait_for(running, NEWS_MOST_S)
            why = self.invariants.find_untrue()
            if why is not None:
                raise AssertionError(f"no news after {NEWS_MOST_S:.0f} s: {why}")
            self.story.tell("the world", "knows of the change")
            self._look()
        finally:
            self.over.set()
            fate.cancel()
            speaking.cancel()
            for process in self.processes:
                await process.end()
            await asyncio.wait([*running, fate, speaking])

    def _look(self) -> None:
        self.story.look()
        if self.story.broken is not None:
            raise self.story.broken

    async def _wait_for(self, running: list["asyncio.Task[None]"], seconds: float, may_end: Any = ()) -> None:
        """Let time pass, with the invariants looked at all the time; whoever fails ends it."""
        until = tell_time() + seconds
        while tell_time() < until:
            await asyncio.sleep(0.25)
            self._look()
            for task in running:
                if task.done() and task not in may_end:
                    task.result()
                    raise AssertionError("a process ended")


async def _run_here(work: Callable[..., Any], *args: Any) -> Any:
    """Do what is given to a thread at once: threads know nothing of virtual time."""
    return work(*args)


def simulate(seed: int, *, deadly: str = "", sure: str = "") -> Simulation:
    """Play one seed, with a kind of fault that it has for `sure`, killing whoever is first at a point that is `deadly`.

    Raises `Failed` with its story.
    """
    simulation: list[Simulation] = []

    async def play() -> None:
        simulation.append(Simulation(seed, deadly, sure))
        with mock.patch("uuid.uuid4", simulation[0].make_uuid):
            await simulation[0].run()

    before, dice = structlog.get_config(), random.getstate()
    random.seed(seed)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        # Whoever holds a claim is told by its name: the same one each time.
        naming = mock.patch("statera.control.worker.name_worker", side_effect=lambda: simulation[0].starting)
        here = mock.patch("asyncio.to_thread", _run_here)
        with twins_in_place(), naming, here, health_observed(lambda: simulation[0].story):
            run_virtually(play())
    except Exception as error:
        story = "\n".join(simulation[0].story.lines)
        kinds = ", ".join(simulation[0].faults.kinds)
        why = f"{type(error).__name__}: {error}"
        raise Failed(f"seed {seed} ({kinds}):\n{story}\n{why}\nAgain: make simulate SEED={seed}") from error
    finally:
        random.setstate(dice)
        structlog.configure(**before)
    return simulation[0]
