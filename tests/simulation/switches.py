"""Edits that switch a part of a load balancer off, or on again."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from statera.model.drafts import Decide, Terms
from statera.model.edits import update_health_monitor, update_listener, update_member, update_pool
from statera.model.tree import HealthMonitor, Listener, Member, Pool, Resource, Tree

UPDATES: Mapping[type[Resource], Callable[..., Decide]] = {
    Listener: update_listener,
    Pool: update_pool,
    Member: update_member,
    HealthMonitor: update_health_monitor,
}


def choose_part(tree: Tree, rng: random.Random) -> Any:
    """Return something that can be switched by itself, each kind as often as the others."""
    kinds = [rows for rows in (tree.listeners, tree.pools, tree.members, tree.health_monitors) if rows]
    return rng.choice(rng.choice(kinds))


def switch_part(part: Any, up: bool, terms: Terms) -> Decide:
    return UPDATES[type(part)](part.id, lambda row: msgspec.structs.replace(row, admin_state_up=up), terms)
