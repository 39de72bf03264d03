"""What the API shows of a resource beyond its own attributes: the ids of what stands next to it."""

import msgspec

from statera.model.amphora import Amphora
from statera.model.catalog import AvailabilityZone, AvailabilityZoneProfile, Flavor, FlavorProfile
from statera.model.quota import Quota
from statera.model.tree import HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool, Vip


class LoadBalancerView(msgspec.Struct, frozen=True, kw_only=True):
    resource: LoadBalancer
    listener_ids: tuple[str, ...] = ()
    pool_ids: tuple[str, ...] = ()


class ListenerView(msgspec.Struct, frozen=True, kw_only=True):
    resource: Listener
    l7policy_ids: tuple[str, ...] = ()
    """By position."""


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    resource: Pool
    listener_ids: tuple[str, ...] = ()
    member_ids: tuple[str, ...] = ()
    health_monitor_id: str | None = None


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    resource: Member


class HealthMonitorView(msgspec.Struct, frozen=True, kw_only=True):
    resource: HealthMonitor


class L7PolicyView(msgspec.Struct, frozen=True, kw_only=True):
    resource: L7Policy
    rule_ids: tuple[str, ...] = ()


class L7RuleView(msgspec.Struct, frozen=True, kw_only=True):
    resource: L7Rule


class AmphoraView(msgspec.Struct, frozen=True, kw_only=True):
    resource: Amphora
    vip: Vip | None
    """The first VIP of its load balancer; None for a spare."""


class FlavorProfileView(msgspec.Struct, frozen=True, kw_only=True):
    resource: FlavorProfile


class FlavorView(msgspec.Struct, frozen=True, kw_only=True):
    resource: Flavor


class AvailabilityZoneProfileView(msgspec.Struct, frozen=True, kw_only=True):
    resource: AvailabilityZoneProfile


class AvailabilityZoneView(msgspec.Struct, frozen=True, kw_only=True):
    resource: AvailabilityZone


class QuotaView(msgspec.Struct, frozen=True, kw_only=True):
    resource: Quota


RecordView = FlavorProfileView | FlavorView | AvailabilityZoneProfileView | AvailabilityZoneView | QuotaView
"""What stands below no load balancer."""

View = LoadBalancerView | ListenerView | PoolView | MemberView | HealthMonitorView | L7PolicyView | L7RuleView
