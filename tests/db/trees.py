"""Load balancers to store: short builders with everything filled in, and the simplest pure edits."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec

from statera.base.ids import new_id
from statera.model.amphora import Amphora
from statera.model.enums import Algorithm, ListenerProtocol, MonitorType, PoolProtocol, ProvisioningStatus
from statera.model.network import Port, PortAddress
from statera.model.tree import HealthMonitor, Listener, LoadBalancer, Member, Pool, Resource, Tree, Vip

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
PROJECT = "a" * 32


def make_load_balancer(**values: Any) -> LoadBalancer:
    vip = Vip(address="10.0.0.5", subnet_id=new_id(), network_id=new_id(), port_id=new_id())
    defaults = {"id": new_id(), "project_id": PROJECT, "vip": vip, "created_at": NOW, "changed_at_generation": 1}
    return LoadBalancer(**{**defaults, **values})


def make_listener(load_balancer: LoadBalancer, **values: Any) -> Listener:
    defaults = _below(load_balancer) | {"protocol": ListenerProtocol.HTTP, "protocol_port": 80}
    return Listener(**{**defaults, **values})


def make_pool(load_balancer: LoadBalancer, **values: Any) -> Pool:
    defaults = _below(load_balancer) | {"protocol": PoolProtocol.HTTP, "lb_algorithm": Algorithm.ROUND_ROBIN}
    return Pool(**{**defaults, **values})


def make_member(pool: Pool, number: int = 1, **values: Any) -> Member:
    defaults = _below(pool) | {
        "load_balancer_id": pool.load_balancer_id,
        "pool_id": pool.id,
        "address": f"192.0.2.{number % 250 + 1}",
        "protocol_port": 8000 + number // 250,
        "created_at": NOW + dt.timedelta(microseconds=number),
    }
    return Member(**{**defaults, **values})


def make_monitor(pool: Pool, **values: Any) -> HealthMonitor:
    own = {"type": MonitorType.HTTP, "delay": 5, "timeout": 4, "max_retries": 3}
    parents = {"load_balancer_id": pool.load_balancer_id, "pool_id": pool.id}
    return HealthMonitor(**{**_below(pool), **parents, **own, **values})


def make_amphora(load_balancer_id: str, **values: Any) -> Amphora:
    address = PortAddress(subnet_id=new_id(), address="fd00::7")
    port = Port(
        id=new_id(), network_id=new_id(), name="p", device_id="d", mac_address="fa:16:3e:0:0:1", addresses=(address,)
    )
    defaults = {
        "id": new_id(),
        "load_balancer_id": load_balancer_id,
        "host": "one",
        "ports": (port,),
        "created_at": NOW,
    }
    return Amphora(**{**defaults, **values})


def _below(parent: Resource) -> dict[str, Any]:
    values = {"id": new_id(), "project_id": parent.project_id, "created_at": NOW, "changed_at_generation": 1}
    return values | {"load_balancer_id": parent.id} if isinstance(parent, LoadBalancer) else values


def make_tree(member_count: int = 2, **values: Any) -> Tree:
    """Return a load balancer with a listener, its pool, members and a monitor."""
    load_balancer = make_load_balancer(**values)
    pool = make_pool(load_balancer)
    return Tree(
        load_balancer=load_balancer,
        listeners=(make_listener(load_balancer, default_pool_id=pool.id),),
        pools=(pool,),
        members=tuple(make_member(pool, number) for number in range(member_count)),
        health_monitors=(make_monitor(pool),),
    )


def edit_rename(name: str) -> Callable[[Tree], Tree]:
    """Return an edit that renames the load balancer."""
    return lambda tree: _raised(tree, name=name)


def edit_add(resource: Resource) -> Callable[[Tree], Tree]:
    """Return an edit that adds an object below the load balancer."""

    def decide(tree: Tree) -> Tree:
        raised = _raised(tree)
        stamp = raised.load_balancer.generation
        attribute = _ATTRIBUTE[type(resource)]
        added = msgspec.structs.replace(resource, changed_at_generation=stamp)
        return msgspec.structs.replace(raised, **{attribute: (*getattr(tree, attribute), added)})

    return decide


def edit_delete(resource: Resource) -> Callable[[Tree], Tree]:
    """Return an edit that wants an object gone."""

    def decide(tree: Tree) -> Tree:
        raised = _raised(tree)
        changes = {
            "deleting": True,
            "provisioning_status": ProvisioningStatus.PENDING_DELETE,
            "changed_at_generation": raised.load_balancer.generation,
        }
        attribute = _ATTRIBUTE[type(resource)]
        kept = tuple(
            msgspec.structs.replace(old, **changes) if old.id == resource.id else old
            for old in getattr(tree, attribute)
        )
        return msgspec.structs.replace(raised, **{attribute: kept})

    return decide


_ATTRIBUTE: dict[type[Resource], str] = {
    Listener: "listeners",
    Pool: "pools",
    Member: "members",
    HealthMonitor: "health_monitors",
}


def _raised(tree: Tree, **values: Any) -> Tree:
    generation = tree.load_balancer.generation + 1
    pending = {
        "generation": generation,
        "changed_at_generation": generation,
        "provisioning_status": ProvisioningStatus.PENDING_UPDATE,
        "reason": None,
    }
    return msgspec.structs.replace(tree, load_balancer=msgspec.structs.replace(tree.load_balancer, **pending, **values))
