"""Two sandboxes share the VIPs: keepalived moves them when one dies, and never leaves them in two places."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from functools import partial

import msgspec
import pytest
import pytest_asyncio

from statera.agent.addresses import list_addresses
from statera.agent.handover import give_up, put_on_loopback
from statera.agent.host import AmphoraHost
from statera.agent.intact import is_intact
from statera.agent.namespace import entered, has_vips, outside_name
from statera.agent.vrrp import MOST_SILENCES, Keepalived
from statera.base.errors import Transient
from statera.base.processes import list_family
from statera.model.spec import SandboxSpec
from tests.agent.ground import Ground, eventually, fetch, web_server
from tests.agent.pair import Pair

pytestmark = [pytest.mark.root]


@pytest_asyncio.fixture
async def pair(ground: Ground, host: AmphoraHost) -> AsyncIterator[Pair]:
    with web_server() as port:
        made = Pair(ground, host)
        await made.build(port)
        yield made


async def test_one_has_the_vips_and_answers_for_both_families(pair: Pair):
    await eventually(pair.has_one_master, "one master")
    assert await fetch(pair.ground.vip) == str(pair.port)
    assert await fetch(pair.ground.vip6) == str(pair.port)


async def test_a_cut_link_makes_two_and_its_healing_leaves_one(pair: Pair):
    """No split brain: while they cannot hear each other both serve whom they reach; afterwards one has the VIPs."""
    await eventually(pair.has_one_master, "one master")
    first, second = await pair.order()
    cut = outside_name(first, "eth0")
    subprocess.run(["ip", "link", "set", cut, "down"], check=True)

    # The one that was cut off sees its own link down, so that it may have given them up already.
    async def has_second() -> bool:
        return second in pair.masters()

    await eventually(has_second, "the VIPs at the other one")
    assert await fetch(pair.ground.vip) == str(pair.port)
    subprocess.run(["ip", "link", "set", cut, "up"], check=True)
    await eventually(pair.has_one_master, "one master again")
    await eventually(partial(pair.stays_one, 0.5), "one master that stays")
    await eventually(pair.answers, "answers for both families")


async def test_two_that_do_not_hear_each_other_agree_once_they_do(pair: Pair):
    """A partition of the network, not of a link: neither sees anything but silence."""
    await eventually(pair.has_one_master, "one master")
    for amphora_id in pair.ids:
        pair.block(amphora_id)

    async def are_two() -> bool:
        return len(pair.masters()) == 2

    await eventually(are_two, "both with the VIPs")
    for amphora_id in pair.ids:
        pair.unblock(amphora_id)
    await eventually(pair.has_one_master, "one master again")
    await eventually(partial(pair.stays_one, 0.5), "one master that stays")
    [holder] = pair.masters()
    assert holder == pair.ids[0], "the one with the higher priority keeps them"
    await eventually(pair.answers, "answers for both families")


async def test_a_dead_haproxy_gives_the_vips_up_and_does_not_take_them_back(pair: Pair):
    await eventually(pair.has_one_master, "one master")
    first, second = await pair.order()
    pid = pair.sandbox(first).engine.find_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    async def has_moved() -> bool:
        return pair.masters() == [second]

    await eventually(has_moved, "the VIPs at the other one")
    assert await fetch(pair.ground.vip) == str(pair.port)

    async def is_back() -> bool:
        return pair.sandbox(first).is_running

    await eventually(is_back, "the HAProxy that was killed")
    assert pair.masters() == [second]


async def test_one_that_is_alone_serves(pair: Pair):
    """While the other seat is empty there is nobody to speak to."""
    alone = pair.ids[0]
    await pair.host.remove(pair.ids[1], 1)
    await pair.share(alone, peers=())

    async def serves() -> bool:
        return pair.sandbox(alone).has_vips() is True and await pair.answers()

    await eventually(serves, "the VIPs at the one that is left")


async def test_a_change_of_peers_leaves_the_vips_where_they_are(pair: Pair):
    await eventually(pair.has_one_master, "one master")
    first, _ = await pair.order()
    pid = pair.sandbox(first).vrrp.find_pid()
    await pair.share(first, peers=(*pair.own(1 - pair.ids.index(first)), "10.99.99.99"))
    assert await pair.stays_one(1.0)
    assert pair.masters() == [first]
    assert pair.sandbox(first).vrrp.find_pid() == pid


async def test_a_single_one_begins_and_ends_to_share_and_answers_all_the_time(ground: Ground, host: AmphoraHost):
    with web_server() as port:
        one = Pair(ground, host)
        sharing, alone = turning(one)
        one.port = port
        await one.ensure(alone)
        await host.apply(one.ids[0], ground.configuration(ground.document([port])))
        await eventually(one.answers, "answers")
        for spec, runs in ((sharing, True), (alone, False)) * 2:
            changing = asyncio.create_task(one.ensure(spec))
            while not changing.done():
                assert await one.answers()
            await changing
            sandbox = one.sandbox(one.ids[0])
            assert has_vips(spec)
            assert (sandbox.vrrp.find_pid() is not None, sandbox.has_vips()) == (runs, runs or None)
            assert is_intact(spec)
            assert has_bare_loopback(one.ids[0])


def turning(one: Pair) -> tuple[SandboxSpec, SandboxSpec]:
    """Return the first one as it shares the VIPs with others, and as it has them alone."""
    sharing = msgspec.structs.replace(one.spec(0), has_lifeline=False)
    return sharing, msgspec.structs.replace(sharing, vrrp=None, has_lifeline=True)


def has_bare_loopback(amphora_id: str) -> bool:
    with entered(amphora_id):
        return list_addresses("lo") == {"127.0.0.1", "::1"}


async def check_ends_turn(heir: AmphoraHost, one: Pair, wanted: SandboxSpec) -> None:
    """The agent that comes next ends what was cut off."""
    await heir.adopt()
    one.host = heir
    await one.ensure(wanted)
    assert has_bare_loopback(one.ids[0])
    assert has_vips(wanted)


async def test_a_keepalived_that_is_late_leaves_no_vips_behind(
    ground: Ground, host: AmphoraHost, monkeypatch: pytest.MonkeyPatch
):
    one = Pair(ground, host)
    sharing, alone = turning(one)
    await one.ensure(alone)
    with monkeypatch.context() as patched:
        patched.setattr("statera.agent.turning.TAKEN_WITHIN_S", 0.0)
        with pytest.raises(Transient, match="has not taken its VIPs"):
            await one.ensure(sharing)
    await one.ensure(sharing)
    assert has_bare_loopback(one.ids[0])
    assert has_vips(sharing)


async def test_a_turn_to_sharing_that_was_cut_off_is_ended(ground: Ground):
    """The agent dies before it tells keepalived anything."""
    former, heir = ground.make_host(), ground.make_host()
    await former.adopt()
    one = Pair(ground, former)
    sharing, alone = turning(one)
    await one.ensure(alone)
    former.forget_processes()
    await asyncio.to_thread(put_on_loopback, alone)
    await asyncio.to_thread(give_up, alone)
    await check_ends_turn(heir, one, sharing)


async def test_a_turn_from_sharing_that_was_cut_off_is_ended(ground: Ground):
    """The agent dies when keepalived has ended, and taken the VIPs away."""
    former, heir = ground.make_host(), ground.make_host()
    await former.adopt()
    one = Pair(ground, former)
    sharing, alone = turning(one)
    await one.ensure(alone)
    await one.ensure(sharing)
    former.forget_processes()
    await asyncio.to_thread(put_on_loopback, sharing)
    await asyncio.to_thread(one.sandbox(one.ids[0]).vrrp.stop)
    await check_ends_turn(heir, one, alone)


async def test_who_stands_by_keeps_no_vips_that_a_turn_has_left(pair: Pair, monkeypatch: pytest.MonkeyPatch):
    """The other one has them, and would never let this one have them back."""
    await eventually(pair.has_one_master, "one master")
    first, second = await pair.order()
    standing_by = pair.spec(pair.ids.index(second))
    await asyncio.to_thread(put_on_loopback, standing_by)
    monkeypatch.setattr("statera.agent.turning.TAKEN_WITHIN_S", 0.1)
    await pair.ensure(standing_by)
    assert pair.masters() == [first]
    assert has_bare_loopback(second)


async def test_a_keepalived_that_hangs_with_the_vips_is_started_again_and_they_are_in_one_place(pair: Pair):
    await eventually(pair.has_one_master, "one master")
    first, second = await pair.order()
    hung = pair.sandbox(first).vrrp.find_pid()
    assert hung is not None
    for pid in list_family(hung):
        os.kill(pid, signal.SIGSTOP)

    async def has_moved() -> bool:
        return pair.masters() == [second]

    await eventually(has_moved, "the VIPs at the other one alone")
    assert pair.sandbox(first).vrrp.find_pid() not in (None, hung)
    assert await pair.stays_one(0.5)
    assert await pair.answers()


async def test_a_keepalived_that_ended_while_there_was_no_agent_is_started_by_the_next_one(ground: Ground):
    former, heir = ground.make_host(), ground.make_host()
    await former.adopt()
    # The last whose turn it is to be looked at without a reason.
    ground.amphora_id = f"{ground.amphora_id[:-6]}000000"
    one = Pair(ground, former)
    with web_server() as port:
        await one.ensure(one.spec(0))
        await former.apply(one.ids[0], ground.configuration(ground.document([port])))
        pid = one.sandbox(one.ids[0]).vrrp.find_pid()
        assert pid is not None
        former.forget_processes()
        for process in list_family(pid):
            os.kill(process, signal.SIGKILL)
        await heir.adopt()
        one.host = heir
        stop = asyncio.Event()
        watching = asyncio.create_task(heir.watch(stop))

        async def is_back() -> bool:
            return one.sandbox(one.ids[0]).vrrp.find_pid() is not None

        try:
            await eventually(is_back, "keepalived")
        finally:
            stop.set()
            await watching


@pytest.mark.parametrize("number", [0, 1], ids=["parent", "child"])
async def test_each_process_of_keepalived_is_asked_for_a_sign_of_life(ground: Ground, number: int):
    host = ground.make_host()
    await host.adopt()
    one = Pair(ground, host)
    await one.ensure(one.spec(0))
    keepalived = one.sandbox(one.ids[0]).vrrp
    pid = keepalived.find_pid()
    assert pid is not None
    await ask_often(keepalived)
    assert not keepalived.is_hung
    os.kill(list_family(pid)[number], signal.SIGSTOP)
    await ask_often(keepalived)
    assert keepalived.is_hung
    os.kill(list_family(pid)[number], signal.SIGCONT)

    async def has_answered() -> bool:
        keepalived.ask()
        return not keepalived.is_hung

    await eventually(has_answered, "a sign of life")
    assert keepalived.find_pid() == pid


async def ask_often(keepalived: Keepalived) -> None:
    for _ in range(MOST_SILENCES + 1):
        keepalived.ask()
        await asyncio.sleep(0.1)
