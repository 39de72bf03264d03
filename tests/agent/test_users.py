"""Each sandbox has a user of its own: what runs in one can reach nothing of another, whatever it tries."""

import asyncio
import hashlib
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from statera.agent import process
from statera.agent.contents import keep_contents
from statera.agent.host import AmphoraHost
from statera.agent.namespace import remove_namespace
from statera.agent.sandbox import Sandbox
from statera.agent.users import REGISTER, User, find_shared_user, holds_user, release_user
from statera.base.secret import Secret
from statera.model.document import Document
from tests.agent.ground import Ground, eventually, fetch, web_server
from tests.agent.pair import Pair
from tests.agent.specs import make_document, make_listener, make_pool
from tests.agent.test_datagrams import EchoServer, ask_once, echo_servers, udp_listener, udp_pool

pytestmark = pytest.mark.root
KEY = b"-----BEGIN PRIVATE KEY-----"
PYTHON = str(Path(sys.executable).resolve())
INTRUDER = Path(__file__).with_name("intruder.py").read_text()


def _users(amphora_id: str) -> dict[str, set[int]]:
    """Return the user ids, real and effective, of what runs in a sandbox, by program."""
    found: dict[str, set[int]] = {}
    for pid in process.list_inside(amphora_id):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        about = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        ids = {int(number) for name in ("Uid", "Gid") for number in about[name].split()}
        assert not about["Groups"].split()
        found.setdefault(about["Name"], set()).update(ids)
    return found


def _intrude(user: User, victim: Sandbox) -> list[str]:
    """Return what somebody gets of a sandbox who is this user."""
    folders = victim.folders
    pids = ",".join(map(str, process.list_inside(victim.id)))
    keys = (folders.run / "keys").resolve()
    words = ["setpriv", f"--reuid={user.user_id}", f"--regid={user.group_id}", "--clear-groups", "--bounding-set=-all"]
    words += ["--inh-caps=-all", PYTHON, "-I", "-S", "-c", INTRUDER, pids]
    words += map(str, (folders.run, folders.run / "live", folders.run / "live/stats", folders.keep, keys))
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=30, cwd="/")
    return done.stdout.splitlines()


def _both(ground: Ground, port: int, servers: list[EchoServer], client_ms: int = 5000) -> Document:
    """Return a document with HTTP and UDP; the second listener and pool borrow an id."""
    other = ground.load_balancer_id
    listeners = [
        make_listener(ground, timeout_client_ms=client_ms),
        udp_listener(ground, listener_id=other, pool_id=other),
    ]
    return make_document(ground, listeners, [make_pool(ground, [port]), udp_pool(ground, servers, pool_id=other)])


async def _ask_on(vip: str, answers: set[str]) -> None:
    """Ask without a pause, and note every answer that there was."""
    while True:
        answers.add(await fetch(vip))


async def test_who_takes_over_one_sandbox_reads_nothing_of_another(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port, echo_servers(1) as servers:
        pair = Pair(ground, host)
        await pair.build(port)
        await host.apply(ground.amphora_id, ground.configuration(_both(ground, port, servers), 2))
        await eventually(pair.has_one_master, "one master")
        victim, other = (pair.sandbox(one) for one in pair.ids)
        mine, theirs = victim.record.user_id, other.record.user_id
        assert mine != theirs
        assert min(mine, theirs) >= ground.settings.agent.first_user_id
        assert _users(victim.id) == {name: {mine} for name in ("haproxy", "nginx", "keepalived")}
        assert _users(other.id) == {name: {theirs} for name in ("haproxy", "keepalived")}
        keep_contents(victim.folders.run, {hashlib.sha256(KEY).hexdigest(): Secret(KEY)}, mine)

        # What a sandbox's own user gets shows that the intruder knows how to look.
        own = _intrude(User(mine, mine), victim)
        run = victim.folders.run
        key = (run / "keys").resolve() / hashlib.sha256(KEY).hexdigest()
        for path in (run / "haproxy.cfg", run / "nginx.conf", run / "live/stats", run / "live/master", key):
            assert f"read {path}" in own
        assert any(line.startswith("signal") for line in own)
        assert _find_written(own, run) == []
        for intruder in (User(theirs, theirs), find_shared_user(ground.settings.agent)):
            assert _intrude(intruder, victim) == []


def _find_written(told: list[str], run: Path) -> list[str]:
    """Return what its own user may write besides its folder of sockets."""
    live = f"write {run / 'live'}"
    return [line for line in told if line.startswith("write") and not line.startswith((live, "write /proc"))]


async def test_a_number_stays_over_restarts_and_is_free_after_the_removal(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(ground.document([8080])))
    sandbox = host.sandboxes[ground.amphora_id]
    number, pid, keep = sandbox.record.user_id, sandbox.engine.find_pid(), sandbox.folders.keep
    again = ground.make_host()
    await again.adopt()
    adopted = again.sandboxes[ground.amphora_id]
    assert (adopted.record.user_id, adopted.engine.find_pid(), adopted.engine.launch.user.user_id) == (
        number,
        pid,
        number,
    )
    assert holds_user(keep, number)
    again.forget_processes()
    await host.remove(ground.amphora_id, 1)
    assert not holds_user(keep, number)


async def _make_older(sandbox: Sandbox, document: Document) -> None:
    """Bring a sandbox to what a version has left in which all of them shared one user."""
    shared = find_shared_user(sandbox._agent)
    async with sandbox.lock:
        await process.end_all(sandbox.id)
        release_user(sandbox.folders.keep)
        sandbox.record = msgspec.structs.replace(sandbox.record, user_id=0)
        sandbox.folders.save(sandbox.record)
        sandbox.engine.launch = sandbox.datagrams.launch = msgspec.structs.replace(sandbox.engine.launch, user=shared)
        sandbox.folders.own(shared)
        sandbox.folders.run.chmod(0o755)
        streams = document.for_haproxy()
        assert streams is not None
        await sandbox.engine.start(streams)
        if document.datagrams is not None:
            await sandbox.datagrams.nginx.start()


async def test_an_older_sandbox_gets_its_user_with_its_next_reload_and_nobody_notices(ground: Ground) -> None:
    shared = find_shared_user(ground.settings.agent)
    with web_server() as port, echo_servers(1) as servers:
        before = ground.make_host()
        await before.adopt()
        await before.ensure(ground.request())
        both = _both(ground, port, servers)
        await before.apply(ground.amphora_id, ground.configuration(both))
        await _make_older(before.sandboxes[ground.amphora_id], both)
        before.forget_processes()

        host = ground.make_host()
        await host.adopt()
        sandbox = host.sandboxes[ground.amphora_id]
        both_ids = {shared.user_id, shared.group_id}
        assert _users(sandbox.id) == {"haproxy": both_ids, "nginx": both_ids}
        assert await fetch(ground.vip) == str(port)
        answers: set[str] = set()
        asking = asyncio.create_task(_ask_on(ground.vip, answers))
        await host.apply(ground.amphora_id, ground.configuration(both, 2))
        assert sandbox.record.user_id == 0, "nothing was reloaded"
        more = _both(ground, port, servers, client_ms=7000)
        applied = await host.apply(ground.amphora_id, ground.configuration(more, 3))
        assert applied.means == "reload"
        number = sandbox.record.user_id

        async def is_its_own() -> bool:
            return _users(sandbox.id) == {"haproxy": {number}, "nginx": {number}}

        await eventually(is_its_own, "the user of its own")
        asking.cancel()
        assert answers == {str(port)}
        assert await ask_once(ground.vip) == str(servers[0].port)
        assert _intrude(shared, sandbox) == []
        # A reload as ever is one as ever.
        pid = sandbox.engine.find_pid()
        await host.apply(ground.amphora_id, ground.configuration(both, 4))
        assert (sandbox.engine.find_pid(), await fetch(ground.vip)) == (pid, str(port))


async def test_an_agent_begins_while_a_user_id_is_not_to_be_had(ground: Ground) -> None:
    first = ground.make_host()
    await first.adopt()
    await first.ensure(ground.request())
    number = first.sandboxes[ground.amphora_id].record.user_id
    first.forget_processes()
    await asyncio.to_thread(remove_namespace, ground.amphora_id, ["eth0"])
    # Somebody else has the only one meanwhile.
    link = REGISTER / str(number)
    link.unlink()
    link.symlink_to(ground.folder)
    again = ground.make_host(ground.make_settings(first_user_id=number, user_ids=1))
    await again.adopt()
    (seen,) = again.observe()
    assert seen.reason is not None
    assert (seen.reason.slug, seen.sandbox_digest) == ("user-ids-used-up", "")
    link.unlink()
    await again.ensure(ground.request(2))
    assert [one.sandbox_digest for one in again.observe()] == [ground.sandbox().digest()]
