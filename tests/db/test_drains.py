"""An order about a host and what it means for load balancers are written together, or neither is."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from bench.crowd import plant
from statera.store.claims import claim_load_balancer, save_settled
from statera.store.drains import forget_host, is_host_gone, list_drains
from statera.store.engine import Store

_REFUSE = (
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$",
    "CREATE TRIGGER refuse BEFORE UPDATE ON load_balancers FOR EACH ROW EXECUTE FUNCTION refuse()",
)


@asynccontextmanager
async def no_update_of_load_balancers(store: Store) -> AsyncIterator[None]:
    for statement in _REFUSE:
        await store.execute(sa.text(statement))
    yield
    await store.execute(sa.text("DROP FUNCTION refuse CASCADE"))


async def test_a_host_is_forgotten_with_its_load_balancers_woken_or_not_at_all(store: Store) -> None:
    tree, amphora = await plant(store)
    await plant(store)
    async with no_update_of_load_balancers(store):
        with pytest.raises(DBAPIError):
            await forget_host(store, amphora.host, "operator")
        assert not await is_host_gone(store, amphora.host)
        assert await list_drains(store) == ()
    assert await claim_load_balancer(store, owner="me", lease_s=60) is None
    await forget_host(store, amphora.host, "operator")
    assert await is_host_gone(store, amphora.host)
    claims = [await claim_load_balancer(store, owner="me", lease_s=60) for _ in range(2)]
    assert tree.load_balancer.id in {claim.load_balancer_id for claim in claims if claim is not None}


async def test_a_pass_that_runs_when_its_host_is_forgotten_is_followed_by_another(store: Store) -> None:
    _, amphora = await plant(store)
    await store.execute(sa.text("UPDATE load_balancers SET due_at = now()"))
    claim = await claim_load_balancer(store, owner="me", lease_s=60)
    assert claim is not None
    await forget_host(store, "another", "operator")
    await forget_host(store, amphora.host, "operator")
    assert await save_settled(store, claim, 1, recheck_s=60)
