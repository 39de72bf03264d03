"""All scenarios by name, in the order in which they run; which of them the budgets of the design are about."""

from collections.abc import Callable, Mapping

from bench import (
    answering,
    changing,
    controllers,
    creation,
    editing,
    failover,
    heartbeats,
    membership,
    memory,
    proxying,
    reloading,
    replacement,
    spares,
    takeover,
    thousand,
)
from bench.figures import Figure
from bench.ground import Ground

Scenario = Callable[[Ground, int], list[Figure]]

SCENARIOS: Mapping[str, Scenario] = {
    "create": creation.run,
    "member": membership.run,
    "runtime": changing.run,
    "reload": reloading.run,
    "api": answering.run,
    "takeover": takeover.run,
    "failover": failover.run,
    "replacement": replacement.run,
    "edits": editing.run,
    "heartbeats": heartbeats.run,
    "memory": memory.run,
    "proxy": proxying.run,
    "spares": spares.run,
    "controllers": controllers.run,
    "thousand": thousand.run,
}

ON_REQUEST = frozenset({"spares", "controllers", "thousand"})
"""Of no budget, and long: they run only when they are named."""
BUDGETED = tuple(name for name in SCENARIOS if name not in ON_REQUEST)
"""About 10 minutes on two cores."""
