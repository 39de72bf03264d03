"""Edits as pure functions: what they touch, what they leave alone, what they refuse."""

import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statera.base.errors import Refusal, Refused
from statera.base.reason import Reason
from statera.model.edits import (
    Decide,
    MemberWish,
    Terms,
    create_health_monitor,
    create_listener,
    create_member,
    create_pool,
    delete_health_monitor,
    delete_listener,
    delete_load_balancer,
    delete_member,
    delete_pool,
    fail_over_amphora,
    fail_over_load_balancer,
    plant_tree,
    set_members,
    update_health_monitor,
    update_listener,
    update_load_balancer,
    update_member,
    update_pool,
)
from statera.model.enums import (
    Algorithm,
    ListenerProtocol,
    MonitorType,
    OperatingStatus,
    PoolProtocol,
    ProvisioningStatus,
)
from statera.model.tree import HealthMonitor, Listener, LoadBalancer, Member, Pool, Resource, Tree, Vip

NOW = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(hours=1)
TERMS = Terms(now=LATER)
STRICT = Terms(now=LATER, strict=True)
WHY = Reason(slug="check-failed", sentence="It failed.")
ROWS = ("listeners", "pools", "members", "health_monitors")

OWN: dict[str, Any] = {"project_id": "p", "created_at": NOW}
BELOW = OWN | {"load_balancer_id": "lb"}
BALANCER = LoadBalancer(
    id="lb", vip=Vip(address="10.0.0.1", subnet_id="s", network_id="n", port_id="port"), generation=7, **OWN
)


def a_listener(name: str = "l1", **values: Any) -> Listener:
    own: dict[str, Any] = {"id": name, "protocol": ListenerProtocol.HTTP, "protocol_port": 80}
    return Listener(**(own | BELOW | values))


def a_pool(name: str = "p1", **values: Any) -> Pool:
    own: dict[str, Any] = {"id": name, "protocol": PoolProtocol.HTTP, "lb_algorithm": Algorithm.ROUND_ROBIN}
    return Pool(**(own | BELOW | values))


def a_member(name: str = "m1", number: int = 1, **values: Any) -> Member:
    own: dict[str, Any] = {"id": name, "pool_id": "p1", "address": f"10.1.0.{number}", "protocol_port": 80}
    return Member(**(own | BELOW | values))


def a_monitor(name: str = "h1", **values: Any) -> HealthMonitor:
    own: dict[str, Any] = {
        "id": name,
        "pool_id": "p1",
        "type": MonitorType.HTTP,
        "delay": 1,
        "timeout": 1,
        "max_retries": 1,
    }
    return HealthMonitor(**(own | BELOW | values))


def settled(tree: Tree) -> Tree:
    """Return the tree as a worker leaves it, each object with an old reason to see who loses it."""
    done: dict[str, Any] = {"provisioning_status": ProvisioningStatus.ACTIVE, "reason": WHY, "changed_at_generation": 3}
    rows = {name: tuple(msgspec.structs.replace(row, **done) for row in getattr(tree, name)) for name in ROWS}
    return Tree(load_balancer=msgspec.structs.replace(tree.load_balancer, **done), **rows)


TREE = settled(
    Tree(
        load_balancer=BALANCER,
        listeners=(a_listener(default_pool_id="p1"), a_listener("l2", protocol_port=81)),
        pools=(a_pool(), a_pool("p2")),
        members=(a_member(), a_member("m2", 2)),
        health_monitors=(a_monitor(),),
    )
)


def renamed(row: Any) -> Any:
    return msgspec.structs.replace(row, name="new")


def states(before: Tree, after: Tree) -> dict[str, str]:
    """Return what was touched: id to the new status, and check what every touched row must have."""
    found: dict[str, str] = {}
    for name in ROWS:
        old = {row.id: row for row in getattr(before, name)}
        for row in getattr(after, name):
            if row == old.get(row.id):
                continue
            assert row.changed_at_generation == after.load_balancer.generation
            assert row.reason is None
            assert row.updated_at == (LATER if row.id in old else None)
            found[row.id] = str(row.provisioning_status).removeprefix("PENDING_")
    balancer = after.load_balancer
    assert balancer.generation == balancer.changed_at_generation == before.load_balancer.generation + 1
    assert (balancer.reason, balancer.updated_at) == (None, LATER)
    return found | {"lb": str(balancer.provisioning_status).removeprefix("PENDING_")}


UPDATE = {"lb": "UPDATE"}
BELOW_POOL = UPDATE | {"l1": "UPDATE", "p1": "UPDATE"}
EDITS: list[tuple[Decide, dict[str, str]]] = [
    (update_load_balancer(renamed, TERMS), UPDATE),
    (delete_load_balancer(cascade=True, terms=TERMS), {"lb": "DELETE"}),
    (create_listener(a_listener("l3", protocol_port=82), TERMS), UPDATE | {"l3": "CREATE"}),
    (update_listener("l1", renamed, TERMS), UPDATE | {"l1": "UPDATE"}),
    (delete_listener("l1", TERMS), UPDATE | {"l1": "DELETE"}),
    (create_pool(a_pool("p3"), None, TERMS), UPDATE | {"p3": "CREATE"}),
    (create_pool(a_pool("p3"), "l2", TERMS), UPDATE | {"p3": "CREATE", "l2": "UPDATE"}),
    (update_pool("p1", renamed, TERMS), UPDATE | {"p1": "UPDATE", "l1": "UPDATE"}),
    (delete_pool("p1", TERMS), UPDATE | {"p1": "DELETE", "l1": "UPDATE"}),
    (delete_pool("p2", TERMS), UPDATE | {"p2": "DELETE"}),
    (create_member(a_member("m3", 3), TERMS), BELOW_POOL | {"m3": "CREATE"}),
    (update_member("m1", renamed, TERMS), BELOW_POOL | {"m1": "UPDATE"}),
    (delete_member("m1", TERMS), BELOW_POOL | {"m1": "DELETE"}),
    (create_health_monitor(a_monitor("h2", pool_id="p2"), TERMS), UPDATE | {"p2": "UPDATE", "h2": "CREATE"}),
    (update_health_monitor("h1", renamed, TERMS), BELOW_POOL | {"h1": "UPDATE"}),
    (delete_health_monitor("h1", TERMS), BELOW_POOL | {"h1": "DELETE"}),
    (set_members("p1", [], additive_only=False, terms=TERMS), BELOW_POOL | {"m1": "DELETE", "m2": "DELETE"}),
    (
        set_members(
            "p1",
            [MemberWish(fresh=one, change=renamed) for one in (a_member("x", 1), a_member("m3", 3))],
            additive_only=False, terms=TERMS,
        ),
        BELOW_POOL | {"m1": "UPDATE", "m3": "CREATE", "m2": "DELETE"},
    ),
    (
        set_members("p1", [MemberWish(fresh=a_member("x", 1), change=renamed)], additive_only=True, terms=TERMS),
        BELOW_POOL | {"m1": "UPDATE"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("decide", "wanted"), EDITS)
def test_what_an_edit_touches(decide: Decide, wanted: dict[str, str]) -> None:
    assert states(TREE, decide(TREE)) == wanted


@given(st.lists(st.sampled_from(range(len(EDITS))), max_size=12))
def test_any_sequence_keeps_the_tree_sound(numbers: list[int]) -> None:
    tree = TREE
    for number in numbers:
        before = tree
        try:
            tree = EDITS[number][0](tree)
        except Refused:
            continue
        assert tree == before or tree.load_balancer.generation == before.load_balancer.generation + 1
        for name in ROWS:
            old, now = getattr(before, name), getattr(tree, name)
            assert [row.id for row in now][: len(old)] == [row.id for row in old]
            for row in now:
                assert row.deleting == (row.provisioning_status == ProvisioningStatus.PENDING_DELETE)
        used = {listener.default_pool_id for listener in tree.listeners} - {None}
        assert used <= {pool.id for pool in tree.pools if not pool.deleting}
        places = [(one.pool_id, one.address, one.protocol_port) for one in tree.members if not one.deleting]
        assert len(set(places)) == len(places)


def refuse(decide: Decide, tree: Tree = TREE) -> tuple[Refusal, str]:
    with pytest.raises(Refused) as caught:
        decide(tree)
    return caught.value.kind, caught.value.sentence


DELETED = delete_load_balancer(cascade=True, terms=TERMS)(TREE)


@pytest.mark.parametrize("decide", [edit for number, (edit, _) in enumerate(EDITS) if number > 1])
def test_nothing_is_edited_below_a_load_balancer_in_deletion(decide: Decide) -> None:
    assert refuse(decide, DELETED) == (Refusal.CONFLICT, "Load Balancer lb is immutable and cannot be updated.")


def test_a_load_balancer_in_deletion() -> None:
    wanted = (Refusal.CONFLICT, "Invalid state PENDING_DELETE of loadbalancer resource lb")
    assert refuse(EDITS[0][0], DELETED) == wanted
    assert EDITS[1][0](DELETED) is DELETED


@pytest.mark.parametrize(
    ("delete", "update", "word"),
    [
        (delete_listener("l1", TERMS), update_listener("l1", renamed, TERMS), "Listener l1"),
        (delete_pool("p1", TERMS), update_pool("p1", renamed, TERMS), "Pool p1"),
        (delete_member("m1", TERMS), update_member("m1", renamed, TERMS), "Member m1"),
        (delete_health_monitor("h1", TERMS), update_health_monitor("h1", renamed, TERMS), "Health Monitor h1"),
    ],
)
def test_an_object_in_deletion(delete: Decide, update: Decide, word: str) -> None:
    deleted = delete(TREE)
    assert delete(deleted) is deleted
    assert refuse(update, deleted) == (Refusal.CONFLICT, f"{word} is immutable and cannot be updated.")


def test_below_a_pool_in_deletion() -> None:
    deleted = delete_pool("p1", TERMS)(TREE)
    immutable = (Refusal.CONFLICT, "Pool p1 is immutable and cannot be updated.")
    assert refuse(create_member(a_member("m3", 3), TERMS), deleted) == immutable
    assert refuse(update_member("m1", renamed, TERMS), deleted) == immutable
    assert delete_member("m1", TERMS)(deleted) is deleted
    assert refuse(update_listener("l1", lambda row: msgspec.structs.replace(row, default_pool_id="p9"), TERMS)) == (
        Refusal.NOT_FOUND, "Pool p9 not found.",
    )  # fmt: skip


@pytest.mark.parametrize(("decide", "_wanted"), EDITS)
def test_strict_terms(decide: Decide, _wanted: dict[str, str]) -> None:
    busy = update_load_balancer(renamed, TERMS)(TREE)
    assert states(busy, decide(busy))
    kind, sentence = refuse(create_member(a_member("m9", 9), STRICT), busy)
    assert (kind, sentence) == (Refusal.CONFLICT, "Load Balancer lb is immutable and cannot be updated.")


def test_strict_terms_look_at_the_pool_too() -> None:
    pools = (msgspec.structs.replace(TREE.pools[0], provisioning_status=ProvisioningStatus.ERROR), TREE.pools[1])
    failed = msgspec.structs.replace(TREE, pools=pools)
    assert refuse(create_member(a_member("m3", 3), STRICT), failed) == (
        Refusal.CONFLICT, "Pool p1 is immutable and cannot be updated.",
    )  # fmt: skip
    assert create_member(a_member("m3", 3), TERMS)(failed).pools[0].provisioning_status == "PENDING_UPDATE"


@pytest.mark.parametrize("status", ProvisioningStatus)
def test_strict_deletion_of_a_load_balancer(status: ProvisioningStatus) -> None:
    tree = Tree(load_balancer=msgspec.structs.replace(BALANCER, provisioning_status=status))
    if status in ("ACTIVE", "ERROR"):
        assert delete_load_balancer(cascade=False, terms=STRICT)(tree).load_balancer.deleting
    else:
        assert refuse(delete_load_balancer(cascade=False, terms=STRICT), tree)[0] is Refusal.CONFLICT


def test_children_hold_a_load_balancer() -> None:
    assert refuse(delete_load_balancer(cascade=False, terms=TERMS)) == (
        Refusal.INVALID, "Validation failure: Cannot delete Load Balancer lb - it has children",
    )  # fmt: skip
    tree = TREE
    for decide in (delete_listener("l1", TERMS), delete_listener("l2", TERMS), delete_pool("p1", TERMS)):
        tree = decide(tree)
        assert refuse(delete_load_balancer(cascade=False, terms=TERMS), tree)[0] is Refusal.INVALID
    tree = delete_load_balancer(cascade=False, terms=TERMS)(delete_pool("p2", TERMS)(tree))
    assert tree.load_balancer.deleting


def test_what_was_never_applied_stays_to_be_created() -> None:
    fresh = create_member(a_member("m3", 3), TERMS)(TREE)
    changed = update_member("m3", renamed, TERMS)(fresh)
    assert (changed.members[2].name, changed.members[2].provisioning_status) == ("new", "PENDING_CREATE")
    deleted = delete_member("m3", TERMS)(changed)
    assert deleted.members[2].provisioning_status == "PENDING_DELETE"


def test_first_status_of_members() -> None:
    assert create_member(a_member("m3", 3), TERMS)(TREE).members[2].operating_status == OperatingStatus.OFFLINE
    bare = create_member(a_member("m3", 3, pool_id="p2"), TERMS)(TREE)
    assert bare.members[2].operating_status == OperatingStatus.NO_MONITOR


def test_a_planted_tree_is_new_throughout() -> None:
    decisions = [
        create_pool(a_pool(), None, TERMS),
        create_health_monitor(a_monitor(), TERMS),
        set_members("p1", [MemberWish(fresh=a_member(), change=renamed)], additive_only=True, terms=TERMS),
        create_listener(a_listener(default_pool_id="p1"), TERMS),
    ]
    tree = plant_tree(BALANCER, decisions)
    rows: list[Resource] = [tree.load_balancer, *tree.listeners, *tree.pools, *tree.members, *tree.health_monitors]
    assert len(rows) == 5
    for row in rows:
        assert (row.provisioning_status, row.changed_at_generation, row.updated_at) == ("PENDING_CREATE", 1, None)
    assert tree.load_balancer.generation == 1


def test_a_failover_names_what_is_to_be_replaced_and_forgets_what_is_gone():
    active = msgspec.structs.replace(BALANCER, provisioning_status=ProvisioningStatus.ACTIVE)
    tree = Tree(load_balancer=active, listeners=(a_listener(),))
    tree = fail_over_load_balancer(["a", "b"], TERMS)(tree)
    assert tree.load_balancer.amphorae_to_replace == ("a", "b")
    assert tree.load_balancer.provisioning_status == ProvisioningStatus.PENDING_UPDATE
    assert tree.listeners == (a_listener(),)
    tree = fail_over_amphora("c", ["b", "c"], TERMS)(tree)
    assert fail_over_amphora("c", ["b", "c"], TERMS)(tree).load_balancer.amphorae_to_replace == ("b", "c")
    assert tree.load_balancer.generation == 9


def test_who_may_be_failed_over():
    failed = msgspec.structs.replace(BALANCER, provisioning_status=ProvisioningStatus.ERROR)
    one, every = fail_over_amphora("a", ["a"], STRICT), fail_over_load_balancer(["a"], STRICT)
    assert every(Tree(load_balancer=failed)).load_balancer.generation == 8
    with pytest.raises(Refused, match="is immutable"):
        one(Tree(load_balancer=failed))
    deleting = Tree(load_balancer=msgspec.structs.replace(BALANCER, deleting=True))
    for decide in (every, fail_over_load_balancer(["a"], TERMS)):
        with pytest.raises(Refused, match="Invalid state PENDING_DELETE"):
            decide(deleting)
    with pytest.raises(Refused, match="is immutable"):
        fail_over_amphora("a", ["a"], TERMS)(deleting)
