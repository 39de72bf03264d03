"""Any tree becomes any other in one edit, what is forecast of it is what it does, and the first one comes back."""

from typing import Any

import msgspec
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from statera.model.become import BOOKKEEPING, become, settle_tree
from statera.model.document import Document
from statera.model.drafts import ROWS_OF, Terms
from statera.model.forecast import Action, isolate_change, list_changes
from statera.model.tree import Resource, Tree
from statera.plan.spec import decide_amphora_spec
from statera.render.change import Unchanged, decide_change
from statera.render.document import render_document
from statera.render.paths import SANDBOX_PATHS
from tests.golden.cases import ALL_ENGINES, ENGINE, LIMITS
from tests.property.trees import BALANCER, NOW, busy_trees, edited, trees

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)
TERMS = Terms(now=NOW)


def as_stranger(tree: Tree) -> Tree:
    """Return the same tree with other ids for all below the load balancer."""
    text = msgspec.json.encode(tree).decode()
    kept = text.replace(BALANCER, "the-balancer").replace("-4000-8000-", "-4000-9000-")
    return msgspec.json.decode(kept.replace("the-balancer", BALANCER), type=Tree)


@st.composite
def before_and_wanted(draw: st.DrawFn) -> tuple[Tree, Tree]:
    before = draw((busy_trees() | trees(deleting=False)).map(_with_both_families))
    wanted = draw(edited(before) | trees(deleting=False).map(as_stranger) | st.just(before).map(as_stranger))
    return before, msgspec.structs.replace(wanted, load_balancer=before.load_balancer)


def _with_both_families(tree: Tree) -> Tree:
    # Members of datagrams must have the family of a VIP.
    balancer = tree.load_balancer
    more = [msgspec.structs.replace(balancer.vip, address=address) for address in ("192.0.2.1", "2001:db8::1")]
    return msgspec.structs.replace(tree, load_balancer=msgspec.structs.replace(balancer, additional_vips=tuple(more)))


def wishes(tree: Tree) -> Any:
    """Return what a tree wishes for, whatever the ids are."""
    text: dict[str, str] = {}
    for name in ROWS_OF.values():
        for row in getattr(tree, name):
            own = {f: getattr(row, f) for f in row.__struct_fields__ if f not in BOOKKEEPING and not f.endswith("_id")}
            text[row.id] = repr(sorted(own.items()))
    found = []
    for name in ROWS_OF.values():
        for row in getattr(tree, name):
            parents = sorted(text[one] for one in _list_parents(row) if one in text)
            found.append((name, text[row.id], parents))
    return sorted(found)


def _list_parents(row: Resource) -> list[str]:
    return [getattr(row, name) for name in ("pool_id", "default_pool_id", "listener_id") if getattr(row, name, None)]


def render(tree: Tree) -> Document:
    """Return the document of a tree as the database gives it: in order of creation."""
    rows = {
        name: tuple(sorted(getattr(tree, name), key=lambda row: (row.created_at, row.id))) for name in ROWS_OF.values()
    }
    spec = decide_amphora_spec(msgspec.structs.replace(tree, **rows), "amphora", LIMITS, _Digests(), ALL_ENGINES)
    return render_document(spec, ENGINE, SANDBOX_PATHS) or Document()


class _Digests(dict[str, str]):
    """Every reference leads somewhere."""

    def get(self, key: str, default: Any = None) -> Any:
        return "0" * 64


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(before_and_wanted())
def test_any_tree_becomes_any_other_and_comes_back(pair: tuple[Tree, Tree]):
    before, wanted = pair
    after = become(wanted, TERMS)(before)
    assert wishes(settle_tree(after)) == wishes(wanted)
    # Once is enough, and what is the same keeps its id.
    assert become(wanted, TERMS)(after) is after
    if wishes(before) == wishes(wanted):
        event("nothing to do")
        assert after is before
    else:
        assert after.load_balancer.generation == before.load_balancer.generation + 1
    again = become(settle_tree(before), TERMS, by_id_only=True)(after)
    assert render(settle_tree(again)).text() == render(before).text()
    # And so does the second, from what the database has once the first has settled.
    once_more = become(settle_tree(after), TERMS, by_id_only=True)(settle_tree(again))
    assert render(settle_tree(once_more)) == render(settle_tree(after))


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(before_and_wanted())
def test_what_is_told_is_what_is_done(pair: tuple[Tree, Tree]):
    before, wanted = pair
    after = become(wanted, TERMS)(before)
    changes = list_changes(before, after)
    assert bool(changes) == (after is not before)
    # Each row that the edit itself marks is told, and none else.
    told = {one.id: one.action for one in changes}
    rows = {row.id: row for name in ROWS_OF.values() for row in getattr(before, name)}
    for name in ROWS_OF.values():
        for row in getattr(after, name):
            old = rows.get(row.id)
            if old is None:
                assert told[row.id] == Action.CREATE
            elif row.deleting and not old.deleting:
                assert told[row.id] == Action.DELETE
    if isinstance(decide_change(render(before), render(settle_tree(after)), ENGINE), Unchanged):
        return
    # What changes the document is some object's doing.
    assert any(_disturbs(before, after, one) for one in changes)


def _disturbs(before: Tree, after: Tree, change: Any) -> bool:
    alone, together = isolate_change(before, after, change)
    return not isinstance(decide_change(render(alone), render(together), ENGINE), Unchanged)
