"""When certificates end: written by the pass that read them, kept by edits, counted for operators."""

import datetime as dt
import math

import msgspec
import pytest

from statera.base.errors import LostClaim
from statera.base.metrics import REGISTRY
from statera.control.census import publish
from statera.store.census import take_census
from statera.store.claims import claim_load_balancer, save_certificate_ends
from statera.store.engine import Store
from statera.store.trees import insert_tree, load_tree
from tests.db.trees import make_tree

DAY = dt.timedelta(days=1)


def read_gauge(state: str) -> float | None:
    return REGISTRY.get_sample_value("statera_tenant_certificates", {"state": state})


async def test_ends_are_written_by_whoever_has_the_claim_and_counted(store: Store) -> None:
    publish(await take_census(store, 30.0))
    assert [read_gauge(state) for state in ("valid", "expires", "expired")] == [0.0, 0.0, 0.0]
    assert REGISTRY.get_sample_value("statera_tenant_certificate_end_timestamp_seconds") == math.inf
    tree = make_tree()
    await insert_tree(store, tree, actor="me", what="created")
    claim = await claim_load_balancer(store, owner="test", lease_s=60.0)
    assert claim is not None
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    ends = {"a": now - DAY, "b": now + 3 * DAY, "c": now + 29 * DAY, "d": now + 31 * DAY}
    await save_certificate_ends(store, claim, ends)
    known = await load_tree(store, tree.load_balancer.id)
    assert known is not None
    assert known.load_balancer.certificate_ends == ends
    publish(await take_census(store, 30.0))
    assert [read_gauge(state) for state in ("valid", "expires", "expired")] == [1.0, 2.0, 1.0]
    first = REGISTRY.get_sample_value("statera_tenant_certificate_end_timestamp_seconds")
    assert first == ends["b"].timestamp()
    with pytest.raises(LostClaim):
        await save_certificate_ends(store, msgspec.structs.replace(claim, epoch=claim.epoch - 1), {})
