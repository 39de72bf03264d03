"""What must hold at every moment, and what must be true once nothing goes wrong any more."""

import re
from typing import TYPE_CHECKING

from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus, ProvisioningStatus, Topology
from statera.plan.seats import ROLES
from tests.simulation.database import BalancerRow, list_rows
from tests.simulation.story import tell_time

if TYPE_CHECKING:
    from tests.simulation.scenario import Simulation

DOUBLE_MOST_S = 120.0
"""How long two reachable sandboxes may have one VIP: the time of a take-over with all its retries."""

MEMBER = re.compile(r"^ +server (\S+) (\S+) weight (\d+)", re.MULTILINE)


class Invariants:
    def __init__(self, simulation: "Simulation") -> None:
        self._world = simulation
        self._doubled_since: dict[str, float] = {}
        self._seen: dict[str, tuple[int, int, int]] = {}

    # At every moment

    def check(self) -> None:
        for load_balancer_id, row in self._world.database.balancers.items():
            self._check_order(load_balancer_id, row)
            self._check_reasons(load_balancer_id, row)
            self._check_vip(load_balancer_id)
        self._check_owned()

    def _check_order(self, load_balancer_id: str, row: BalancerRow) -> None:
        balancer = row.tree.load_balancer
        now = (balancer.generation, balancer.observed_generation, row.epoch)
        before = self._seen.get(load_balancer_id, (0, 0, 0))
        assert all(new >= old for new, old in zip(now, before, strict=True)), f"{load_balancer_id} goes back: {now}"
        assert balancer.observed_generation <= balancer.generation, f"{load_balancer_id} has seen the future"
        assert row.lease_until is None or row.lease_owner is not None
        self._seen[load_balancer_id] = now

    def _check_reasons(self, load_balancer_id: str, row: BalancerRow) -> None:
        balancer = row.tree.load_balancer
        assert row.failures == 0 or balancer.reason is not None, f"{load_balancer_id} fails without a reason"
        assert balancer.reason is None or balancer.reason.slug != "internal-fault", balancer.reason
        for one in (balancer, *list_rows(row.tree)):
            is_bad = one.provisioning_status == ProvisioningStatus.ERROR
            assert not is_bad or (one.reason is not None and one.reason.sentence), f"{one.id} is bad without a reason"

    def _check_vip(self, load_balancer_id: str) -> None:
        hosts = self._world.hosts.hosts.values()
        reached = [host for host in hosts if not host.is_cut_off]
        holders = [one for host in reached for one in host.list_vip_holders(load_balancer_id)]
        serves = any(host.sandboxes[one].configuration for host in reached for one in holders if one in host.sandboxes)
        # Where none of them has ever been configured nobody is kept from the one that serves.
        if len(holders) <= 1 or not serves:
            self._doubled_since.pop(load_balancer_id, None)
            return
        since = self._doubled_since.setdefault(load_balancer_id, tell_time())
        if tell_time() - since >= DOUBLE_MOST_S:
            row = self._world.database.balancers[load_balancer_id]
            told = [
                (one.id[:8], one.host, str(one.status)) for one in self._world.database.list_amphorae(load_balancer_id)
            ]
            worn = [one[:8] for one in row.tree.load_balancer.amphorae_to_replace]
            reason = row.tree.load_balancer.reason
            why = f"{told}, to replace {worn}, {reason}"
            raise AssertionError(f"{holders} have had the VIP of {load_balancer_id} since {since:.1f}: {why}")

    def _check_owned(self) -> None:
        """Whatever stands on a host carries an id that the database knows, unless a host lied about removing it."""
        counts = self._world.faults.counts
        if counts["host-lies"] or counts["host-old-news"]:
            return
        known = self._world.database.list_known_ids()
        unknown = [one for host in self._world.hosts.hosts.values() for one in host.sandboxes if one not in known]
        if unknown:
            raise AssertionError(f"nobody knows {unknown}")

    def check_given_up(self, amphora: Amphora) -> None:
        """Nobody is replaced, without being asked for it, who serves on a machine that lives."""
        host = self._world.hosts.hosts[amphora.host]
        if not self._world.faults.counts["host-old-news"]:
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
        rejected = self._world.is_rejected(row.tree)
        if rejected:
            told = balancer.reason.slug if balancer.reason is not None else "nothing"
            is_told = balancer.provisioning_status == ProvisioningStatus.ERROR and told == "configuration-rejected"
            return None if is_told else f"is rejected but says {balancer.provisioning_status} and {told}"
        if balancer.observed_generation != balancer.generation:
            return f"is at {balancer.observed_generation} of {balancer.generation}"
        for one in (balancer, *list_rows(row.tree)):
            if one.provisioning_status != ProvisioningStatus.ACTIVE or one.reason is not None or one.deleting:
                return f"has {type(one).__name__} {one.id} {one.provisioning_status}, {one.reason}"
        return self._find_unserved(row)

    def _find_unserved(self, row: BalancerRow) -> str | None:
        balancer, hosts = row.tree.load_balancer, self._world.hosts.hosts
        amphorae = self._world.database.list_amphorae(balancer.id)
        if sorted(one.role for one in amphorae) != sorted(ROLES[balancer.topology]):
            return f"has the amphorae {[(one.id, one.role, one.status) for one in amphorae]}"
        holders = [one for host in hosts.values() for one in host.list_vip_holders(balancer.id)]
        shares = balancer.topology == Topology.ACTIVE_STANDBY
        if sorted(holders) != ([] if shares else sorted(one.id for one in amphorae)):
            return f"has its VIP on {holders}"
        for one in amphorae:
            box = hosts[one.host].sandboxes.get(one.id)
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
            if set(MEMBER.findall(box.text)) != (members := self._world.list_wanted_members(row.tree)):
                return f"has not the members {sorted(members)}"
        return None

    def _find_leak(self) -> str | None:
        known, hosts = self._world.database.list_known_ids(), self._world.hosts.hosts.values()
        boxes = {one for host in hosts for one in host.sandboxes}
        amphorae = set(self._world.database.amphorae)
        # What is rejected is not built again where it was lost.
        rejected = {
            row.tree.load_balancer.id
            for row in self._world.database.balancers.values()
            if self._world.is_rejected(row.tree)
        }
        excused = {one.id for one in self._world.database.amphorae.values() if one.load_balancer_id in rejected}
        if boxes - amphorae or amphorae - boxes - excused:
            return f"sandboxes {sorted(boxes ^ amphorae)} are too many or missing"
        devices = {device for device, _ in self._world.ports.records}
        return None if devices <= known else f"ports of {sorted(devices - known)} are left over"
