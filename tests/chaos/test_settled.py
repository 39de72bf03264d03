"""What is stuck is found wherever in a status tree it is."""

from typing import Any

from tests.chaos.settled import list_troubled

WAITS = {"slug": "agent-unreachable", "sentence": "It waits."}


def _show(name: str, provisioning: str = "ACTIVE", reason: Any = None, **below: Any) -> Any:
    return {"id": name, "provisioning_status": provisioning, "status_reason": reason} | below


def test_objects_of_all_levels_are_looked_at() -> None:
    member, monitor = _show("m1", "PENDING_UPDATE"), _show("h1", reason=WAITS)
    pool = _show("p1", members=[_show("m0"), member], health_monitor=monitor)
    tree = _show("b1", listeners=[_show("l1", "ERROR", WAITS, pools=[pool], l7policies=[])])
    told = list_troubled(tree)
    assert [one.split(":")[0] for one in told] == [
        "listeners l1 is ERROR",
        "members m1 is PENDING_UPDATE",
        "health_monitor h1 is ACTIVE",
    ]
    assert "agent-unreachable" in told[0]


def test_a_settled_tree_has_nothing_to_tell() -> None:
    pool = _show("p1", members=[_show("m0")], health_monitor=None)
    assert list_troubled(_show("b1", listeners=[_show("l1", pools=[pool], l7policies=[])])) == []
