"""No statement that runs for one load balancer reads what belongs to all others: the plans of PostgreSQL say so."""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.crowd import CROWDED, edit_everything, multiply, plant
from bench.plans import Plan
from bench.statements import PAGE, WHOLE, explain_all
from statera.store.engine import Store

COPIES = 5_000
MOST_PAGES = 120
MOST_PAGES_OF_A_LIST = 10 * PAGE
"""Of 8 KiB that a statement looks at: tables of so many rows have hundreds."""
PAGE_OF_PLANS = Path(__file__).parents[2] / "docs" / "design" / "statements.md"
INDEX = re.compile(r"\b[ip][xk]_[a-z0-9_]+\b")


@pytest.fixture(scope="module")
def plans(module_database_url: str) -> Mapping[str, list[Plan]]:
    async def explain() -> Mapping[str, list[Plan]]:
        store = Store(module_database_url)
        try:
            tree, amphora = await plant(store)
            await asyncio.to_thread(multiply, module_database_url, COPIES)
            return await explain_all(store, tree, amphora, edit_everything("other"))
        finally:
            await store.close()

    return asyncio.run(explain())


def test_what_is_about_one_does_not_read_all(plans: Mapping[str, list[Plan]]) -> None:
    faults = [
        f"{name}: reads all of {', '.join(scanned)} ({plan.statement[:120]})"
        for name, found in plans.items()
        if name not in WHOLE
        for plan in found
        if (scanned := [table for table in plan.list_scanned() if table in CROWDED])
    ]
    assert faults == []


def test_what_is_about_one_looks_at_few_pages(plans: Mapping[str, list[Plan]]) -> None:
    pages = {name: max(plan.buffers for plan in found) for name, found in plans.items() if name not in WHOLE}
    most = {name: MOST_PAGES_OF_A_LIST if "list" in name or "everybody" in name else MOST_PAGES for name in pages}
    assert {name: looked_at for name, looked_at in pages.items() if looked_at > most[name]} == {}


def test_every_call_was_explained(plans: Mapping[str, list[Plan]]) -> None:
    assert [name for name, found in plans.items() if not found] == []
    assert plans.keys() >= WHOLE


def test_the_page_shows_the_plans_of_today(plans: Mapping[str, list[Plan]]) -> None:
    text = PAGE_OF_PLANS.read_text(encoding="utf-8")
    blocks = [set(INDEX.findall(block)) for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)]
    claim, snapshot = plans["a pass that settles"][:2]
    # Whether an index is read as it is or as a bitmap depends on the number of rows.
    assert blocks == [_list_indexes(plan) for plan in (claim, snapshot)]
    used = set().union(*(_list_indexes(plan) for found in plans.values() for plan in found))
    assert set(INDEX.findall(text)) - used == set()


def _list_indexes(plan: Plan) -> set[str]:
    return {name for _, name, _ in plan.nodes if INDEX.fullmatch(name)}
