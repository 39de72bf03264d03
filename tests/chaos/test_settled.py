"""What is stuck is found wherever in a status tree it is."""

from typing import Any

from tests.chaos.settled import list_troubled

WAITS = {"slug": "agent-unreachable", "sentence": "It waits."}
FAILS = {"slug": "member-check-failed", "sentence": "It is refused."}


def _show(name: str, provisioning: str = "ACTIVE", reason: Any = None, operating: str = "ONLINE", **below: Any) -> Any:
    shown = {"id": name, "provisioning_status": provisioning, "operating_status": operating, "status_reason": reason}
    return shown | below


def test_objects_of_all_levels_are_looked_at() -> None:
    member, monitor = _show("m1", "PENDING_UPDATE"), _show("h1", reason=WAITS)
    pool = _show("p1", members=[_show("m0"), member], health_monitor=monitor)
    tree = _show("b1", listeners=[_show("l1", "ERROR", WAITS, pools=[pool], l7policies=[])])
    told = list_troubled(tree)
    assert [one.split(":")[0] for one in told] == [
        "listeners l1 is ERROR, ONLINE",
        "members m1 is PENDING_UPDATE, ONLINE",
        "health_monitor h1 is ACTIVE, ONLINE",
    ]
    assert "agent-unreachable" in told[0]


def test_a_settled_tree_has_nothing_to_tell() -> None:
    pool = _show("p1", members=[_show("m0")], health_monitor=None)
    assert list_troubled(_show("b1", listeners=[_show("l1", pools=[pool], l7policies=[])])) == []


def test_what_does_not_work_has_a_reason() -> None:
    failing = _show("p1", operating="ERROR", members=[_show("m0", reason=FAILS, operating="ERROR")])
    (told,) = list_troubled(_show("b1", reason=FAILS, operating="ERROR", listeners=[_show("l1", pools=[failing])]))
    assert told == "pools p1 is ACTIVE, ERROR: null"
