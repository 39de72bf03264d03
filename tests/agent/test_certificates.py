"""Statera's own certificates change while everything runs: a real agent, a real client, lifetimes of seconds."""

import asyncio
import contextlib
import datetime as dt
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509

from statera.agent.own_certificate import OwnCertificate
from statera.agent.server import run_agent
from statera.base.clock import SystemClock
from statera.base.credentials import Credentials, LiveContext, make_client_context
from statera.base.errors import Lasting, Transient
from statera.base.settings import HostSettings
from statera.cli.ports import choose_port
from statera.control.own_certificates import CertificateKeeper, observe_ends
from statera.drivers.compute_local import LocalCompute
from statera.drivers.pki_local import LocalAuthority
from statera.model.own_certificates import CertificateEnd, CertificateGrant
from tests.agent.ground import Ground, eventually

pytestmark = pytest.mark.root
LIFETIME_S, AUTHORITY_LIFETIME_S = 6.0, 15.0
WITHIN_S = 40.0


class Drill:
    """A controller with the authority, and a host elsewhere: a folder of its own with its first certificate."""

    def __init__(self, ground: Ground, *, lifetime_s: float, authority_lifetime_s: float) -> None:
        self.ours = ground.folder / "controller-pki"
        self.authority = LocalAuthority(self.ours, lifetime_s=lifetime_s, authority_lifetime_s=authority_lifetime_s)
        self.authority.ensure(["local"], dt.datetime.now(dt.UTC))
        self.theirs = copy_for_host(self.authority, ground.folder / "agent-pki")
        self.port = choose_port(0, socket.SOCK_STREAM)
        self.settings = ground.make_settings(port=self.port)
        self.lifetime_s = lifetime_s
        self.calls = 0
        self.failures: list[str] = []

    def connect(self) -> LocalCompute:
        trust = LiveContext(self.authority.find_controller(), make_client_context)
        return LocalCompute([HostSettings(name="local", url=f"https://127.0.0.1:{self.port}")], trust, 10.0)

    def make_keeper(self, compute: LocalCompute) -> CertificateKeeper:
        lock = self.ours / "keeper.lock"
        return CertificateKeeper(self.authority, compute, ["local"], SystemClock(), lock, self.lifetime_s)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[LocalCompute]:
        """Run the agent."""
        stop, compute = asyncio.Event(), self.connect()
        running = asyncio.create_task(run_agent(self.settings, self.theirs, (), stop))
        try:

            async def answers() -> bool:
                return (await compute.observe_hosts())[0].reachable

            await eventually(answers, "The agent")
            yield compute
        finally:
            await compute.close()
            stop.set()
            await running

    async def call_again_and_again(self, compute: LocalCompute | None) -> None:
        """Ask for the amphorae without a pause; None: over a new connection each time."""
        while True:
            asked = compute or self.connect()
            try:
                await asked.observe_amphorae("local")
            except (Transient, Lasting) as error:
                self.failures.append(error.sentence)
            finally:
                if asked is not compute:
                    await asked.close()
            self.calls += 1
            await asyncio.sleep(0.02)


def copy_for_host(authority: LocalAuthority, folder: Path) -> Credentials:
    folder.mkdir()
    first, given = authority.find_agent("local"), {}
    for name in ("authority", "certificate", "key"):
        path = getattr(first, name)
        given[name] = Path(shutil.copy(path, folder / path.name))
    return Credentials(**given)


def read(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


async def test_certificates_and_the_authority_change_and_no_call_fails(ground: Ground) -> None:
    drill = Drill(ground, lifetime_s=LIFETIME_S, authority_lifetime_s=AUTHORITY_LIFETIME_S)
    (first,) = read(drill.theirs.authority)
    first_key, shown, most_trusted = drill.theirs.key.read_bytes(), set(), 1
    async with drill.running() as compute:
        stop = asyncio.Event()
        work = [asyncio.create_task(drill.make_keeper(compute).run(stop)) for _ in range(2)]
        calls = [asyncio.create_task(drill.call_again_and_again(one)) for one in (compute, None)]

        async def is_over() -> bool:
            nonlocal most_trusted
            trusted = read(drill.theirs.authority)
            most_trusted = max(most_trusted, len(trusted))
            shown.add(read(drill.theirs.certificate)[0].serial_number)
            return first not in trusted and len(shown) >= 4

        try:
            await eventually(is_over, "The first authority has gone", within_s=WITHIN_S)
        finally:
            stop.set()
            for task in calls:
                task.cancel()
            await asyncio.wait([*work, *calls])
        assert drill.failures == []
        assert drill.calls > 100
        ends = await observe_ends(drill.authority, compute, ["local"])
    assert most_trusted == 2
    assert {one.kind for one in ends} == {"authority", "controller", "agent"}
    now = dt.datetime.now(dt.UTC)
    assert all(isinstance(one, CertificateEnd) and one.end > now for one in ends)
    (second,) = read(drill.ours / "ca.pem")
    read(drill.theirs.certificate)[0].verify_directly_issued_by(second)
    # The host's key is its own: the controller never had it.
    key = drill.theirs.key.read_bytes()
    assert key != first_key
    assert all(path.read_bytes() != key for path in drill.ours.iterdir())


async def test_a_host_refuses_what_would_cut_it_off(ground: Ground) -> None:
    drill = Drill(ground, lifetime_s=3600.0, authority_lifetime_s=7200.0)
    stranger = LocalAuthority(ground.folder / "stranger")
    stranger.ensure([], dt.datetime.now(dt.UTC))
    before = drill.theirs.stamp()
    own = OwnCertificate(drill.theirs, "local")
    wanted = own.make_request().request
    now = dt.datetime.now(dt.UTC)
    with pytest.raises(Lasting, match="No authority"):
        own.install(CertificateGrant(authorities=stranger.load_bundle()))
    with pytest.raises(Lasting, match="cannot be read"):
        own.install(CertificateGrant(authorities="nothing"))
    ours, forged = drill.authority.load_bundle(), stranger.sign_host("local", wanted, now)
    with pytest.raises(Lasting, match="No authority"):
        own.install(CertificateGrant(authorities=ours, certificate=forged))
    for_clients = drill.authority.find_controller().certificate.read_text()
    with pytest.raises(Lasting, match="not one for servers"):
        own.install(CertificateGrant(authorities=ours, certificate=for_clients))
    restarted = OwnCertificate(drill.theirs, "local")
    certificate = drill.authority.sign_host("local", wanted, now)
    with pytest.raises(Transient, match="not the key"):
        restarted.install(CertificateGrant(authorities=ours, certificate=certificate))
    assert drill.theirs.stamp() == before
    own.install(CertificateGrant(authorities=ours, certificate=certificate))
    assert drill.theirs.certificate.read_text() == certificate
