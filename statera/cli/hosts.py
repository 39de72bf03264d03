"""`statera host` and `statera drain`: the machines that amphorae are on."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from rich.table import Table

from statera.app import list_hosts, observe_hosts, open_store
from statera.base.errors import Refusal, Refused
from statera.base.settings import Settings
from statera.cli.amphorae import ACTOR
from statera.cli.plain import plain
from statera.cli.tables import print_json, print_table
from statera.model.amphora import Host
from statera.model.draining import Drain, Stay
from statera.store.amphorae import count_placed
from statera.store.drains import add_drain, list_drains, list_stays, remove_drain
from statera.store.drains import forget_host as store_forget
from statera.store.engine import Store

LOOK_EVERY_S = 0.5
TELL_EVERY_S = 10.0
MOST_TOLD = 10


def print_hosts(settings: Settings, *, form: str = "text") -> None:
    """Print a table of all hosts, or a list of them as JSON."""
    hosts, placed, drains = asyncio.run(_look(settings))
    drained = {drain.host: drain for drain in drains}
    rows = [_tell_host(host, placed.get(host.name, 0), drained.get(host.name)) for host in hosts]
    # Rows may be left of a host that is not configured any more.
    known = {host.name for host in hosts}
    rows += [
        {"host": name, "state": "unknown", "amphorae": count, "room": 0, "zone": "", "about": "It is not configured."}
        for name, count in sorted(placed.items())
        if name not in known
    ]
    if form == "json":
        print_json(rows)
        return
    table = Table("host", "state", "amphorae", "room for", "zone", "", box=None)
    for row in rows:
        table.add_row(*(plain(str(value)) for value in row.values()))
    print_table(table)


async def _look(settings: Settings) -> tuple[tuple[Host, ...], dict[str, int], tuple[Drain, ...]]:
    store = open_store(settings)
    try:
        return await observe_hosts(settings), await count_placed(store), await list_drains(store)
    finally:
        await store.close()


def _tell_host(host: Host, placed: int, drain: Drain | None) -> dict[str, str | int]:
    count = max(host.amphora_count, placed)
    state = "up" if host.reachable else "unreachable"
    about = host.reason.sentence if host.reason else host.limited_by
    if drain is not None:
        state = "gone" if drain.is_gone else "draining" if count else "drained"
        why = drain.reason.sentence if drain.reason is not None and count else ""
        about = " ".join(f"Since {drain.since:%Y-%m-%d %H:%M} by {drain.actor}. {why} {about}".split())
    room = max(0, host.amphora_limit - count) if host.reachable and drain is None else 0
    return {
        "host": host.name,
        "state": state,
        "amphorae": count,
        "room": room,
        "zone": host.zone or "",
        "about": about,
    }


def drain_host(settings: Settings, name: str, *, wait: bool) -> None:
    """Have a host emptied, and tell how far it is until it is empty. Raises `Refused` for a host that is unknown."""

    async def run() -> None:
        store = open_store(settings)
        try:
            await _require_known(settings, store, name)
            await add_drain(store, name, ACTOR)
            print(f"Host {name} takes no more amphorae. `statera drain {name} --undo` takes that back.")
            if wait:
                await _follow(store, name)
        finally:
            await store.close()

    asyncio.run(run())


def forget_host(settings: Settings, name: str) -> None:
    """Note that a host is gone for good. Raises `Refused` for one that is unknown, or that answers."""

    async def run() -> None:
        store = open_store(settings)
        try:
            await _require_known(settings, store, name)
            if any(host.name == name and host.reachable for host in await observe_hosts(settings)):
                raise Refused(Refusal.CONFLICT, f"The agent of host {name} answers. `statera drain {name}` empties it.")
            await store_forget(store, name, ACTOR)
        finally:
            await store.close()

    asyncio.run(run())
    print(f"Host {name} is gone for good: what was on it counts as removed, and is built on others.")
    print(f"Should it come back: `statera drain {name} --undo`, after what it still has was removed as orphans.")


def undo_drain(settings: Settings, name: str) -> None:
    """Let a host take amphorae again. Raises `Refused` when it is not being drained."""

    async def run() -> None:
        store = open_store(settings)
        try:
            if not await remove_drain(store, name):
                raise Refused(Refusal.NOT_FOUND, f"Host {name} is not being drained.")
        finally:
            await store.close()

    asyncio.run(run())
    print(f"Host {name} takes amphorae again. What has begun to move goes on.")


async def _require_known(settings: Settings, store: Store, name: str) -> None:
    known = {host.name for host in list_hosts(settings)} | (await count_placed(store)).keys()
    if name not in known:
        raise Refused(Refusal.NOT_FOUND, f"There is no host {name}. Hosts: {', '.join(sorted(known))}.")


async def _follow(store: Store, name: str) -> None:
    told: Sequence[str] = ()
    told_at = -TELL_EVERY_S
    while True:
        stays = [stay for stay in await list_stays(store) if stay.host == name]
        drain = next((drain for drain in await list_drains(store) if drain.host == name), None)
        if drain is None:
            print("Somebody has taken that back.")
            return
        lines = describe(stays, drain)
        if lines != told and (not stays or time.monotonic() - told_at >= TELL_EVERY_S or len(lines) != len(told)):
            print("\n".join(lines), flush=True)
            told, told_at = lines, time.monotonic()
        if not stays:
            return
        await asyncio.sleep(LOOK_EVERY_S)


def describe(stays: Sequence[Stay], drain: Drain) -> list[str]:
    """Return how far a host is from empty: a line in short, then what cannot move and why."""
    if not stays:
        return [f"Host {drain.host} has no amphora any more."]
    moving = sum(stay.is_asked and not stay.is_stuck for stay in stays)
    stuck = [stay for stay in stays if stay.is_stuck]
    lines = [f"{len(stays)} left: {moving} moving, {len(stuck)} held up, {len(stays) - moving - len(stuck)} to come."]
    if drain.reason is not None:
        lines.append(f"  The others cannot move: {drain.reason.sentence}")
    causes = Counter(stay.reason.sentence for stay in stuck if stay.reason is not None)
    for sentence, count in causes.most_common(MOST_TOLD):
        first = next(stay for stay in stuck if stay.reason is not None and stay.reason.sentence == sentence)
        more = f" and {count - 1} more" if count > 1 else ""
        lines.append(f"  Load balancer {first.load_balancer_id}{more}: {sentence}")
    return lines
