"""A spare sandbox that becomes an amphora: what stands ready is taken as it is."""

import os
from pathlib import Path

import pytest

from statera.agent.host import AmphoraHost
from statera.agent.namespace import entered
from statera.base.errors import Lasting, LostClaim
from statera.model.document import Document, TextPart
from tests.agent.ground import Ground, fetch, web_server

pytestmark = pytest.mark.root


def read_index(ground: Ground) -> str:
    with entered(ground.amphora_id):
        lines = Path("/proc/thread-self/net/igmp").read_text(encoding="ascii").splitlines()
    return next(line.split()[0] for line in lines if line.split()[1] == "eth0")


async def test_the_link_of_a_spare_is_taken_as_it_is(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request(epoch=0, addresses=(), vips=(), gateways=()))
    spare = host.sandboxes[ground.amphora_id]
    assert spare.is_whole
    await spare.look_inside()
    assert spare.is_whole
    before = read_index(ground), os.stat(f"/run/netns/statera-{ground.amphora_id}").st_ino
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        assert await fetch(ground.vip) == str(port)
        assert await fetch(ground.vip6) == str(port)
    assert (read_index(ground), os.stat(f"/run/netns/statera-{ground.amphora_id}").st_ino) == before


async def test_the_link_of_a_spare_gives_way_to_another(host: AmphoraHost, ground: Ground) -> None:
    mac = "02:00:00:00:0a:77"
    await host.ensure(ground.request(epoch=0, addresses=(), vips=(), gateways=(), mac_address=mac))
    before = read_index(ground)
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        assert await fetch(ground.vip) == str(port)
    assert read_index(ground) != before


async def test_a_first_configuration_that_is_wrong_leaves_nothing(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request())
    wrong = Document(parts=(TextPart(text="global\n    nonsense here\n"),))
    with pytest.raises(Lasting) as told:
        await host.apply(ground.amphora_id, ground.configuration(wrong))
    assert told.value.reason.slug == "configuration-rejected"
    assert "nonsense" in told.value.sentence
    sandbox = host.sandboxes[ground.amphora_id]
    assert sandbox.engine.find_pid() is None
    assert not sandbox.folders.configuration.exists()
    with web_server() as port:
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        assert await fetch(ground.vip) == str(port)


async def test_a_spare_outlives_the_agent(ground: Ground) -> None:
    """Its epoch is the lowest there is: no removal is remembered for that."""
    first = ground.make_host()
    await first.adopt()
    await first.ensure(ground.request(epoch=0, addresses=(), vips=(), gateways=()))
    before = os.stat(f"/run/netns/statera-{ground.amphora_id}").st_ino
    again = ground.make_host()
    await again.adopt()
    assert again.observe() == first.observe()
    assert [one.id for one in again.observe()] == [ground.amphora_id]
    assert os.stat(f"/run/netns/statera-{ground.amphora_id}").st_ino == before


async def test_a_spare_that_was_collected_is_not_built_again(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request(epoch=0, addresses=(), vips=(), gateways=()))
    await host.remove(ground.amphora_id, 0)
    with pytest.raises(LostClaim):
        await host.ensure(ground.request(epoch=0, addresses=(), vips=(), gateways=()))
    assert ground.list_leftovers() == []
