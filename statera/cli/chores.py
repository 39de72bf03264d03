"""`statera chores`: what is done besides load balancers, when it was done last, and why it failed if it did.

`check_watch` is the doctor's look at the same: chores that fail, amphorae that keep silent, what is replaced by itself.
"""

import asyncio
import datetime as dt
from collections.abc import Sequence

from rich.table import Table

from statera.app import open_store
from statera.base.clock import SystemClock
from statera.base.errors import StateraError
from statera.base.settings import Settings
from statera.cli.plain import plain
from statera.cli.tables import print_json, print_table
from statera.model.failover import read_limits
from statera.model.work import ChoreState
from statera.store.amphorae import list_huddled
from statera.store.chores import list_chores
from statera.store.failover import list_silent, load_budget
from statera.store.keepers import list_keepers


def print_chores(settings: Settings, *, form: str = "text") -> None:
    """Print a table of all chores, or a list of them as JSON."""
    found = asyncio.run(_load(settings))
    if form == "json":
        print_json(found)
        return
    now = SystemClock().now()
    table = Table("chore", "done", "next", "by", "", box=None)
    for one in found:
        reason = one.reason.sentence if one.reason is not None else ""
        row = (one.name, _tell_age(one.done_at, now), _tell_next(one, now), one.owner, reason)
        table.add_row(*(plain(text) for text in row))
    print_table(table)


async def _load(settings: Settings) -> Sequence[ChoreState]:
    store = open_store(settings)
    try:
        return await list_chores(store)
    finally:
        await store.close()


def _tell_age(at: dt.datetime | None, now: dt.datetime) -> str:
    return "never" if at is None else f"{max(0, round((now - at).total_seconds()))} s ago"


def _tell_next(one: ChoreState, now: dt.datetime) -> str:
    if one.owner:
        return "under way"
    left_s = round((one.due_at - now).total_seconds())
    return f"in {left_s} s" if left_s > 0 else "due"


async def check_watch(settings: Settings) -> list[tuple[str, str, str]]:
    """Return (what, found, how to mend it) of chores, silent amphorae, pairs on one host, budget of replacements."""
    store = open_store(settings)
    try:
        failing = [one for one in await list_chores(store) if one.reason is not None]
        silent = await list_silent(store)
        huddled = await list_huddled(store)
        budget = await load_budget(store, read_limits(settings.failover))
        keepers = await list_keepers(store)
    except StateraError:
        # What is wrong with the database, another finding tells.
        return []
    finally:
        await store.close()
    findings = [(f"chore {one.name}", one.reason.sentence, "It is tried again.") for one in failing if one.reason]
    findings += [
        (
            f"heartbeats of host {one.host}",
            f"{one.silent} of {one.serving} amphorae are silent",
            "Look at the reasons of their load balancers.",
        )
        for one in silent
    ]
    findings += [
        (
            f"pairs on host {host}",
            f"{number} load balancers have both amphorae there",
            "Add a host, or bring one back; then fail them over.",
        )
        for host, number in huddled.items()
    ]
    if len(keepers) > 1:
        mend = "Keep ca.key and ca-next.key on one, and copy ca.pem, controller.pem and controller.key from there."
        findings.append(("the authority's key", f"on several machines: {', '.join(keepers)}", mend))
    limits = budget.limits
    counted = f"{budget.in_minute} of {limits.per_minute} in the last minute"
    counted += f", {budget.in_window} of {limits.most_in_window(budget.fleet)} in the last ten"
    mend = "Look for what kills hosts; it goes on by itself." if limits.is_on and budget.tell_spent() else ""
    told = counted if limits.is_on else "switched off (failover.automatic)"
    return [*findings, ("automatic replacements", told, mend)]
