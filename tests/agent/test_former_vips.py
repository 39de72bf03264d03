"""VIPs that a turn from or to sharing has left on the loopback interface, and that are others when it is ended."""

import asyncio

import msgspec
import pytest

from statera.agent.addresses import list_addresses
from statera.agent.handover import put_on_loopback
from statera.agent.namespace import entered, has_vips
from statera.model.spec import SandboxSpec
from tests.agent.ground import Ground
from tests.agent.pair import Pair

pytestmark = [pytest.mark.root]

BARE = {"127.0.0.1", "::1"}
FORMER = ("10.77.0.9", "fd77::9")


def with_vips(spec: SandboxSpec, vips: tuple[str, ...]) -> SandboxSpec:
    (interface,) = spec.interfaces
    return msgspec.structs.replace(spec, interfaces=(msgspec.structs.replace(interface, vips=vips),))


def list_loopback(spec: SandboxSpec) -> set[str]:
    with entered(spec.amphora_id):
        return list_addresses("lo")


@pytest.mark.parametrize("shares", [False, True])
async def test_a_turn_that_was_cut_off_leaves_no_vips_that_are_others_by_now(ground: Ground, shares: bool):
    """To answer for them would take packets from whoever has them next."""
    former, heir = ground.make_host(), ground.make_host()
    await former.adopt()
    one = Pair(ground, former)
    sharing = msgspec.structs.replace(one.spec(0), has_lifeline=False)
    wanted = sharing if shares else msgspec.structs.replace(sharing, vrrp=None)
    await one.ensure(msgspec.structs.replace(sharing, vrrp=None))
    former.forget_processes()
    await asyncio.to_thread(put_on_loopback, with_vips(wanted, FORMER))
    await heir.adopt()
    assert list_loopback(wanted) == BARE, "an agent that starts looks for them already"
    await asyncio.to_thread(put_on_loopback, with_vips(wanted, FORMER))
    one.host = heir
    await one.ensure(wanted)
    assert list_loopback(wanted) == BARE
    assert has_vips(wanted)


async def test_vips_that_a_turn_has_left_serve_until_it_is_ended(ground: Ground):
    former, heir = ground.make_host(), ground.make_host()
    await former.adopt()
    one = Pair(ground, former)
    alone = msgspec.structs.replace(one.spec(0), vrrp=None, has_lifeline=True)
    await one.ensure(alone)
    former.forget_processes()
    await asyncio.to_thread(put_on_loopback, alone)
    await heir.adopt()
    assert list_loopback(alone) == BARE | {ground.vip, ground.vip6}
