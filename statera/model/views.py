"""What the API shows of a resource beyond its own attributes: the ids of what stands next to it."""

import msgspec

from statera.model.tree import HealthMonitor, Listener, LoadBalancer, Member, Pool


class LoadBalancerView(msgspec.Struct, frozen=True, kw_only=True):
    resource: LoadBalancer
    listener_ids: tuple[str, ...] = ()
    pool_ids: tuple[str, ...] = ()


class ListenerView(msgspec.Struct, frozen=True, kw_only=True):
    resource: Listener


class PoolView(msgspec.Struct, frozen=True, kw_only=True):
    resource: Pool
    listener_ids: tuple[str, ...] = ()
    member_ids: tuple[str, ...] = ()
    health_monitor_id: str | None = None


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    resource: Member


class HealthMonitorView(msgspec.Struct, frozen=True, kw_only=True):
    resource: HealthMonitor


View = LoadBalancerView | ListenerView | PoolView | MemberView | HealthMonitorView
