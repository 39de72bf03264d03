"""All scenarios by name, in the order in which they run."""

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
    spares,
    takeover,
    thousand,
)
from bench.figures import Figure
from bench.ground import Ground

Scenario = Callable[[Ground, int], list[Figure]]

SCENARIOS: Mapping[str, Scenario] = {
    "create": creation.run,
    "spares": spares.run,
    "failover": failover.run,
    "takeover": takeover.run,
    "member": membership.run,
    "runtime": changing.run,
    "reload": reloading.run,
    "api": answering.run,
    "edits": editing.run,
    "heartbeats": heartbeats.run,
    "memory": memory.run,
    "proxy": proxying.run,
    "controllers": controllers.run,
    "thousand": thousand.run,
}
