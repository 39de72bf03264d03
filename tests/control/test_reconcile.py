"""Passes, one at a time: what is wanted becomes true, whatever stands in the way shows and goes away again."""

import asyncio
import gc
import random

import msgspec
import pytest
import sqlalchemy as sa

from statera.base.errors import Lasting, LostClaim, Refused, Transient
from statera.drivers.fakes import FakeCompute
from statera.model.enums import Algorithm, AmphoraStatus, ProvisioningStatus
from statera.model.tree import Tree
from statera.store.claims import release_claim
from statera.store.engine import Store
from tests.control.room import QUICK, Room, is_active, reach, statuses
from tests.db.trees import edit_add, edit_delete, edit_rename, make_load_balancer, make_member, make_tree

METHODS = ("observe_hosts", "ensure_amphora", "apply_configuration")
"""Calls in which a pass may be interrupted while it builds."""


async def build(room: Room, tree: Tree | None = None) -> Tree:
    """Return a load balancer that is built and settled."""
    made = await room.create(tree)
    assert not await room.run_pass()
    shown = await room.show(made)
    assert is_active(shown)
    return shown


async def test_a_new_load_balancer_is_built_and_settles(room: Room) -> None:
    tree = await build(room)
    assert tree.load_balancer.observed_generation == 1
    [amphora] = await room.amphorae(tree)
    assert (amphora.host, amphora.status) == ("one", AmphoraStatus.ALLOCATED)
    sandbox = room.compute.hosts["one"].sandboxes[amphora.id]
    assert sandbox.spec.interfaces[0].vips == (tree.load_balancer.vip.address,)
    assert sandbox.haproxy_running
    for id_ in (tree.listeners[0].id, tree.members[0].id, tree.members[1].id):
        assert id_ in sandbox.text
    sentences = [event.what for event in await room.history(tree)]
    assert sentences == [
        "created",
        f"Add amphora {amphora.id} on host one.",
        f"Allocate the ports of amphora {amphora.id}.",
        f"Build the sandbox of amphora {amphora.id} on host one.",
        f"Configure amphora {amphora.id} to generation 1. Reloaded: the text differs.",
        f"Amphora {amphora.id} serves.",
        "Settle generation 1.",
    ]


async def test_an_added_member_costs_few_calls_and_statements(room: Room) -> None:
    tree = await build(room)
    member = make_member(tree.pools[0], 7)
    await room.edit(tree, edit_add(member))
    room.compute.calls.clear()
    statements = watch_statements(room.store)
    assert not await room.run_pass()
    assert room.compute.calls == ["observe_amphora", "apply_configuration"]
    assert len(statements) == 3, "claim, snapshot, settle"
    [sandbox] = room.compute.list_sandboxes().values()
    assert member.id in sandbox.text
    assert is_active(await room.show(tree))


async def test_a_pass_that_is_given_up_while_it_looks_says_nothing_more(room: Room) -> None:
    tree = await build(room)
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    gate = room.compute.hold("observe_amphora")
    looking = asyncio.create_task(room.run_pass(tree))
    await reach(gate, looking)
    looking.cancel()
    await asyncio.wait({looking})
    assert looking.cancelled()
    # What nobody has asked for is told when it is thrown away.
    del looking
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


async def test_a_re_check_that_finds_all_well_leaves_no_trace(room: Room) -> None:
    tree = await build(room)
    before = await room.history(tree)
    for reconciler in (room.reconciler, room.make_reconciler()):
        room.reconciler = reconciler
        room.compute.calls.clear()
        await room.run_pass(tree)
        assert "apply_configuration" not in room.compute.calls
    assert await room.history(tree) == before
    assert await room.show(tree) == tree


async def test_a_worker_that_has_just_started_renders_for_the_hosts_own_engine(room: Room) -> None:
    room.compute.hosts["one"].engine_versions = {"haproxy": "2.4.22"}
    tree = await build(room)
    [sandbox] = room.compute.list_sandboxes().values()
    room.reconciler = room.make_reconciler()
    await room.edit(tree, edit_rename("other"))
    await room.run_pass()
    await room.run_pass(tree)
    assert sandbox.reloads == 1


async def test_what_the_hosts_haproxy_lacks_is_told_and_heals_with_another(room: Room) -> None:
    room.compute.hosts["one"].engine_versions = {"haproxy": "2.4.22"}
    plain = make_tree()
    hashed = msgspec.structs.replace(plain.pools[0], name="web", lb_algorithm=Algorithm.SOURCE_IP_PORT)
    tree = await room.create(msgspec.structs.replace(plain, pools=(hashed,)))
    await room.run_pass()
    shown = await room.show(tree)
    assert statuses(shown) == {ProvisioningStatus.ERROR}
    reason = shown.pools[0].reason
    assert reason is not None
    assert (reason.slug, reason.sentence) == (
        "feature-missing",
        "Pool web: the algorithm SOURCE_IP_PORT needs HAProxy 2.6 or newer; the host has 2.4.22.",
    )
    room.compute.hosts["one"].engine_versions = {"haproxy": "2.6.12"}
    room.reconciler = room.make_reconciler()
    await room.run_pass(tree)
    assert is_active(await room.show(tree))


async def test_what_has_never_served_moves_to_a_host_whose_engine_can(room: Room) -> None:
    room.compute = FakeCompute("one", "two")
    for host in room.compute.hosts.values():
        host.engine_versions = {"haproxy": "2.4.22"}
    room.reconciler = room.make_reconciler()
    plain = make_tree()
    hashed = msgspec.structs.replace(plain.pools[0], lb_algorithm=Algorithm.SOURCE_IP_PORT)
    tree = await room.create(msgspec.structs.replace(plain, pools=(hashed,)))
    await room.run_pass()
    [begun] = await room.amphorae(tree)
    other = next(name for name in room.compute.hosts if name != begun.host)
    room.compute.hosts[other].engine_versions = {"haproxy": "2.6.12"}
    room.reconciler = room.make_reconciler()
    await room.run_pass(tree)
    assert is_active(await room.show(tree))
    assert [row.host for row in await room.amphorae(tree)] == [other]
    assert list(room.compute.list_sandboxes()) == [row.id for row in await room.amphorae(tree)]
    # What serves stays, whatever becomes of its host's engine.
    room.compute.hosts[other].engine_versions = {"haproxy": "2.4.22"}
    room.compute.hosts[begun.host].engine_versions = {"haproxy": "2.6.12"}
    room.reconciler = room.make_reconciler()
    await room.run_pass(tree)
    assert [row.host for row in await room.amphorae(tree)] == [other]


async def test_without_a_listener_no_engine_runs(room: Room) -> None:
    tree = await build(room, Tree(load_balancer=make_load_balancer()))
    [sandbox] = room.compute.list_sandboxes().values()
    assert sandbox.configuration is not None
    assert sandbox.configuration.haproxy is None
    assert not sandbox.haproxy_running
    before = await room.history(tree)
    await room.run_pass(tree)
    assert await room.history(tree) == before


async def test_what_was_deleted_goes_and_the_rest_stays(room: Room) -> None:
    tree = await build(room)
    await room.edit(tree, edit_delete(tree.members[0]))
    await room.edit(tree, edit_delete(tree.health_monitors[0]))
    await room.run_pass()
    shown = await room.show(tree)
    assert [member.id for member in shown.members] == [tree.members[1].id]
    assert shown.health_monitors == ()
    assert is_active(shown)


async def test_a_member_of_another_network_brings_an_interface_and_takes_it_away(room: Room) -> None:
    tree = await build(room)
    back = room.networks[1].subnets[0]
    member = make_member(tree.pools[0], 9, subnet_id=back.id)
    await room.edit(tree, edit_add(member))
    await room.run_pass()
    [sandbox] = room.compute.list_sandboxes().values()
    assert [one.network_id for one in sandbox.spec.interfaces] == [network.id for network in room.networks]
    await room.edit(tree, edit_delete(member))
    await room.run_pass()
    assert [one.network_id for one in sandbox.spec.interfaces] == [room.networks[0].id]
    [amphora] = await room.amphorae(tree)
    assert [port.network_id for port in amphora.ports] == [room.networks[0].id]
    assert len(await room.network.observe_ports()) == 2


async def test_edits_during_a_pass_cost_one_more(room: Room) -> None:
    tree = await build(room)
    await room.edit(tree, edit_rename("first"))
    gate = room.compute.hold("apply_configuration")
    running = asyncio.create_task(room.run_pass())
    await reach(gate, running)
    members = [make_member(tree.pools[0], 10 + number) for number in range(20)]
    await asyncio.gather(*[room.edit(tree, edit_add(member)) for member in members])
    gate.open()
    assert await running, "more work waits"
    shown = await room.show(tree)
    assert shown.load_balancer.observed_generation == 2
    assert shown.load_balancer.provisioning_status == ProvisioningStatus.PENDING_UPDATE
    assert {member.provisioning_status for member in shown.members[2:]} == {ProvisioningStatus.PENDING_CREATE}
    assert not await room.run_pass()
    shown = await room.show(tree)
    assert is_active(shown)
    assert shown.load_balancer.observed_generation == 22


async def test_a_failure_shows_its_reason_then_error_then_heals(room: Room) -> None:
    tree = await build(room)
    await room.edit(tree, edit_add(make_member(tree.pools[0], 7)))
    trouble = Transient("agent-unreachable", "The agent of host one does not answer.")
    room.compute.fail_next("apply_configuration", trouble)
    await room.run_pass()
    shown = await room.show(tree)
    assert shown.load_balancer.provisioning_status == ProvisioningStatus.PENDING_UPDATE
    for row in (shown.load_balancer, shown.members[-1]):
        assert row.reason is not None
        assert (row.reason.slug, row.reason.generation) == ("agent-unreachable", 2)
        assert row.reason.since is not None
    since = shown.load_balancer.reason.since if shown.load_balancer.reason else None
    assert shown.listeners[0].reason is None
    # Many failures, few lines.
    for _ in range(5):
        room.compute.fail_next("apply_configuration", trouble)
        await room.run_pass(tree)
    room.clock.ahead_s += QUICK.error_after_s + 1
    room.compute.fail_next("apply_configuration", trouble)
    await room.run_pass(tree)
    shown = await room.show(tree)
    assert shown.load_balancer.provisioning_status == ProvisioningStatus.ERROR
    assert shown.members[-1].provisioning_status == ProvisioningStatus.ERROR
    assert shown.listeners[0].provisioning_status == ProvisioningStatus.ACTIVE
    assert shown.load_balancer.reason is not None
    assert shown.load_balancer.reason.since == since
    await room.run_pass(tree)
    shown = await room.show(tree)
    assert is_active(shown)
    assert shown.load_balancer.reason is None
    [amphora] = await room.amphorae(tree)
    assert [event.what for event in await room.history(tree)][-4:] == [
        "Not applied yet, it is tried again.",
        "Cannot be applied as it is.",
        f"Configure amphora {amphora.id} to generation 2. Reloaded: the text differs.",
        "Settle generation 2.",
    ]


async def test_a_rejected_configuration_is_an_error_at_once_and_the_old_one_serves(room: Room) -> None:
    tree = await build(room)
    bad = make_member(tree.pools[0], 7)
    room.compute.rejected_words = bad.id
    await room.edit(tree, edit_add(bad))
    await room.run_pass()
    shown = await room.show(tree)
    assert statuses(shown) == {ProvisioningStatus.ERROR, ProvisioningStatus.ACTIVE}
    assert shown.members[-1].provisioning_status == ProvisioningStatus.ERROR
    assert shown.members[-1].reason is not None
    assert "HAProxy rejects" in shown.members[-1].reason.sentence
    [sandbox] = room.compute.list_sandboxes().values()
    assert tree.members[0].id in sandbox.text
    assert bad.id not in sandbox.text
    await room.edit(tree, edit_delete(bad))
    await room.run_pass()
    assert is_active(await room.show(tree))


async def test_a_sandbox_that_is_lost_while_an_edit_is_rejected_serves_what_was_live_last(room: Room) -> None:
    tree = await build(room)
    bad = make_member(tree.pools[0], 7)
    room.compute.rejected_words = bad.id
    await room.edit(tree, edit_add(bad))
    await room.run_pass()
    room.compute.hosts["one"].sandboxes.clear()
    await room.run_pass(tree)
    [sandbox] = room.compute.list_sandboxes().values()
    assert tree.members[0].id in sandbox.text
    assert bad.id not in sandbox.text
    shown = await room.show(tree)
    assert shown.load_balancer.provisioning_status == ProvisioningStatus.ERROR
    assert shown.load_balancer.observed_generation == 1
    [amphora] = await room.amphorae(tree)
    assert f"Amphora {amphora.id} serves generation 1 meanwhile." in [one.what for one in await room.history(tree)]
    await room.edit(tree, edit_delete(bad))
    await room.run_pass()
    assert is_active(await room.show(tree))


async def test_without_a_host_it_waits_and_says_why(room: Room) -> None:
    room.compute.hosts["one"].reachable = False
    tree = await room.create()
    await room.run_pass()
    shown = await room.show(tree)
    assert statuses(shown) == {ProvisioningStatus.PENDING_CREATE}
    assert shown.load_balancer.reason is not None
    assert shown.load_balancer.reason.slug == "no-host-reachable"
    assert "The agent of host one does not answer." in shown.load_balancer.reason.sentence
    room.compute.hosts["one"].reachable = True
    room.reconciler = room.make_reconciler()
    await room.run_pass(tree)
    assert is_active(await room.show(tree))


async def test_without_room_it_waits_until_there_is_some(room: Room) -> None:
    room.compute.hosts["one"].amphora_limit = 1
    first = await build(room)
    second = await room.create()
    room.reconciler = room.make_reconciler()
    await room.run_pass()
    shown = await room.show(second)
    assert shown.load_balancer.reason is not None
    assert shown.load_balancer.reason.slug == "host-full"
    await room.delete(first)
    await room.run_until_gone(first)
    room.reconciler = room.make_reconciler()
    await room.run_pass(second)
    assert is_active(await room.show(second))


async def test_a_host_that_falls_silent_shows_and_what_it_serves_stays(room: Room) -> None:
    tree = await build(room)
    room.compute.hosts["one"].reachable = False
    await room.run_pass(tree)
    shown = await room.show(tree)
    assert is_active(shown), "nothing pending: it serves as before"
    assert shown.load_balancer.reason is not None
    assert shown.load_balancer.reason.slug == "agent-unreachable"
    assert len(room.compute.list_sandboxes()) == 1
    room.compute.hosts["one"].reachable = True
    await room.run_pass(tree)
    assert (await room.show(tree)).load_balancer.reason is None


async def test_a_sandbox_that_is_lost_is_built_again(room: Room) -> None:
    tree = await build(room)
    [amphora] = await room.amphorae(tree)
    room.compute.hosts["one"].sandboxes.clear()
    await room.run_pass(tree)
    assert list(room.compute.list_sandboxes()) == [amphora.id]
    assert room.compute.list_sandboxes()[amphora.id].haproxy_running
    assert is_active(await room.show(tree))


async def test_what_never_served_moves_to_another_host(room: Room) -> None:
    room.compute = FakeCompute("one", "two")
    room.reconciler = room.make_reconciler()
    tree = await room.create()
    room.compute.fail_next("ensure_amphora", Transient("agent-unreachable", "It went away."))
    await room.run_pass()
    room.compute.hosts["one"].reachable = False
    room.reconciler = room.make_reconciler()
    await room.run_pass(tree)
    shown = await room.show(tree)
    assert is_active(shown)
    assert list(room.compute.hosts["two"].sandboxes) != []
    # The one given up is removed when its host is back.
    room.compute.hosts["one"].reachable = True
    await room.run_pass(tree)
    assert [amphora.host for amphora in await room.amphorae(tree)] == ["two"]


async def test_a_full_address_range_shows_and_heals(store: Store) -> None:
    room = Room(store, allocation="10.9.0.10-10.9.0.12")
    first = await build(room)
    second = await room.create()
    await room.run_pass()
    shown = await room.show(second)
    assert statuses(shown) == {ProvisioningStatus.PENDING_CREATE}
    assert shown.load_balancer.reason is not None
    assert shown.load_balancer.reason.slug == "address-range-full"
    with pytest.raises(Refused):
        await room.create()
    await room.delete(first)
    await room.run_until_gone(first)
    await room.run_pass(second)
    assert is_active(await room.show(second))


@pytest.mark.parametrize("method", METHODS)
async def test_a_pass_that_is_cut_off_anywhere_is_carried_on(room: Room, method: str) -> None:
    tree = await room.create()
    await cut_off(room, method)
    await room.run_pass()
    assert is_active(await room.show(tree))
    assert len(room.compute.list_sandboxes()) == len(await room.amphorae(tree)) == 1
    assert len(await room.network.observe_ports()) == 2


@pytest.mark.parametrize("seed", range(4))
async def test_passes_that_are_cut_off_again_and_again_leave_nothing_behind(room: Room, seed: int) -> None:
    chance = random.Random(seed)
    tree = await room.create()
    for number in range(12):
        if number == 6:
            await room.delete(tree)
        if await room.load(tree) is None:
            break
        claim = await room.claim()
        running = asyncio.create_task(room.reconciler.run_pass(claim))
        for _ in range(chance.randrange(60)):
            await asyncio.wait({running}, timeout=0.0005)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await release_claim(room.store, claim)
    if await room.load(tree) is not None:
        await room.run_pass()
    await room.assert_nothing_left(tree)


@pytest.mark.parametrize("method", [*METHODS, "remove_amphora", ""])
async def test_a_delete_is_carried_out_at_any_time(room: Room, method: str) -> None:
    tree = await room.create()
    if method == "remove_amphora":
        await room.run_pass()
        await room.delete(tree)
        await cut_off(room, method)
    else:
        if method:
            await cut_off(room, method)
        await room.delete(tree)
    await room.run_pass()
    await room.assert_nothing_left(tree)
    assert (await room.history(tree))[-1].what == f"Delete load balancer {tree.load_balancer.id}."


async def test_a_delete_waits_for_the_host_that_has_the_sandbox(room: Room) -> None:
    tree = await build(room)
    room.compute.hosts["one"].reachable = False
    await room.delete(tree)
    await room.run_pass()
    shown = await room.show(tree)
    assert shown.load_balancer.provisioning_status == ProvisioningStatus.PENDING_DELETE
    assert shown.load_balancer.reason is not None
    room.clock.ahead_s += QUICK.error_after_s + 1
    await room.run_pass(tree)
    assert (await room.show(tree)).load_balancer.provisioning_status == ProvisioningStatus.ERROR
    room.compute.hosts["one"].reachable = True
    await room.run_pass(tree)
    await room.assert_nothing_left(tree)


async def test_a_configuration_that_cannot_be_had_does_not_keep_from_deleting(room: Room) -> None:
    tree = await room.create()
    room.compute.rejected_words = "frontend"
    await room.run_pass()
    assert ProvisioningStatus.ERROR in statuses(await room.show(tree))
    await room.delete(tree)
    await room.run_pass()
    await room.assert_nothing_left(tree)


@pytest.mark.parametrize("method", ["ensure_amphora", "apply_configuration"])
async def test_an_old_claim_writes_nothing(room: Room, method: str) -> None:
    tree = await room.create()
    gate = room.compute.hold(method)
    old = await room.claim()
    running = asyncio.create_task(room.reconciler.run_pass(old))
    await reach(gate, running)
    # Its lease runs out; another takes over and finishes.
    await release_claim(room.store, old)
    newer = await room.claim()
    await room.reconciler.run_pass(newer)
    settled, history = await room.show(tree), await room.history(tree)
    assert is_active(settled)
    live = {one: sandbox.configuration for one, sandbox in room.compute.list_sandboxes().items()}
    gate.open()
    with pytest.raises(LostClaim):
        await running
    with pytest.raises(LostClaim):
        await room.reconciler.run_pass(old)
    assert await room.show(tree) == settled
    assert await room.history(tree) == history
    assert {one: sandbox.configuration for one, sandbox in room.compute.list_sandboxes().items()} == live


async def test_agents_that_are_ahead_of_a_restored_database_are_caught_up_with(room: Room) -> None:
    tree = await build(room)
    [amphora] = await room.amphorae(tree)
    room.compute.hosts["one"].fences[amphora.id] = 1000
    await room.edit(tree, edit_rename("new"))
    assert await room.run_pass(), "once more, with a claim that agents accept"
    assert not await room.run_pass()
    assert is_active(await room.show(tree))
    assert room.compute.hosts["one"].fences[amphora.id] > 1000


async def test_an_edit_after_a_failure_is_tried_at_once(room: Room) -> None:
    tree = await build(room)
    await room.edit(tree, edit_rename("one"))
    gate = room.compute.hold("apply_configuration")
    room.compute.fail_next("apply_configuration", Lasting("configuration-rejected", "no"))
    running = asyncio.create_task(room.run_pass())
    await reach(gate, running)
    await room.edit(tree, edit_rename("two"))
    gate.open()
    assert await running, "the edit waits"
    assert not await room.run_pass()
    assert is_active(await room.show(tree))


async def test_a_text_that_cannot_be_rendered_is_an_error_with_the_field(room: Room) -> None:
    tree = await build(room)
    bad = make_member(tree.pools[0], 7, address="not an address")
    await room.edit(tree, edit_add(bad))
    await room.run_pass()
    shown = await room.show(tree)
    assert shown.members[-1].provisioning_status == ProvisioningStatus.ERROR
    assert shown.members[-1].reason is not None
    assert "address" in shown.members[-1].reason.sentence


async def cut_off(room: Room, method: str) -> None:
    """Let a worker die within a call of a method, and its lease run out."""
    gate = room.compute.hold(method)
    claim = await room.claim()
    running = asyncio.create_task(room.reconciler.run_pass(claim))
    await reach(gate, running)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    room.reconciler = room.make_reconciler()
    await release_claim(room.store, claim)


def watch_statements(store: Store) -> list[str]:
    """Return a list that grows by each statement from now on."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    sa.event.listen(store.engine.sync_engine, "before_cursor_execute", note)
    return seen
