"""Which faults happen when: all of it follows from the seed. Pure."""

import random
from collections.abc import Sequence

import msgspec

KINDS = {
    # kind: (how often, shortest, longest time in seconds until it is undone)
    "kill": (8, 0.2, 1.0),
    "pause": (5, 0.5, 4.0),
    "slow": (2, 2.0, 4.0),
    "database-kill": (1, 0.3, 1.5),
    "database-restart": (1, 0.3, 1.5),
    "cut-management": (3, 1.0, 5.0),
    "cut-provider": (2, 0.5, 2.0),
    "cut-both": (1, 0.5, 2.0),
    "disk-full": (2, 2.0, 5.0),
    "clock": (3, 2.0, 6.0),
    "engine-kill": (2, 0.0, 0.0),
    "power": (1, 1.0, 3.0),
}
LEAST_CLOCK_S, MOST_CLOCK_S = 5.0, 90.0
CALM_S = 3.0
"""Between faults that stop traffic: each has its failed requests for itself."""
STOPS_TRAFFIC = ("cut-provider", "cut-both", "power", "engine-kill")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """`begins_s` counts from the start of the story; after `lasts_s` the fault is undone. `target` is a process or a
    host; `amount` is the jump of a clock in seconds, or a number between 0 and 1 that chooses among what is there."""

    kind: str
    target: str
    begins_s: float
    lasts_s: float
    amount: float = 0.0

    @property
    def ends_s(self) -> float:
        return self.begins_s + self.lasts_s

    @property
    def stops_traffic(self) -> bool:
        return self.kind in STOPS_TRAFFIC

    def tell(self) -> str:
        """Return a line for people."""
        jump = f" by {self.amount:+.1f} s" if self.kind == "clock" else ""
        return f"{self.begins_s:7.2f} s  {self.kind} {self.target}{jump}, undone after {self.lasts_s:.2f} s"


def decide_story(
    seed: int, length_s: float, pause_s: float, controllers: Sequence[str], hosts: Sequence[str]
) -> tuple[Fault, ...]:
    """Return the faults of `length_s` seconds, one about every `pause_s`. No target has two at a time."""
    chance = random.Random(seed)
    agents = [f"agent-{host}" for host in hosts]
    free_at: dict[str, float] = {}
    faults: list[Fault] = []
    now_s, calm_from_s = pause_s, 0.0
    kinds, weights = list(KINDS), [KINDS[kind][0] for kind in KINDS]
    while now_s < length_s:
        kind = chance.choices(kinds, weights)[0]
        target = _choose_target(chance, kind, [*controllers, *agents], hosts)
        _, least_s, most_s = KINDS[kind]
        fault = Fault(
            kind=kind,
            target=target,
            begins_s=round(now_s, 2),
            lasts_s=round(min(chance.uniform(least_s, most_s), length_s - now_s), 2),
            amount=round(_choose_amount(chance, kind), 2),
        )
        now_s += chance.uniform(0.3, 1.7) * pause_s
        # A host's agent and its links stand and fall with the host.
        place = target.removeprefix("agent-")
        is_free = fault.begins_s >= free_at.get(place, 0.0)
        if is_free and not (fault.stops_traffic and fault.begins_s < calm_from_s):
            faults.append(fault)
            free_at[place] = fault.ends_s + 0.1
            calm_from_s = fault.ends_s + CALM_S if fault.stops_traffic else calm_from_s
    return tuple(faults)


def _choose_target(chance: random.Random, kind: str, processes: Sequence[str], hosts: Sequence[str]) -> str:
    if kind.startswith("database"):
        return "database"
    return chance.choice(processes if kind in ("kill", "pause", "clock") else hosts)


def _choose_amount(chance: random.Random, kind: str) -> float:
    if kind != "clock":
        return chance.random()
    return chance.choice((-1, 1)) * chance.uniform(LEAST_CLOCK_S, MOST_CLOCK_S)
