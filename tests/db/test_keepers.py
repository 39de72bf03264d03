"""Which machines keep Statera's own certificates: one is told once, two are seen, and who has stopped is forgotten."""

import sqlalchemy as sa

from statera.base.reason import Reason
from statera.base.settings import convert_settings
from statera.cli.chores import check_watch
from statera.store.chores import add_chores, claim_chore, list_chores
from statera.store.engine import Store
from statera.store.keepers import CHORE, FORGET_S, list_keepers, note_keeper


async def test_each_machine_is_listed_once(store: Store) -> None:
    assert await list_keepers(store) == ()
    for machine in ("b 2", "a 1", "a 1"):
        await note_keeper(store, machine, next_s=20.0)
    assert await list_keepers(store) == ("a 1", "b 2")


async def test_one_that_has_stopped_is_forgotten(store: Store) -> None:
    await note_keeper(store, "old", next_s=20.0)
    past = f"jsonb_build_object('old', now() - make_interval(secs => {FORGET_S + 1}))"
    await store.execute(sa.text(f"UPDATE chores SET memory = {past} WHERE name = '{CHORE}' RETURNING name"))
    assert await list_keepers(store) == ()
    await note_keeper(store, "new", next_s=20.0)
    kept = await store.execute(sa.text(f"SELECT memory FROM chores WHERE name = '{CHORE}'"))
    assert set(kept[0].memory) == {"new"}


async def test_it_stands_among_the_chores_and_no_worker_claims_it(store: Store) -> None:
    failed = Reason(slug="internal-fault", sentence="The disk is full.")
    await add_chores(store, ["sweep-orphans"])
    await note_keeper(store, "one", next_s=20.0, reason=failed)
    (shown,) = [chore for chore in await list_chores(store) if chore.name == CHORE]
    assert shown.reason == failed
    assert shown.done_at is not None
    assert shown.due_at > shown.done_at
    await note_keeper(store, "one", next_s=0.0)
    claim = await claim_chore(store, ["sweep-orphans"], owner="worker", lease_s=10.0)
    assert claim is not None
    assert claim.name == "sweep-orphans"
    assert [chore.reason for chore in await list_chores(store) if chore.name == CHORE] == [None]


async def test_the_doctor_finds_an_authority_on_two_machines(store: Store, database_url: str) -> None:
    settings = convert_settings({"database": {"url": database_url}}, source="test")
    await note_keeper(store, "one", next_s=20.0)
    assert not [told for told in await check_watch(settings) if told[0] == "the authority's key"]
    await note_keeper(store, "two", next_s=20.0)
    ((_, found, mend),) = [told for told in await check_watch(settings) if told[0] == "the authority's key"]
    assert "one, two" in found
    assert "ca.key" in mend
