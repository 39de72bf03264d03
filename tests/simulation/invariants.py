"""What must hold at every moment, and what must be true once nothing goes wrong any more."""

import re
from typing import TYPE_CHECKING

from statera.drivers.compute_noop import NoopSandbox
from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus, ProvisioningStatus, Topology
from statera.model.expiry import EXPIRED
from statera.plan.seats import ROLES
from tests.simulation.certificates import make_materials
from tests.simulation.database import BalancerRow, list_rows
from tests.simulation.operating import find_untrue
from tests.simulation.outside import CALL_MOST_S, LASTING_S, SimHost
from tests.simulation.story import tell_time
from tests.simulation.vips import find_speakers, list_holders, list_owners, list_vips

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation

PASS_S = 3.0
"""How long a pass takes when nothing goes wrong: its calls take up to 20 ms each."""
PASSES = 2
"""One that finishes what another began, and one that follows an edit."""
EXCUSES = ("host-lies", "host-old-news", "host-forgotten", "database-restored")
"""Faults after which something may stand on a host that the database does not know."""
PENDING = (ProvisioningStatus.PENDING_CREATE, ProvisioningStatus.PENDING_UPDATE, ProvisioningStatus.PENDING_DELETE)

MEMBER = re.compile(r"^ +server (\S+) (\S+) weight (\d+)", re.MULTILINE)


class Invariants:
    def __init__(self, simulation: "Simulation") -> None:
        self._world = simulation
        self._doubled_since: dict[str, float] = {}
        self._disturbed_until: dict[str, float] = {}
        """By load balancer: until when a fault works, or worked, on those who work on it."""
        self._order: dict[str, tuple[int, int, int]] = {}
        self._judged: dict[str, tuple[object, int, int]] = {}
        """Of each load balancer the tree, its epoch, and the state of the ledger, that were judged last."""
        options = simulation.settings.reconcile
        # A worker is lost just before it ends the matter: its lease, the wait after the failure of another one, a call
        # that is waited for, the look that finds the load balancer due, and the passes themselves.
        waits = (options.lease_s, CALL_MOST_S, options.backoff_most_s, options.poll_s)
        self._double_limit_s = sum(waits) + PASSES * PASS_S

    # At every moment

    def check(self) -> None:
        """Look at everything."""
        self.check_rows()
        self._check_hosts()

    def check_rows(self) -> None:
        """Look at what a statement of the database can have changed."""
        world = self._world
        for load_balancer_id, row in world.database.balancers.items():
            balancer = row.tree.load_balancer
            assert row.lease_until is None or row.lease_owner is not None, f"{load_balancer_id} is held by nobody"
            assert row.failures == 0 or balancer.reason is not None, f"{load_balancer_id} fails without a reason"
            known, judged = (row.epoch, world.ledger.version), self._judged.get(load_balancer_id)
            # Trees do not change: one that was judged need not be judged again.
            if judged is None or judged[0] is not row.tree or judged[1:] != known:
                self._judged[load_balancer_id] = (row.tree, *known)
                self._check_order(load_balancer_id, row)
                self._check_statuses(row)
                self._check_ends(row)
                broken = world.ledger.find_broken(row.tree)
                assert broken is None, f"an edit of {load_balancer_id} is lost: {broken}"
        vanished = world.ledger.find_vanished(world.database.balancers)
        assert vanished is None, vanished
        self._check_owned()

    def _check_order(self, load_balancer_id: str, row: BalancerRow) -> None:
        balancer = row.tree.load_balancer
        now = (balancer.generation, balancer.observed_generation, row.epoch)
        before = self._order.get(load_balancer_id, (0, 0, 0))
        if now == before:
            return
        assert all(new >= old for new, old in zip(now, before, strict=True)), f"{load_balancer_id} goes back: {now}"
        assert now[1] <= now[0], f"{load_balancer_id} has seen the future: {now}"
        # Whoever was lied to takes the lie for true.
        if now[1] > before[1] and not self._world.faults.counts["host-lies"]:
            served = self._world.hosts.most_served.get(load_balancer_id, 0)
            assert served >= now[1], f"{load_balancer_id} says that {now[1]} is served, which is at most {served}"
        self._order[load_balancer_id] = now

    def _check_statuses(self, row: BalancerRow) -> None:
        balancer = row.tree.load_balancer
        assert balancer.reason is None or balancer.reason.slug != "internal-fault", balancer.reason
        served = balancer.observed_generation
        for one in (balancer, *list_rows(row.tree)):
            status, wanted = one.provisioning_status, one.changed_at_generation
            told = f"{type(one).__name__} {one.id} is {status}, wanted since {wanted}, served is {served}"
            assert status != ProvisioningStatus.ACTIVE or wanted <= served, told
            assert status not in PENDING or wanted > served, told
            assert status != ProvisioningStatus.ERROR or (one.reason and one.reason.sentence), f"{told}: no reason"

    def _check_ends(self, row: BalancerRow) -> None:
        """What is told of the ends of certificates is told of such as were given to a sandbox."""
        balancer = row.tree.load_balancer
        if balancer.certificate_ends and not self._world.faults.counts["host-lies"]:
            shown = self._world.hosts.shown.get(balancer.id, ())
            known = {one.end for one in make_materials() if one.digest in shown}
            told = set(balancer.certificate_ends.values())
            assert told <= known, f"{balancer.id} tells of certificates that end at {told - known}, which none has had"

    def _check_owned(self) -> None:
        """Whatever stands on a host carries an id that the database knows.

        Unless a host lied about removing it, or was given up and came back with it, or the database is an older one.
        """
        database, counts = self._world.database, self._world.faults.counts
        for host in self._world.hosts.hosts.values():
            if host.sandboxes.keys() <= database.amphorae.keys():
                continue
            strangers = sorted(host.sandboxes.keys() - database.amphorae.keys() - database.balancers.keys())
            is_excused = any(counts[kind] for kind in EXCUSES)
            assert is_excused or not strangers, f"nobody knows {strangers} on {host.name}"

    def _check_hosts(self) -> None:
        hosts = self._world.hosts
        assert not hosts.wrongs, "; ".join(hosts.wrongs)
        for host in hosts.hosts.values():
            if not host.answers:
                host.struck_at = tell_time()
        reached = [host for host in hosts.hosts.values() if not host.is_cut_off]
        holders = list_holders(reached)
        self._check_strangers(holders)
        for load_balancer_id, boxes in holders.items():
            self._check_vip(load_balancer_id, boxes)
        for load_balancer_id in self._doubled_since.keys() - holders.keys():
            del self._doubled_since[load_balancer_id]

    def _check_strangers(self, holders: dict[str, list[NoopSandbox]]) -> None:
        """A VIP is on sandboxes of one load balancer alone, whoever shares it with whom."""
        owner_of: dict[str, str] = {}
        for load_balancer_id, boxes in holders.items():
            for vip in (vip for box in boxes for vip in list_vips(box)):
                other = owner_of.setdefault(vip, load_balancer_id)
                assert other == load_balancer_id, f"{other} and {load_balancer_id} both have the VIP {vip}"

    def _check_vip(self, load_balancer_id: str, boxes: list[NoopSandbox]) -> None:
        owners = list_owners(boxes) if len(boxes) > 1 else []
        # Where none of them has ever been configured nobody is kept from the one that serves.
        if len(owners) <= 1 or not any(box.configuration for box in boxes):
            self._doubled_since.pop(load_balancer_id, None)
            return
        now = tell_time()
        since = max(self._doubled_since.get(load_balancer_id, now), self._find_disturbance(load_balancer_id, boxes))
        self._doubled_since[load_balancer_id] = since
        # What was on a host that was given up, and comes back, is an orphan.
        orphans_s = LASTING_S if any(box.spec.amphora_id not in self._world.database.amphorae for box in boxes) else 0.0
        assert now - since < self._double_limit_s + orphans_s, self._tell_double(load_balancer_id, owners, since)

    def _find_disturbance(self, load_balancer_id: str, boxes: list[NoopSandbox]) -> float:
        """Return when a fault worked last on those who work on a load balancer, or on the hosts that it is on."""
        there = {box.spec.amphora_id for box in boxes}
        rows = self._world.database.list_amphorae(load_balancer_id)
        names = {row.host for row in rows}
        hosts = [
            host
            for host in self._world.hosts.hosts.values()
            if host.name in names or not there.isdisjoint(host.sandboxes)
        ]
        if self._world.database.deployment.held_since is not None:
            return tell_time()
        return max([self._disturbed_until.get(load_balancer_id, 0.0), *(host.struck_at for host in hosts)])

    def go_back(self) -> None:
        """Take in that the database is an older one: generations and epochs rise anew."""
        self._order.clear()
        self._judged.clear()

    def note_disturbed(self, load_balancer_id: str, until: float) -> None:
        self._disturbed_until[load_balancer_id] = max(until, self._disturbed_until.get(load_balancer_id, 0.0))

    def _tell_double(self, load_balancer_id: str, owners: list[set[str]], since: float) -> str:
        row = self._world.database.balancers.get(load_balancer_id)
        rows = self._world.database.list_amphorae(load_balancer_id)
        told = [(one.id[:8], one.host, str(one.status)) for one in rows]
        worn = [one[:8] for one in row.tree.load_balancer.amphorae_to_replace] if row is not None else []
        reason = row.tree.load_balancer.reason if row is not None else None
        who = [sorted(one[:8] for one in owner) for owner in owners]
        return f"{who} have had the VIP of {load_balancer_id} since {since:.1f}: {told}, to replace {worn}, {reason}"

    def check_given_up(self, amphora: Amphora) -> None:
        """Nobody is replaced, without being asked for it, who serves on a machine that lives."""
        host = self._world.hosts.hosts[amphora.host]
        # Who decides a moment before it is back writes a moment after.
        is_just_back = tell_time() - host.back_at < PASS_S
        if not is_just_back and not self._world.faults.counts["host-old-news"]:
            serves = amphora.id in host.sandboxes and not host.is_cut_off
            assert not serves, f"{amphora.id} on {host.name} is given up although it serves: {amphora.reason}"

    # At the end

    def find_unrest(self) -> str | None:
        """Say what is not yet as it is wanted, None when all is."""
        for load_balancer_id, row in self._world.database.balancers.items():
            why = self._find_unrest_of(row)
            if why is not None:
                return f"load balancer {load_balancer_id} {why}"
        return self._find_leak()

    def _find_unrest_of(self, row: BalancerRow) -> str | None:
        balancer = row.tree.load_balancer
        if balancer.deleting:
            return "is not gone"
        if row.lease_owner is not None:
            return f"is held by {row.lease_owner}"
        refusal = self._world.find_refusal(row.tree)
        if refusal:
            told = balancer.reason.slug if balancer.reason is not None else "nothing"
            is_told = balancer.provisioning_status == ProvisioningStatus.ERROR and told == refusal
            return None if is_told else f"has {refusal} but says {balancer.provisioning_status} and {told}"
        if balancer.observed_generation != balancer.generation:
            return f"is at {balancer.observed_generation} of {balancer.generation}"
        for one in (balancer, *list_rows(row.tree)):
            if one.provisioning_status != ProvisioningStatus.ACTIVE or one.reason is not None or one.deleting:
                return f"has {type(one).__name__} {one.id} {one.provisioning_status}, {one.reason}"
        return self._find_unserved(row) or self._find_untrue(row)

    def find_untrue(self) -> str | None:
        """Say which operating status is not what is true, None when all are."""
        for load_balancer_id, row in self._world.database.balancers.items():
            why = None if self._world.find_refusal(row.tree) else self._find_untrue(row)
            if why is not None:
                return f"load balancer {load_balancer_id} {why}"
        return None

    def _find_untrue(self, row: BalancerRow) -> str | None:
        hosts = self._world.hosts.hosts.values()
        amphorae = self._world.database.list_amphorae(row.tree.load_balancer.id)
        places = {f"{one.address}:{one.protocol_port}" for one in row.tree.members}
        unfit = self._world.agents.unfit
        reached = {one for one in places if any((row.host, one) not in unfit for row in amphorae)}
        speakers = find_speakers(hosts)
        for one in amphorae:
            has_vips = one.id in speakers if len(amphorae) > 1 else None
            if one.has_vips != has_vips:
                return f"tells of {one.id} that it has the VIPs: {one.has_vips}, which is {has_vips}"
        ends = self._world.vault.judge(row.tree)
        for listener_id, slug in ends.items():
            told = row.seen.get(listener_id)
            if (told.slug if told is not None else "") != slug:
                return f"tells of listener {listener_id}: {told}, which is {slug or 'nothing'}"
        return find_untrue(row.tree, reached, {one for one, slug in ends.items() if slug == EXPIRED})

    def _find_unserved(self, row: BalancerRow) -> str | None:
        balancer, hosts = row.tree.load_balancer, self._list_hosts()
        amphorae = self._world.database.list_amphorae(balancer.id)
        if sorted(one.role for one in amphorae) != sorted(ROLES[balancer.topology]):
            return f"has the amphorae {[(one.id, one.role, one.status) for one in amphorae]}"
        unreplaced = self._world.ledger.find_unreplaced(balancer.id, [one.id for one in amphorae])
        if unreplaced is not None:
            return unreplaced
        ends = self._world.vault.list_ends(row.tree)
        if balancer.certificate_ends != ends:
            return f"tells of certificates that end at {balancer.certificate_ends}, which is {ends}"
        owners = list_owners(list_holders(hosts.values()).get(balancer.id, ()))
        shares = balancer.topology == Topology.ACTIVE_STANDBY
        if owners != [{one.id for one in amphorae}]:
            return f"has its VIP on {[sorted(one) for one in owners]}"
        for one in amphorae:
            box = hosts[one.host].sandboxes.get(one.id) if one.host in hosts else None
            if box is None or box.configuration is None or one.status != AmphoraStatus.ALLOCATED:
                return f"has amphora {one.id} {one.status} without a configured sandbox"
            if (box.spec.vrrp is not None) != shares:
                return f"has amphora {one.id} that {'does not share' if shares else 'still shares'} the VIPs"
            if box.configuration.generation != balancer.generation:
                return f"is served at {box.configuration.generation}, not {balancer.generation}"
            wanted = self._world.list_wanted_words(row.tree)
            there = set(box.text.split())
            if any((word in there) != is_wanted for word, is_wanted in wanted.items()):
                return f"is not served as wanted: {wanted}"
            if box.configuration.contents.keys() != self._world.vault.list_digests(row.tree):
                return f"does not show the certificates of {self._world.vault.list_ends(row.tree)}"
            if set(MEMBER.findall(box.text)) != (members := self._world.list_wanted_members(row.tree)):
                return f"has not the members {sorted(members)}"
        return None

    def _list_hosts(self) -> dict[str, SimHost]:
        """Return the hosts that are not lost for good."""
        return {name: host for name, host in self._world.hosts.hosts.items() if not host.is_lost}

    def _find_leak(self) -> str | None:
        if self._world.database.deployment.held_since is not None:
            return "orphans are held"
        known, hosts = self._world.database.list_known_ids(), self._list_hosts().values()
        boxes = {one for host in hosts for one in host.sandboxes}
        amphorae = set(self._world.database.amphorae)
        # What is rejected is not built again where it was lost.
        rejected = {
            row.tree.load_balancer.id
            for row in self._world.database.balancers.values()
            if self._world.find_refusal(row.tree)
        }
        excused = {one.id for one in self._world.database.amphorae.values() if one.load_balancer_id in rejected}
        if boxes - amphorae or amphorae - boxes - excused:
            return f"sandboxes {sorted(boxes ^ amphorae)} are too many or missing"
        devices = {device for device, _ in self._world.ports.records}
        return None if devices <= known else f"ports of {sorted(devices - known)} are left over"
