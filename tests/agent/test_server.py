"""The agent asked as Statera asks it: REST over mutual TLS, with the real driver and the real authority."""

import asyncio
import contextlib
import datetime as dt
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from statera.agent import process
from statera.agent.folders import HostFolders
from statera.agent.runtime import ANSWER_WITHIN_S
from statera.agent.server import run_agent
from statera.base.credentials import LiveContext, make_client_context
from statera.base.errors import Lasting, LostClaim, Transient
from statera.base.ids import new_id
from statera.base.secret import Secret
from statera.base.settings import HostSettings
from statera.cli.ports import choose_port
from statera.drivers.compute_local import LocalCompute
from statera.drivers.pki_local import LocalAuthority
from statera.model.document import Document, TextPart
from statera.model.heartbeat import decode_heartbeat
from tests.agent.ground import HEARTBEAT_KEY, Ground, eventually

pytestmark = pytest.mark.root
KEY = Secret(HEARTBEAT_KEY)


class Served:
    """A running agent, what it sends heartbeats to, and the driver that asks it."""

    def __init__(self, ground: Ground) -> None:
        self.authority = LocalAuthority(ground.folder / "pki")
        self.authority.ensure(["local", "other"], dt.datetime.now(dt.UTC))
        self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind(("127.0.0.1", 0))
        self.receiver.setblocking(False)
        self.port = choose_port(0, socket.SOCK_STREAM)
        self.settings = ground.make_settings(port=self.port, heartbeat_interval_s=0.2)
        self.compute = self.make_compute("local")

    def make_compute(self, name: str, *, port: int | None = None) -> LocalCompute:
        trust = LiveContext(self.authority.find_controller(), make_client_context)
        hosts = [HostSettings(name=name, url=f"https://127.0.0.1:{port or self.port}")]
        return LocalCompute(hosts, trust, 10.0)


@pytest_asyncio.fixture
async def served(ground: Ground) -> AsyncIterator[Served]:
    made = Served(ground)
    files = made.authority.find_agent("local")
    stop = asyncio.Event()
    target = f"127.0.0.1:{made.receiver.getsockname()[1]}"
    running = asyncio.create_task(run_agent(made.settings, files, (target,), stop))

    async def answers() -> bool:
        return (await made.compute.observe_hosts())[0].reachable

    try:
        await eventually(answers, "The agent")
        yield made
    finally:
        await made.compute.close()
        stop.set()
        await running
        made.receiver.close()


async def test_an_amphora_is_made_shown_configured_and_removed(served: Served, ground: Ground) -> None:
    compute = served.compute
    (host,) = await compute.observe_hosts()
    assert host.amphora_count == 0
    assert host.engine_versions["haproxy"].startswith("2.")
    assert await compute.observe_amphora("local", ground.amphora_id) is None
    await compute.ensure_amphora("local", ground.sandbox(), epoch=1, heartbeat_key=KEY)
    document = ground.document([8080])
    applied = await compute.apply_configuration("local", ground.amphora_id, ground.configuration(document))
    assert applied.means == "reload"
    seen = await compute.observe_amphora("local", ground.amphora_id)
    assert seen is not None
    assert seen.configuration_digest == document.digest()
    assert await compute.observe_amphorae("local") == (seen,)
    metrics = await compute.observe_metrics("local", ground.amphora_id)
    assert metrics is not None
    assert [one.id for one in metrics.listeners] == [ground.listener_id]
    await compute.remove_amphora("local", ground.amphora_id, epoch=1)
    assert await compute.observe_amphorae("local") == ()


async def test_faults_come_back_as_they_were(served: Served, ground: Ground) -> None:
    compute = served.compute
    with pytest.raises(Transient, match="no sandbox"):
        await compute.apply_configuration("local", ground.amphora_id, ground.configuration(None))
    await compute.ensure_amphora("local", ground.sandbox(), epoch=3, heartbeat_key=KEY)
    bad = Document(parts=(TextPart(text="bogus\n"),))
    with pytest.raises(Lasting, match="bogus") as told:
        await compute.apply_configuration("local", ground.amphora_id, ground.configuration(bad, 1, 3))
    assert told.value.reason.slug == "configuration-rejected"
    with pytest.raises(LostClaim):
        await compute.ensure_amphora("local", ground.sandbox(), epoch=2, heartbeat_key=KEY)


async def test_heartbeats_are_signed_and_tell_the_generation(served: Served, ground: Ground) -> None:
    await served.compute.ensure_amphora("local", ground.sandbox(), epoch=1, heartbeat_key=KEY)
    await served.compute.apply_configuration(
        "local", ground.amphora_id, ground.configuration(ground.document([8080]), 7, 1)
    )

    async def has_told() -> object:
        with contextlib.suppress(BlockingIOError):
            datagram = served.receiver.recv(65_536)
            now = dt.datetime.now(dt.UTC).timestamp()
            heartbeat = decode_heartbeat(datagram, {ground.amphora_id: KEY}.get, now, 5.0)
            return heartbeat.generation == 7 and heartbeat.haproxy_running and heartbeat.listeners
        return None

    await eventually(has_told, "A heartbeat of generation 7")


async def test_a_haproxy_that_hangs_silences_only_itself(served: Served, ground: Ground) -> None:
    other_id = new_id()
    await served.compute.ensure_amphora("local", ground.sandbox(), epoch=1, heartbeat_key=KEY)
    await served.compute.apply_configuration("local", ground.amphora_id, ground.configuration(ground.document([8080])))
    other = ground.sandbox(other_id, mac_address="02:00:00:00:0a:02", addresses=(), vips=(), gateways=())
    await served.compute.ensure_amphora("local", other, epoch=1, heartbeat_key=KEY)
    master = process.find_master(HostFolders(served.settings).of(ground.amphora_id).pid, ground.amphora_id)
    for pid in map(int, Path(f"/proc/{master}/task/{master}/children").read_text().split()):
        os.kill(pid, signal.SIGSTOP)
    # From when the hung one is asked until it has not answered in time, the other one is heard all the while.
    heard = 0
    deadline = time.monotonic() + ANSWER_WITHIN_S
    while heard < 8 and time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            datagram = served.receiver.recv(65_536)
            now = dt.datetime.now(dt.UTC).timestamp()
            heard += decode_heartbeat(datagram, lambda _: KEY, now, 5.0).amphora_id == other_id
        await asyncio.sleep(0.01)
    assert heard == 8


async def test_nobody_without_a_client_certificate_is_answered(served: Served) -> None:
    authority = served.authority.find_agent("other")
    plain = ssl.create_default_context(cafile=str(authority.authority))
    plain.check_hostname = False
    with_agent = ssl.create_default_context(cafile=str(authority.authority))
    with_agent.check_hostname = False
    # A certificate for servers does not make a client: an agent cannot speak to another one.
    with_agent.load_cert_chain(authority.certificate, authority.key)
    for context in (plain, with_agent):
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            with pytest.raises(httpx.TransportError):
                await client.get(f"https://127.0.0.1:{served.port}/v1/host")


async def test_a_host_that_is_another_or_not_there_says_why(served: Served) -> None:
    other = served.make_compute("other")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        silent = served.make_compute("local", port=probe.getsockname()[1])
        try:
            (host,) = await other.observe_hosts()
            assert not host.reachable
            assert host.reason is not None
            assert "not trusted" in host.reason.sentence
            (host,) = await silent.observe_hosts()
            assert not host.reachable
            assert host.reason is not None
            assert host.reason.slug == "agent-unreachable"
            with pytest.raises(Transient):
                await silent.observe_amphora("local", new_id())
        finally:
            await other.close()
            await silent.close()
