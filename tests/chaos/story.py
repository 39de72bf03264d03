"""Which faults happen when: all of it follows from the seed. Pure."""

import random
from collections.abc import Iterator, Sequence

import msgspec

KINDS = {
    # kind: (how often, shortest, longest time in seconds until it is undone)
    "kill": (8, 0.2, 1.0),
    "pause": (5, 0.5, 4.0),
    "slow": (2, 2.0, 4.0),
    "database-kill": (1, 0.3, 1.5),
    "database-restart": (1, 0.3, 1.5),
    "database-pause": (1, 0.5, 4.0),
    "cut-management": (3, 1.0, 5.0),
    "cut-provider": (2, 0.5, 2.0),
    "cut-both": (1, 0.5, 2.0),
    "disk-full": (2, 2.0, 5.0),
    "clock": (3, 2.0, 6.0),
    "engine-kill": (2, 0.0, 0.0),
    "engine-pause": (1, 20.0, 22.0),
    "vrrp-kill": (1, 0.0, 0.0),
    "vrrp-pause": (1, 10.0, 11.0),
    "member-down": (1, 4.0, 8.0),
    "power": (1, 1.0, 3.0),
}
"""An agent takes a HAProxy for hung after three questions without an answer, of 5 s each (`MOST_SILENCES`): a pause of
HAProxy is longer than that and than the second until it is looked after. It takes a keepalived for hung after two, one
every two seconds."""
LEAST_CLOCK_S, MOST_CLOCK_S = 5.0, 90.0
CALM_S = 3.0
"""Between faults that stop the traffic of a whole host: each has its failed requests for itself."""
STOPS_HOST = ("cut-provider", "cut-both", "power", "engine-kill")
STOPS_TRAFFIC = (*STOPS_HOST, "engine-pause", "vrrp-kill", "vrrp-pause")
BETWEEN_S = 0.1
"""Least time between two faults of one target."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """`begins_s` counts from the start of the story; after `lasts_s` the fault is undone. `target` is a process, a
    host or a web server; `amount` is the jump of a clock in seconds, or a number between 0 and 1 that chooses among
    what is there."""

    kind: str
    target: str
    begins_s: float
    lasts_s: float
    amount: float = 0.0

    @property
    def ends_s(self) -> float:
        return self.begins_s + self.lasts_s

    @property
    def place(self) -> str:
        """What stands and falls together: a host's agent and its links do with the host."""
        return self.target.removeprefix("agent-")

    @property
    def stops_traffic(self) -> bool:
        return self.kind in STOPS_TRAFFIC

    @property
    def stops_host(self) -> bool:
        """Say whether others like it are kept away from it in time."""
        return self.kind in STOPS_HOST

    def tell(self) -> str:
        """Return a line for people."""
        jump = f" by {self.amount:+.1f} s" if self.kind == "clock" else ""
        return f"{self.begins_s:7.2f} s  {self.kind} {self.target}{jump}, undone after {self.lasts_s:.2f} s"


class Deal(msgspec.Struct, frozen=True, kw_only=True):
    """A fault that is to come once for certain, on one of these targets."""

    kind: str
    targets: tuple[str, ...]


def decide_story(
    seed: int,
    length_s: float,
    pause_s: float,
    controllers: Sequence[str],
    hosts: Sequence[str],
    members: Sequence[str],
    *,
    control_s: float = 0.0,
) -> tuple[Fault, ...]:
    """Return the faults of `length_s` seconds, one about every `pause_s`. No target has two at a time.

    Each kind comes once, a kill and a pause once for each role, in any order; then chance decides, and while none of
    those can begin. In the first `control_s` seconds only the control plane is hurt: nothing stops traffic.
    """
    chance = random.Random(seed)
    targets = {kind: _list_targets(kind, controllers, hosts, members) for kind in KINDS}
    deals = _shuffle_deals(chance, targets)
    free_at: dict[str, float] = {}
    faults: list[Fault] = []
    now_s, host_calm_until_s = pause_s, 0.0
    kinds, weights = list(KINDS), [KINDS[kind][0] for kind in KINDS]
    while now_s < length_s:
        drawn = chance.choices(kinds, weights)[0]
        for deal in (*deals, Deal(kind=drawn, targets=targets[drawn])):
            fault = _make_fault(chance, deal, now_s, length_s, free_at)
            is_early = fault is not None and fault.stops_traffic and now_s < control_s
            is_crowded = fault is not None and fault.stops_host and now_s < host_calm_until_s
            if fault is None or is_early or is_crowded:
                continue
            faults.append(fault)
            free_at[fault.place] = fault.ends_s + BETWEEN_S
            host_calm_until_s = fault.ends_s + CALM_S if fault.stops_host else host_calm_until_s
            if deal in deals:
                deals.remove(deal)
            break
        now_s += chance.uniform(0.3, 1.7) * pause_s
    return tuple(faults)


def find_role(process: str) -> str:
    """Return the role of a process by its name: worker2 is a worker, agent-a an agent."""
    return process.partition("-")[0].rstrip("0123456789")


def _list_targets(
    kind: str, controllers: Sequence[str], hosts: Sequence[str], members: Sequence[str]
) -> tuple[str, ...]:
    if kind.startswith("database"):
        return ("database",)
    if kind.startswith("member"):
        return tuple(members)
    return (*controllers, *_list_agents(hosts)) if kind in ("kill", "pause", "clock") else tuple(hosts)


def _list_agents(hosts: Sequence[str]) -> Iterator[str]:
    return (f"agent-{host}" for host in hosts)


def _shuffle_deals(chance: random.Random, targets: dict[str, tuple[str, ...]]) -> list[Deal]:
    deals = []
    for kind, where in targets.items():
        roles = dict.fromkeys(map(find_role, where)) if kind in ("kill", "pause") else {"": None}
        for role in roles:
            deals.append(Deal(kind=kind, targets=tuple(one for one in where if not role or find_role(one) == role)))
    chance.shuffle(deals)
    # The longest need most of a short story.
    return sorted(deals, key=lambda deal: deal.kind not in ("engine-pause", "vrrp-pause"))


def _make_fault(
    chance: random.Random, deal: Deal, now_s: float, length_s: float, free_at: dict[str, float]
) -> Fault | None:
    """Return a fault on a target that is free, None while none is, or when its shortest time does not fit any more."""
    _, least_s, most_s = KINDS[deal.kind]
    target = chance.choice(deal.targets)
    fault = Fault(
        kind=deal.kind,
        target=target,
        begins_s=round(now_s, 2),
        lasts_s=round(min(chance.uniform(least_s, most_s), length_s - now_s), 2),
        amount=round(_choose_amount(chance, deal.kind), 2),
    )
    fits = now_s + least_s <= length_s
    return fault if fits and fault.begins_s >= free_at.get(fault.place, 0.0) else None


def _choose_amount(chance: random.Random, kind: str) -> float:
    if kind != "clock":
        return chance.random()
    return chance.choice((-1, 1)) * chance.uniform(LEAST_CLOCK_S, MOST_CLOCK_S)
