"""A database of the first migration, with rows of every table, is upgraded, and everything works on it."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
from alembic.script import ScriptDirectory

from statera.base.errors import Transient
from statera.base.settings import NetworkSettings, Settings, SubnetSettings
from statera.drivers.network_local import networks_from_settings
from statera.drivers.postgres_embedded import EmbeddedPostgres
from statera.model.enums import ProvisioningStatus
from statera.store import migrate
from statera.store.engine import Store
from statera.store.migrate import head_revision, upgrade
from statera.store.trees import load_tree
from tests.contract.serving import serve
from tests.control.room import Room
from tests.fixtures.postgres import make_database

ROWS = Path(__file__).with_name("first_rows.sql")
SETTLED, FAILING, GOING = (f"00000000-0000-4000-8000-00000000000{number}" for number in (1, 2, 3))
MEMBER = "00000000-0000-4000-8000-000000000031"
_COLUMNS = """
    SELECT table_name, column_name, udt_name, is_nullable, column_default, is_identity, is_generated
    FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
"""


def _list_revisions() -> list[str]:
    """Return all revisions, the first one first."""
    scripts = ScriptDirectory.from_config(migrate._config())
    return [script.revision for script in reversed(list(scripts.walk_revisions()))]


REVISIONS = _list_revisions()


def _make_rows() -> str:
    """Return the statements of the first version; the network is that of a control room."""
    subnet = SubnetSettings(name="front", cidr="10.9.0.0/24", gateway="10.9.0.1")
    (network,) = networks_from_settings((NetworkSettings(name="front", device="front0", subnets=(subnet,)),))
    text = ROWS.read_text(encoding="utf-8")
    return text.replace("$NETWORK", network.id).replace("$SUBNET", network.subnets[0].id)


def _run(url: str, statement: Any, *parameters: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        done = connection.execute(statement, parameters or None)
        return done.fetchall() if done.description else []


@pytest.fixture
def first_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database at the first revision with its rows."""
    with make_database(postgres, template="template0") as url:
        upgrade(url, REVISIONS[0])
        _run(url, _make_rows())
        yield url


def _dump(url: str, columns: dict[str, list[str]]) -> dict[str, list[Any]]:
    """Return what stands in these columns, by table."""
    return {
        table: sorted(str(row) for row in _run(url, f"SELECT {', '.join(names)} FROM {table}"))
        for table, names in columns.items()
    }


def _columns_of(url: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for table, column, *_ in sorted(_run(url, _COLUMNS)):
        found.setdefault(table, []).append(column)
    return found


def test_every_table_of_the_first_revision_has_rows(first_url: str) -> None:
    assert [table for table, rows in _dump(first_url, _columns_of(first_url)).items() if not rows] == []


def test_each_step_up_keeps_what_is_there(first_url: str) -> None:
    """Also what older processes rely on, while they still run: their columns stay, and new ones fill themselves."""
    assert REVISIONS[-1] == head_revision()
    for revision in REVISIONS[1:]:
        columns, before = _columns_of(first_url), {row[:2]: row[2:] for row in _run(first_url, _COLUMNS)}
        kept = _dump(first_url, columns)
        assert upgrade(first_url, revision) == revision
        assert _dump(first_url, columns) == kept, revision
        after = {row[:2]: row[2:] for row in _run(first_url, _COLUMNS)}
        for place, (kind, nullable, default, *rest) in after.items():
            if place in before:
                assert kind == before[place][0], (revision, place)
                assert nullable == "YES" or before[place][1] == "NO", f"{revision}: {place} may not be empty any more"
            elif place[0] in columns:
                fills_itself = nullable == "YES" or default is not None or "YES" in rest or "ALWAYS" in rest
                assert fills_itself, f"{revision}: older processes cannot insert: {place} has no default"


@pytest.mark.parametrize("revision", REVISIONS[1:])
def test_statements_of_the_first_version_work_on_every_later_schema(postgres: EmbeddedPostgres, revision: str) -> None:
    with make_database(postgres, template="template0") as url:
        upgrade(url, revision)
        _run(url, _make_rows())
        _run(url, "UPDATE load_balancers SET generation = generation + 1, lease_owner = 'old' WHERE id = %s", SETTLED)
        _run(url, "DELETE FROM load_balancers WHERE id = %s", GOING)
        assert upgrade(url) == head_revision()
        assert _run(url, "SELECT count(*) FROM members") == [(2,)]


async def test_trees_are_edited_and_reconciled_after_the_upgrade(first_url: str) -> None:
    upgrade(first_url)
    store = Store(first_url)
    try:
        room = Room(store)
        settled, failing, going = [await load_tree(store, one) for one in (SETTLED, FAILING, GOING)]
        assert settled is not None
        assert failing is not None
        assert going is not None
        assert settled.load_balancer.tags == ("blue", "old")
        assert [one.name for one in settled.listeners] == ["http", "tcp"]
        assert settled.listeners[0].sni_container_refs == ()
        assert failing.load_balancer.reason is not None
        assert failing.load_balancer.reason.slug == "host-full"

        edited = await room.edit(settled, _weigh(7))
        assert edited.load_balancer.generation == 4
        for tree in (settled, failing):
            while await room.run_pass(tree):
                pass
            shown = await room.show(tree)
            assert shown.load_balancer.provisioning_status == ProvisioningStatus.ACTIVE
            assert shown.load_balancer.observed_generation == shown.load_balancer.generation
        assert next(one for one in (await room.show(settled)).members if one.id == MEMBER).weight == 7
        (row,) = await room.amphorae(settled)
        assert row.ports[0].addresses[0].address == "10.9.0.30"
        assert "weight 7" in room.compute.hosts["one"].sandboxes[row.id].text
        assert next(event.what for event in await room.history(settled)) == "created"
        while await room.run_pass(going):
            pass
        assert await room.load(going) is None
    finally:
        await store.close()


def _weigh(weight: int) -> Any:
    def decide(tree: Any) -> Any:
        generation = tree.load_balancer.generation + 1
        balancer = msgspec.structs.replace(tree.load_balancer, generation=generation)
        members = tuple(
            msgspec.structs.replace(one, weight=weight) if one.id == MEMBER else one for one in tree.members
        )
        return msgspec.structs.replace(tree, load_balancer=balancer, members=members)

    return decide


def test_the_api_lists_and_edits_what_was_there_before_the_upgrade(first_url: str) -> None:
    upgrade(first_url)
    subnet = SubnetSettings(name="front", cidr="10.9.0.0/24", gateway="10.9.0.1")
    networks = (NetworkSettings(name="front", device="front0", subnets=(subnet,)),)
    settings = msgspec.convert(
        {"compute": {"driver": "noop"}, "network": {"driver": "noop"}}, type=Settings, strict=False
    )
    with (
        serve(first_url, msgspec.structs.replace(settings, networks=networks)) as base,
        httpx.Client(base_url=f"{base}/v2/lbaas", timeout=20.0) as client,
    ):
        for kind, count in (("loadbalancers", 3), ("listeners", 2), ("pools", 2), ("healthmonitors", 1)):
            assert len(client.get(f"/{kind}").json()[kind]) == count, kind
        shown = client.get(f"/loadbalancers/{SETTLED}").json()["loadbalancer"]
        assert (shown["name"], shown["tags"], shown["vip_address"]) == ("settled", ["blue", "old"], "10.9.0.20")
        assert client.get(f"/loadbalancers/{SETTLED}/status").status_code == 200
        assert len(client.get(f"/loadbalancers/{SETTLED}/events").json()["events"]) >= 1
        answer = client.put(f"/loadbalancers/{SETTLED}", json={"loadbalancer": {"description": "It was upgraded."}})
        assert answer.status_code == 200, answer.text


def test_an_upgrade_beside_a_backup_waits_and_lets_others_work(first_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOCK_MOST_MS", 50)
    monkeypatch.setattr(migrate, "LOCK_AGAIN_S", 0.05)
    with psycopg.connect(first_url) as backup, ThreadPoolExecutor() as pool:
        backup.execute("SELECT count(*) FROM load_balancers")
        first = pool.submit(upgrade, first_url)
        # Interrupted in the middle: nothing of it is left.
        _end_whoever_waits(first_url, first)
        with pytest.raises(Transient):
            first.result(60)
        assert _run(first_url, "SELECT version_num FROM alembic_version") == [(REVISIONS[0],)]
        second = pool.submit(upgrade, first_url)
        for _ in range(10):
            assert _run(first_url, "SELECT count(*) FROM load_balancers") == [(3,)]
        backup.rollback()
        assert second.result(60) == head_revision()


def _end_whoever_waits(url: str, upgrading: Future[str]) -> None:
    """End the session that waits for a table, until the upgrade has noticed."""
    deadline = time.monotonic() + 30
    while not upgrading.done():
        _run(url, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation IS NOT NULL")
        assert time.monotonic() < deadline, "nobody waits"


def test_tables_that_are_held_for_too_long_are_told(first_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOCK_MOST_MS", 50)
    monkeypatch.setattr(migrate, "LOCKED_WITHIN_S", 0.0)
    with psycopg.connect(first_url) as backup:
        backup.execute("SELECT count(*) FROM load_balancers")
        with pytest.raises(Transient, match="a backup say"):
            upgrade(first_url)


def test_the_version_before_leaves_a_newer_schema_as_it_is(first_url: str) -> None:
    """The way back: its own upgrade, which `statera up` begins with, does nothing."""
    upgrade(first_url)
    _run(first_url, "UPDATE alembic_version SET version_num = '9999'")
    _run(first_url, "ALTER TABLE members ADD COLUMN something_new TEXT NOT NULL DEFAULT 'x'")
    assert upgrade(first_url) == "9999"
    assert _run(first_url, "SELECT DISTINCT something_new FROM members") == [("x",)]
