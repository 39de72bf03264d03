"""A small world in memory that carries out plans: hosts, sandboxes, ports and rows, and steps that fail."""

import datetime as dt
import hashlib
from collections.abc import Collection, Iterator

import msgspec

from statera.base.reason import Reason
from statera.model.amphora import Amphora, AmphoraObserved, Host
from statera.model.engines import SCTP, EngineName
from statera.model.enums import AmphoraRole, AmphoraStatus
from statera.model.failover import Budget, Limits, Lookout
from statera.model.network import Attachment, Network, Port, PortAddress, Subnet
from statera.model.tree import Tree
from statera.plan.amphora import with_networks
from statera.plan.brain import needs_lookout
from statera.plan.plan import MOST_FRESH_IDS, decide_plan, needs_hosts
from statera.plan.seats import ROLES
from statera.plan.spec import decide_amphora_spec, decide_limits, decide_sandbox_spec, list_wanted_networks
from statera.plan.steps import (
    AddAmphora,
    AnyStep,
    CondemnAmphora,
    Configure,
    ConfirmAmphora,
    DropAmphora,
    DropLoadBalancer,
    EnsurePorts,
    EnsureSandbox,
    GiveUpAmphora,
    Plan,
    PortWanted,
    ReleasePorts,
    ReleaseVip,
    RemovePorts,
    RemoveSandbox,
    Settle,
    Wait,
)
from statera.plan.world import Sighting, Unseen, World
from tests.property.trees import FAR_SUBNETS, NOW, SUBNETS

LIMITS = decide_limits(memory_mib=256, file_descriptors=16_384, cpu_percent=0)
SILENT = Reason(slug="agent-unreachable", sentence="The host does not answer.")


def _network(network_id: str) -> Network:
    subnets = [
        Subnet(id=subnet_id, name=subnet_id, network_id=home, cidr=cidr)
        for subnet_id, (home, cidr) in {**SUBNETS, **FAR_SUBNETS}.items()
        if home == network_id
    ]
    return Network(
        id=network_id,
        name=network_id,
        attachment=Attachment(kind="bridge", device="br0"),
        subnets=tuple(subnets),
    )


NETWORKS = tuple(_network(network_id) for network_id in ("network-home", "network-far", "network-unused"))


class Interrupted(Exception):
    """A step failed, or the worker died: the pass is over."""


class Box(msgspec.Struct, kw_only=True):
    """A sandbox as its host has it."""

    sandbox_digest: str
    networks: tuple[str, ...] = ()
    has_vips: bool = False
    peers: tuple[str, ...] = ()
    """Addresses of those with which it shares the VIPs."""
    generation: int = 0
    configuration_digest: str = ""

    @property
    def configured(self) -> bool:
        return self.generation > 0


class Cosmos:
    """Everything outside a plan. `steps_fail` says of each coming step: "", "before" or "after" it takes effect."""

    def __init__(self, tree: Tree, host_limits: dict[str, int], steps_fail: list[str]) -> None:
        self.tree = tree
        self.host_limits = host_limits
        self.steps_fail = list(steps_fail)
        self.silent_hosts: Collection[str] = ()
        self.is_watched = False
        """Whether health has listened for long enough to tell who keeps silent."""
        self.rows: dict[str, Amphora] = {}
        self.boxes: dict[tuple[str, str], Box] = {}
        self.ports: dict[tuple[str, str], Port] = {}
        self.vip_held = True
        self.exists = True
        self.settled_generation = 0
        self._condemned: Collection[str] = ()
        """Who was to go already when the pass began."""
        self.now = NOW
        self._made = 0

    # Looking

    def observe(self) -> World:
        self.now += dt.timedelta(seconds=1)
        sightings = {row.id: self._look(row) for row in self.rows.values()}
        known = {row.id: self.wanted_digest(row.id) for row in self.rows.values() if sightings[row.id] is not None}
        world = World(
            tree=self.tree,
            amphorae=tuple(sorted(self.rows.values(), key=lambda row: (row.created_at, row.id))),
            sightings=sightings,
            networks=NETWORKS,
            limits=LIMITS,
            configurations={} if self.tree.load_balancer.deleting else known,
            fresh_ids=tuple(self._fresh_ids()),
            now=self.now,
        )
        if not needs_hosts(world):
            return world
        placed: dict[str, int] = {}
        for row in self.rows.values():
            placed[row.host] = placed.get(row.host, 0) + 1
        lookout = self._look_out() if needs_lookout(world) else None
        return msgspec.structs.replace(world, hosts=self.list_hosts(), placed=placed, lookout=lookout)

    def _look_out(self) -> Lookout:
        silent = [row for row in self.rows.values() if self.is_watched and row.host in self.silent_hosts]
        limits = Limits(per_minute=60, fleet_percent=50.0)
        return Lookout(
            silent_since={row.id: self.now for row in silent},
            answers={row.id: False for row in silent},
            budget=Budget(limits=limits, fleet=len(self.rows), in_minute=0, in_window=0),
        )

    def list_hosts(self) -> tuple[Host, ...]:
        return tuple(
            Host(
                name=name,
                reachable=name not in self.silent_hosts,
                is_alive=name not in self.silent_hosts,
                amphora_count=sum(1 for host, _ in self.boxes if host == name),
                amphora_limit=limit,
            )
            for name, limit in self.host_limits.items()
        )

    def wanted_digest(self, amphora_id: str) -> str:
        spec = decide_amphora_spec(self.tree, amphora_id, LIMITS, engines=(*EngineName, SCTP))
        return hashlib.sha256(msgspec.json.encode(spec)).hexdigest() if spec.listeners else ""

    def wanted_networks(self) -> set[str]:
        return {network_id for network_id, _ in list_wanted_networks(self.tree, NETWORKS)}

    def is_serving(self, amphora_id: str) -> bool:
        """Say whether an amphora is built and has the configuration of the current generation."""
        row = self.rows.get(amphora_id)
        box = self.boxes.get((row.host, amphora_id)) if row is not None else None
        live = (box.generation, box.configuration_digest) if box is not None else None
        return live == (self.tree.load_balancer.generation, self.wanted_digest(amphora_id))

    def _look(self, row: Amphora) -> Sighting:
        if row.host in self.silent_hosts:
            return Unseen(SILENT)
        box = self.boxes.get((row.host, row.id))
        if box is None:
            return None
        return AmphoraObserved(
            id=row.id,
            load_balancer_id=row.load_balancer_id,
            epoch=1,
            generation=box.generation,
            sandbox_digest=box.sandbox_digest,
            configuration_digest=box.configuration_digest,
            haproxy_running=bool(box.configuration_digest),
        )

    def _fresh_ids(self) -> Iterator[str]:
        for _ in range(MOST_FRESH_IDS):
            self._made += 1
            yield f"fresh-{self._made}"

    # Acting

    def run_pass(self) -> Plan:
        """Plan, and act until something fails."""
        world = self.observe()
        self._condemned = {row.id for row in world.amphorae if row.status == AmphoraStatus.PENDING_DELETE}
        plan = decide_plan(world)
        assert isinstance(plan.last, Settle | DropLoadBalancer | Wait)
        assert not any(isinstance(step, Settle | DropLoadBalancer | Wait) for step in plan.actions)
        try:
            for step in plan.steps:
                fails = self.steps_fail.pop(0) if self.steps_fail else ""
                if fails == "before":
                    break
                served = self._list_served_roles()
                self._act(step)
                self.check_nothing_is_lost()
                if not self.tree.load_balancer.deleting:
                    still = self._list_served_roles(vips_only=True)
                    wanted = set(ROLES[self.tree.load_balancer.topology])
                    # Of a topology that is left behind it counts that anybody serves.
                    assert served & wanted <= still, f"a break before a make: {step}"
                    assert still or not served, f"nobody serves any more: {step}"
                if fails == "after":
                    break
        except Interrupted:
            pass
        return plan

    def check_nothing_is_lost(self) -> None:
        """Whatever stands outside carries an id that the database knows."""
        devices = {device for device, _ in self.ports} | {amphora_id for _, amphora_id in self.boxes}
        assert devices <= set(self.rows), f"nobody knows {devices - set(self.rows)}"
        assert self.exists or not (self.rows or self.vip_held)

    def _list_served_roles(self, *, vips_only: bool = False) -> set[AmphoraRole]:
        """Return the roles in which some amphora has the VIPs and serves, for sure or as far as one can tell."""
        served = set()
        for row in self.rows.values():
            box = self.boxes.get((row.host, row.id))
            counts = row.status == AmphoraStatus.ALLOCATED or vips_only
            if box is not None and box.has_vips and box.configured and counts:
                served.add(row.role)
        return served

    def _act(self, step: AnyStep) -> None:
        match step:
            case CondemnAmphora():
                self._change(step.amphora_id, status=AmphoraStatus.PENDING_DELETE)
            case GiveUpAmphora():
                assert self.rows[step.amphora_id].host in self.silent_hosts
                assert len(self.silent_hosts) * 2 <= len(self.host_limits), "our own network is cut"
                self._change(step.amphora_id, status=AmphoraStatus.ERROR, reason=step.reason, updated_at=self.now)
            case AddAmphora():
                assert step.amphora.id not in self.rows
                rivals = [row for row in self.rows.values() if row.role == step.amphora.role]
                assert all(step.amphora.created_at > row.created_at for row in rivals)
                self.rows[step.amphora.id] = step.amphora
            case EnsurePorts():
                self._ensure_ports(step)
            case EnsureSandbox():
                self._ensure_sandbox(step)
            case Configure():
                self._configure(step)
            case ConfirmAmphora():
                assert self.is_serving(step.amphora_id)
                self._change(step.amphora_id, status=AmphoraStatus.ALLOCATED)
            case ReleasePorts():
                self._release_ports(step)
            case RemoveSandbox():
                self._remove_sandbox(step)
            case RemovePorts():
                assert not any(amphora_id == step.amphora_id for _, amphora_id in self.boxes)
                self._remove_ports(step.amphora_id, keep=())
            case DropAmphora():
                del self.rows[step.amphora_id]
            case ReleaseVip():
                assert not self.rows
                self.vip_held = False
            case DropLoadBalancer():
                self.exists = False
            case Settle():
                assert step.generation == self.tree.load_balancer.generation
                self._check_settled()
                self.settled_generation = step.generation
            case Wait():
                raise Interrupted

    def _change(self, amphora_id: str, **values: object) -> None:
        self.rows[amphora_id] = msgspec.structs.replace(self.rows[amphora_id], **values)

    def _answer(self, host: str) -> None:
        if host in self.silent_hosts:
            raise Interrupted

    def _ensure_ports(self, step: EnsurePorts) -> None:
        made = [self.ensure_port(step.amphora_id, wanted) for wanted in step.ports]
        known = {port.network_id for port in made}
        made += [port for port in self.rows[step.amphora_id].ports if port.network_id not in known]
        self._change(step.amphora_id, ports=tuple(made))

    def ensure_port(self, device_id: str, wanted: PortWanted) -> Port:
        known = self.ports.get((device_id, wanted.network_id))
        have = {place.subnet_id: place for place in known.addresses} if known is not None else {}
        for subnet_id in wanted.subnet_ids:
            cidr = {**SUBNETS, **FAR_SUBNETS}[subnet_id][1]
            address = f"{cidr.partition('/')[0].rstrip('0')}{len(self.ports) + 1}"
            have.setdefault(subnet_id, PortAddress(subnet_id=subnet_id, address=address))
        port = Port(
            id=f"port-{device_id}-{wanted.network_id}",
            network_id=wanted.network_id,
            name="",
            device_id=device_id,
            mac_address="02:00:00:00:00:01",
            addresses=tuple(have.values()),
        )
        self.ports[device_id, wanted.network_id] = port
        return port

    def _ensure_sandbox(self, step: EnsureSandbox) -> None:
        row = self.rows[step.amphora_id]
        assert row.status != AmphoraStatus.PENDING_DELETE
        assert set(step.network_ids) <= {port.network_id for port in row.ports}
        lost = self._box_networks(row) - set(step.network_ids)
        assert not lost & self.wanted_networks()
        assert not lost or self.is_serving(row.id) or lost.isdisjoint(port.network_id for port in row.ports)
        self._answer(row.host)
        there = with_networks(row, step.network_ids)
        rows = tuple(self.rows.values())
        sandbox = decide_sandbox_spec(self.tree, there, NETWORKS, LIMITS, with_vips=step.with_vips, rows=rows)
        assert any(interface.vips for interface in sandbox.interfaces) == step.with_vips
        box = self.boxes.setdefault((row.host, row.id), Box(sandbox_digest=""))
        if step.with_vips and not box.has_vips and not box.configured:
            worn = [self.rows[one] for one in self.tree.load_balancer.amphorae_to_replace if one in self.rows]
            answering = [one for one in worn if one.host not in self.silent_hosts]
            serving = [one.id for one in answering if one.role == row.role and self._has_vips(one)]
            assert not serving, "one that is not configured yet takes the VIP from one that serves"
        if sandbox.vrrp is not None and step.with_vips and not box.has_vips:
            self._check_everybody_hears(row)
        box.sandbox_digest, box.networks, box.has_vips = sandbox.digest(), step.network_ids, step.with_vips
        box.peers = sandbox.vrrp.peers if sandbox.vrrp is not None else ()

    def _check_everybody_hears(self, fresh: Amphora) -> None:
        """Who takes part while another one does not speak to it takes the VIPs, although the other one has them."""
        own = {place.address for port in with_networks(fresh, [self._home]).ports for place in port.addresses}
        for row in self.rows.values():
            box = self.boxes.get((row.host, row.id))
            speaks = box is not None and box.has_vips and box.peers and row.host not in self.silent_hosts
            if row.id != fresh.id and row.status == AmphoraStatus.ALLOCATED and box is not None and speaks:
                assert own <= set(box.peers), f"{row.id} does not speak to {fresh.id}"

    @property
    def _home(self) -> str:
        return self.tree.load_balancer.vip.network_id

    def _configure(self, step: Configure) -> None:
        row = self.rows[step.amphora_id]
        assert self.wanted_networks() <= self._box_networks(row), "interfaces come before what uses them"
        self._answer(row.host)
        box = self.boxes[row.host, row.id]
        box.generation = self.tree.load_balancer.generation
        box.configuration_digest = self.wanted_digest(row.id)

    def _release_ports(self, step: ReleasePorts) -> None:
        row = self.rows[step.amphora_id]
        assert self._box_networks(row) <= set(step.keep_networks), "interfaces go before their addresses"
        self._remove_ports(row.id, keep=step.keep_networks)
        self._change(row.id, ports=with_networks(row, step.keep_networks).ports)

    def _remove_sandbox(self, step: RemoveSandbox) -> None:
        self._answer(step.host)
        if not self.tree.load_balancer.deleting:
            # Traffic is moved before what it used is taken away: to one of its role, or, for one whose removal was cut
            # off, to anybody.
            role, is_late = self.rows[step.amphora_id].role, step.amphora_id in self._condemned
            others = [row for row in self.rows.values() if row.id != step.amphora_id and (is_late or row.role == role)]
            boxes = [self.boxes[row.host, row.id] for row in others if (row.host, row.id) in self.boxes]
            wanted = role in ROLES[self.tree.load_balancer.topology]
            assert not wanted or any(box.has_vips and box.configured for box in boxes)
        self.boxes.pop((step.host, step.amphora_id), None)

    def _remove_ports(self, device_id: str, *, keep: Collection[str]) -> None:
        for device, network_id in list(self.ports):
            if device == device_id and network_id not in keep:
                del self.ports[device, network_id]

    def _box_networks(self, row: Amphora) -> set[str]:
        box = self.boxes.get((row.host, row.id))
        return set(box.networks) if box is not None else set()

    def _check_settled(self) -> None:
        """Each role is filled by one amphora that serves; other rows may wait only for a silent host."""
        serving = [row for row in self.rows.values() if self.is_serving(row.id)]
        # One of those that share the VIPs may be out of reach.
        absent = {row.role for row in self.rows.values() if row.host in self.silent_hosts}
        assert {row.role for row in serving} | absent >= set(ROLES[self.tree.load_balancer.topology])
        assert serving
        holders = [row.role for row in self.rows.values() if self._has_vips(row) and row.host not in self.silent_hosts]
        assert sorted(holders) == sorted(set(holders)), "a VIP on two amphorae for longer than a moment"

    def _has_vips(self, row: Amphora) -> bool:
        box = self.boxes.get((row.host, row.id))
        return box is not None and box.has_vips

    def check_converged(self) -> None:
        """Nothing is missing and nothing is left over."""
        if self.tree.load_balancer.deleting:
            assert not self.exists
            assert (self.rows, self.boxes, self.ports) == ({}, {}, {})
            return
        roles = ROLES[self.tree.load_balancer.topology]
        assert sorted(row.role for row in self.rows.values()) == sorted(roles)
        assert all(row.status == AmphoraStatus.ALLOCATED for row in self.rows.values())
        assert all(self.is_serving(row.id) and self._has_vips(row) for row in self.rows.values())
        assert set(self.rows).isdisjoint(self.tree.load_balancer.amphorae_to_replace)
        assert {(row.host, row.id) for row in self.rows.values()} == set(self.boxes)
        wanted = {(row.id, network_id) for row in self.rows.values() for network_id in self.wanted_networks()}
        assert set(self.ports) == wanted
        for row in self.rows.values():
            assert {port.network_id for port in row.ports} == self.wanted_networks()
            sandbox = decide_sandbox_spec(self.tree, row, NETWORKS, LIMITS, rows=tuple(self.rows.values()))
            assert self.boxes[row.host, row.id].sandbox_digest == sandbox.digest()
        assert self.settled_generation == self.tree.load_balancer.generation
