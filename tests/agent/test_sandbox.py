"""One amphora on a real host: real namespaces, real HAProxy, real requests."""

import asyncio
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from statera.agent import cgroups, namespace, process
from statera.agent.contents import remove_memory
from statera.agent.host import AmphoraHost
from statera.agent.sandbox import MOST_SILENCES
from statera.base.errors import Lasting, LostClaim, Transient
from statera.base.ids import new_id
from statera.model.document import Document, TextPart
from statera.model.enums import MonitorType
from statera.model.heartbeat import MemberState
from statera.model.network import Attachment
from tests.agent.ground import LIMITS, Ground, eventually, fetch, means, web_server

CAP_NET_RAW = 13

pytestmark = pytest.mark.root


async def _observed(host: AmphoraHost, ground: Ground):
    sandbox = host.find(ground.amphora_id)
    assert sandbox is not None
    return sandbox


async def test_traffic_flows_over_both_address_families(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        assert await fetch(ground.vip) == str(port)
        assert await fetch(ground.vip6) == str(port)
    seen = (await _observed(host, ground)).observe()
    assert seen.sandbox_digest == ground.sandbox().digest()
    assert seen.configuration_digest == ground.document([port]).digest()
    assert (seen.generation, seen.epoch, seen.haproxy_running, seen.reason) == (1, 1, True, None)


async def test_haproxy_has_no_privileges(host: AmphoraHost, ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATERA_DATABASE__URL", "postgresql://statera:precious@db/statera")
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(ground.document([8080])))
    pid = (await _observed(host, ground)).engine.find_pid()
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["Uid"].split()[0] != "0"
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    # Without it `ping` could not be run; nobody can gain it.
    assert int(status["CapBnd"], 16) == 1 << CAP_NET_RAW
    assert status["NoNewPrivs"] == "1"
    assert "precious" not in Path(f"/proc/{pid}/environ").read_text()
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"Max core file size +0 +0 ", limits)
    assert re.search(r"Max processes +4096 +4096 ", limits)
    assert os.readlink(f"/proc/{pid}/ns/ipc") != os.readlink("/proc/self/ns/ipc")
    # Where everybody may write, it sees an empty folder that is root's.
    seen = {place: os.stat(f"/proc/{pid}/root{place}") for place in ("/tmp", "/var/tmp", "/dev/shm")}
    run = str(ground.run_dir)
    assert [place for place, one in seen.items() if one.st_mode & 0o022 and not run.startswith(f"{place}/")] == []


async def test_members_change_without_a_reload(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as first, web_server() as second:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([first])))
        pid = (await _observed(host, ground)).engine.find_pid()
        applied = await host.apply(ground.amphora_id, ground.configuration(ground.document([first, second]), 2))
        assert means(applied) == "runtime"
        assert {await fetch(ground.vip) for _ in range(4)} == {str(first), str(second)}
        applied = await host.apply(ground.amphora_id, ground.configuration(ground.document([second]), 3))
        # The member in the first place has another port now: an address change and a removal, still at run time.
        assert means(applied) == "runtime"
        assert {await fetch(ground.vip) for _ in range(4)} == {str(second)}
        assert (await _observed(host, ground)).engine.find_pid() == pid
        applied = await host.apply(ground.amphora_id, ground.configuration(ground.document([second]), 4))
        assert means(applied) == "unchanged"


async def test_members_are_pinged(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(ground.document([8080], monitored=MonitorType.PING)))

    async def checks() -> list[tuple[MemberState, str]]:
        metrics = await host.measure(await _observed(host, ground))
        return [(member.state, member.check) for member in metrics.members]

    async def is_up() -> bool:
        return await checks() == [(MemberState.UP, "PROCOK")]

    await eventually(is_up, "A ping that is answered")


async def test_what_runs_is_what_the_file_says_after_a_restart(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as first, web_server() as second:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([first])))
        await host.apply(ground.amphora_id, ground.configuration(ground.document([first, second]), 2))
        sandbox = await _observed(host, ground)
        pid = sandbox.engine.find_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        async def is_back() -> bool:
            return sandbox.engine.find_pid() not in (None, pid) and await fetch(ground.vip) == str(first)

        await eventually(is_back, "HAProxy")
        assert {await fetch(ground.vip) for _ in range(4)} == {str(first), str(second)}


async def test_a_listener_change_reloads_and_keeps_connections_coming(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        stop = asyncio.Event()
        answers: list[str] = []

        async def keep_asking() -> None:
            while not stop.is_set():
                answers.append(await fetch(ground.vip))

        asking = asyncio.create_task(keep_asking())
        for generation in range(2, 6):
            document = ground.document([port], monitored=generation % 2 == 0)
            applied = await host.apply(ground.amphora_id, ground.configuration(document, generation))
            assert means(applied) == "reload"
        stop.set()
        await asking
        assert set(answers) == {str(port)}


@pytest.mark.parametrize(
    ("line", "words"),
    [("    bogus words\n", "bogus"), ("frontend x\n    mode http\n    bind unix@/nonexistent/x\n", "cannot bind")],
)
async def test_a_bad_configuration_leaves_the_old_one(host: AmphoraHost, ground: Ground, line: str, words: str) -> None:
    with web_server() as port:
        good = ground.document([port])
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(good))
        bad = Document(parts=(*good.parts, TextPart(text=line)))
        with pytest.raises(Lasting, match=words) as told:
            await host.apply(ground.amphora_id, ground.configuration(bad, 2))
        assert told.value.reason.slug == "configuration-rejected"
        seen = (await _observed(host, ground)).observe()
        assert (seen.generation, seen.configuration_digest) == (1, good.digest())
        assert seen.reason == told.value.reason
        assert await fetch(ground.vip) == str(port)
        # The next good one is taken, and the reason goes.
        with web_server() as second:
            await host.apply(ground.amphora_id, ground.configuration(ground.document([port, second]), 3))
            assert (await _observed(host, ground)).observe().reason is None


async def test_health_of_members_is_told(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        await host.ensure(ground.request())
        document = ground.document([port, 9], monitored=True)
        await host.apply(ground.amphora_id, ground.configuration(document))
        sandbox = await _observed(host, ground)

        async def are_judged() -> Any:
            states = {one.member_id: one for one in (await host.measure(sandbox)).members}
            good, bad = (states.get(member_id) for member_id in ground.member_ids[:2])
            return good and bad and good.state == MemberState.UP and bad.state == MemberState.DOWN and bad

        await eventually(are_judged, "UP and DOWN")
        told = await are_judged()
        assert told.check == "L4CON"


async def test_no_listener_means_no_haproxy(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(ground.document([8080])))
    await host.apply(ground.amphora_id, ground.configuration(None, 2))
    seen = (await _observed(host, ground)).observe()
    assert (seen.haproxy_running, seen.configuration_digest, seen.generation) == (False, "", 2)
    assert await fetch(ground.vip) == "ConnectError"


async def test_a_changed_spec_changes_the_sandbox_in_place(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        pid = (await _observed(host, ground)).engine.find_pid()
        own = ground.gateway.rpartition(".")[0]
        await host.ensure(ground.request(2, addresses=(f"{own}.11/24", f"{ground.gateway6[:-1]}10/64")))
        assert (await _observed(host, ground)).engine.find_pid() == pid
        assert await fetch(ground.vip) == str(port)


async def test_removal_leaves_nothing(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(ground.document([8080])))
    await host.remove(ground.amphora_id, 1)
    assert ground.list_leftovers() == []
    assert host.observe() == ()
    await host.remove(ground.amphora_id, 1)


# Fencing


async def test_an_older_epoch_is_refused(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request(5))
    await host.apply(ground.amphora_id, ground.configuration(None, 1, 6))
    with pytest.raises(LostClaim):
        await host.ensure(ground.request(5))
    with pytest.raises(LostClaim):
        await host.apply(ground.amphora_id, ground.configuration(None, 2, 5))
    with pytest.raises(LostClaim):
        await host.remove(ground.amphora_id, 5)


async def test_what_was_removed_is_not_built_again_by_a_former_worker(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request(5))
    await host.remove(ground.amphora_id, 6)
    with pytest.raises(LostClaim):
        await host.ensure(ground.request(5))
    assert ground.list_leftovers() == []


async def test_a_full_host_says_so(ground: Ground) -> None:
    host = ground.make_host(ground.make_settings(amphora_limit=1))
    await host.adopt()
    await host.ensure(ground.request())
    with pytest.raises(Lasting, match="holds 1 amphorae") as told:
        await host.ensure(ground.request(amphora_id=new_id()))
    assert told.value.reason.slug == "host-full"


async def test_a_machine_that_carries_no_more_says_what_bounds_it(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request())
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 100, before[1]))
    try:
        facts = host.describe()
        assert (facts.amphora_count, facts.amphora_limit) == (1, 1)
        assert "RLIMIT_NOFILE" in facts.limited_by
        with pytest.raises(Lasting, match=r"holds 1 amphorae.*\(RLIMIT_NOFILE\)") as told:
            await host.ensure(ground.request(amphora_id=new_id()))
        # What is here is still looked after.
        await host.ensure(ground.request(2))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert told.value.reason.slug == "host-full"
    assert host.describe().limited_by == ""


async def test_a_missing_bridge_is_named(host: AmphoraHost, ground: Ground) -> None:
    with pytest.raises(Transient, match="nowhere0") as told:
        await host.ensure(ground.request(attachment=Attachment(kind="bridge", device="nowhere0")))
    assert told.value.reason.slug == "device-missing"
    # It must not look done to the next pass, which would find everything well; nor to a new agent.
    (seen,) = host.observe()
    assert seen.sandbox_digest == ""
    again = ground.make_host()
    await again.adopt()
    assert [one.sandbox_digest for one in again.observe()] == [""]
    await host.ensure(ground.request())
    assert [one.sandbox_digest for one in host.observe()] == [ground.sandbox().digest()]


async def test_a_bridge_that_was_deleted_comes_back_with_its_ports(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        pid = (await _observed(host, ground)).engine.find_pid()
        subprocess.run(["ip", "link", "delete", ground.bridge], check=True)
        assert [one.sandbox_digest for one in host.observe()] == [""]

        async def serves() -> bool:
            return await fetch(ground.vip) == str(port) and await fetch(ground.vip6) == str(port)

        await eventually(serves, "An answer")
        assert [one.sandbox_digest for one in host.observe()] == [ground.sandbox().digest()]
        assert (await _observed(host, ground)).engine.find_pid() == pid


async def test_a_bridge_keeps_its_address_while_sandboxes_come_and_go(host: AmphoraHost, ground: Ground) -> None:
    ids = [ground.amphora_id, *(new_id() for _ in range(4))]
    address = Path(f"/sys/class/net/{ground.bridge}/address")
    seen = set()
    for number, one in enumerate(ids):
        await host.ensure(ground.request(amphora_id=one, mac_address=f"02:00:00:00:0b:0{number}", vips=()))
        seen.add(address.read_text())
    for one in ids[1:]:
        await host.remove(one, 1)
        seen.add(address.read_text())
    assert len(seen) == 1


async def test_a_run_folder_that_was_deleted_comes_back(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        shutil.rmtree(ground.run_dir / "amphorae")

        async def is_told() -> bool:
            seen = (await _observed(host, ground)).observe()
            return seen.haproxy_running and await fetch(ground.vip) == str(port)

        await eventually(is_told, "HAProxy")
        assert len(process.list_inside(ground.amphora_id)) == 2, "a master and its worker"


async def test_an_agent_that_looks_into_a_sandbox_does_not_end_itself(host: AmphoraHost, ground: Ground) -> None:
    """A question for the VIPs takes the main thread inside; another thread may end what is there just then."""
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(ground.document([8080])))
    with namespace.entered(ground.amphora_id), ThreadPoolExecutor(1) as other:
        seen = other.submit(process.list_running, ground.amphora_id).result()
        other.submit(asyncio.run, process.end_all(ground.amphora_id)).result()
    assert len(seen) == 2, "a master and its worker"


async def test_an_agent_that_looks_into_a_sandbox_takes_nobody_else_for_a_stray(
    host: AmphoraHost, ground: Ground
) -> None:
    await host.ensure(ground.request())
    with ThreadPoolExecutor(1) as other:
        # A thread begins where the one is that starts it.
        other.submit(os.getpid).result()
        with namespace.entered(ground.amphora_id):
            nameless = other.submit(process.list_nameless).result()
    assert os.getppid() not in nameless


async def test_what_the_agent_runs_inside_is_no_stray(host: AmphoraHost, ground: Ground) -> None:
    """Counters are read there while HAProxy is started anew."""
    await host.ensure(ground.request())
    with namespace.entered(ground.amphora_id):
        errand = subprocess.Popen(["sleep", "60"])
        stray = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        await process.end_all(ground.amphora_id)
        assert stray.wait(5) == -signal.SIGKILL
        assert errand.poll() is None
    finally:
        errand.kill()
        errand.wait()


async def test_a_master_that_hangs_is_no_fault_of_the_configuration(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        master = (await _observed(host, ground)).engine.find_pid()
        assert master is not None
        os.kill(master, signal.SIGSTOP)
        with pytest.raises(Transient, match="has not taken over the configuration") as told:
            await host.apply(ground.amphora_id, ground.configuration(ground.document([port], listen=81), 2))
        assert told.value.reason.slug == "engine-not-reloaded"
        assert await fetch(ground.vip) == str(port)
        os.kill(master, signal.SIGCONT)
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port], listen=81), 2))
        assert await fetch(ground.vip, 81) == str(port)


async def test_a_haproxy_that_hangs_is_started_again(host: AmphoraHost, ground: Ground) -> None:
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        sandbox = await _observed(host, ground)
        master = sandbox.engine.find_pid()
        assert master is not None
        for pid in map(int, Path(f"/proc/{master}/task/{master}/children").read_text().split()):
            os.kill(pid, signal.SIGSTOP)
        # Each question waits for an answer for seconds; asked together, they are as many silences.
        told = await asyncio.gather(*(host.measure(sandbox) for _ in range(MOST_SILENCES)))
        assert not told[-1].haproxy_running

        async def serves() -> bool:
            return await fetch(ground.vip) == str(port)

        await eventually(serves, "An answer")
        assert (await host.measure(sandbox)).haproxy_running


async def test_a_haproxy_that_hangs_does_not_wait_for_a_turn_of_the_watch(ground: Ground) -> None:
    host = ground.make_host()
    await host.adopt()
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        sandbox = await _observed(host, ground)
        hung = sandbox.engine.find_pid()
        for pid in process.list_running(ground.amphora_id):
            os.kill(pid, signal.SIGSTOP)
        await asyncio.gather(*(host.measure(sandbox) for _ in range(MOST_SILENCES)))

        async def is_another() -> bool:
            return sandbox.engine.find_pid() not in (None, hung) and await fetch(ground.vip) == str(port)

        await eventually(is_another, "An answer of another one")
    host.forget_processes()


async def test_a_haproxy_that_hangs_after_an_edit_was_cut_off_is_ended_and_the_next_edit_serves(ground: Ground) -> None:
    former, heir = ground.make_host(), ground.make_host()
    await former.adopt()
    with web_server() as port:
        await former.ensure(ground.request())
        await former.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        (await _observed(former, ground)).folders.changing.touch()
        former.forget_processes()
        await heir.adopt()
        sandbox = await _observed(heir, ground)
        assert sandbox.record.document is None
        for pid in process.list_running(ground.amphora_id):
            os.kill(pid, signal.SIGSTOP)
        await asyncio.gather(*(heir.measure(sandbox) for _ in range(MOST_SILENCES)))

        async def has_ended() -> bool:
            return sandbox.engine.find_pid() is None

        await eventually(has_ended, "The end of the one that hangs")
        await heir.apply(ground.amphora_id, ground.configuration(ground.document([port]), 2))
        assert await fetch(ground.vip) == str(port)
    heir.forget_processes()


async def test_an_edit_that_waits_for_a_haproxy_that_hangs_does_not_keep_it_hanging(
    host: AmphoraHost, ground: Ground
) -> None:
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        sandbox = await _observed(host, ground)
        for pid in process.list_running(ground.amphora_id):
            os.kill(pid, signal.SIGSTOP)
        wanted = ground.configuration(ground.document([port], listen=81), 2)
        # Each of them would wait for answers for 20 s, one after the other.
        edits = [asyncio.create_task(host.apply(ground.amphora_id, wanted)) for _ in range(3)]
        await asyncio.gather(*(host.measure(sandbox) for _ in range(MOST_SILENCES)))
        assert sandbox.lock.locked()

        async def serves() -> bool:
            return await fetch(ground.vip, 81) == str(port)

        await eventually(serves, "An answer")
        first, *others = await asyncio.gather(*edits, return_exceptions=True)
        assert isinstance(first, Transient)
        assert not any(isinstance(other, BaseException) for other in others)


async def test_a_haproxy_that_an_edit_has_started_is_not_taken_for_hung(ground: Ground) -> None:
    with web_server() as port:
        host = ground.make_host()
        await host.adopt()
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        sandbox = await _observed(host, ground)
        pid = sandbox.engine.find_pid()
        assert pid is not None
        # It stays down, as after a reboot until its keys come, and is asked all the time.
        host.forget_processes()
        os.kill(pid, signal.SIGKILL)

        async def has_ended() -> bool:
            return sandbox.engine.find_pid() is None

        await eventually(has_ended, f"The end of {pid}")
        for _ in range(MOST_SILENCES):
            await host.measure(sandbox)
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port]), 2))
        begun = sandbox.engine.find_pid()
        assert not await sandbox.keep_running(time.monotonic())
        assert sandbox.engine.find_pid() == begun
        assert await fetch(ground.vip) == str(port)


# The agent's own restarts


async def test_a_new_agent_adopts_and_disturbs_nothing(ground: Ground) -> None:
    with web_server() as port:
        first = ground.make_host()
        await first.adopt()
        await first.ensure(ground.request())
        await first.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        before = first.observe()
        second = ground.make_host()
        await second.adopt()
        assert second.observe() == before
        pids = {host.sandboxes[ground.amphora_id].engine.find_pid() for host in (first, second)}
        assert len(pids) == 1
        assert await fetch(ground.vip) == str(port)


async def test_after_a_reboot_everything_comes_back(ground: Ground) -> None:
    with web_server() as port:
        first = ground.make_host()
        await first.adopt()
        await first.ensure(ground.request())
        await first.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        # A reboot takes processes, namespaces and the tmpfs; the data directory stays. Nobody is left to mend anything.
        first.forget_processes()
        await first.sandboxes[ground.amphora_id].engine.stop()
        await asyncio.to_thread(namespace.remove_namespace, ground.amphora_id, ["eth0"])
        remove_memory(ground.run_dir)
        remove_memory(ground.run_dir)
        shutil.rmtree(ground.run_dir)
        again = ground.make_host()
        await again.adopt()
        stop = asyncio.Event()
        watching = asyncio.create_task(again.watch(stop))
        try:

            async def serves() -> bool:
                return await fetch(ground.vip) == str(port)

            await eventually(serves, "An answer")
        finally:
            stop.set()
            await watching


async def test_limits_hold_after_the_agents_restart(ground: Ground) -> None:
    host = ground.make_host()
    await host.adopt()
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(ground.document([8080])))
    before = _groups(host, ground)
    assert any(ground.amphora_id in group for group in before) or not cgroups.ensure_groups(ground.amphora_id, LIMITS)
    # The first one has ended: one agent works on a host at a time.
    host.forget_processes()
    again = ground.make_host()
    await again.adopt()
    sandbox = again.sandboxes[ground.amphora_id]
    pid = sandbox.engine.find_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    async def is_back() -> bool:
        await sandbox.keep_running(time.monotonic())
        return sandbox.engine.find_pid() not in (None, pid)

    await eventually(is_back, "HAProxy")
    assert _groups(again, ground) == before


def _groups(host: AmphoraHost, ground: Ground) -> list[str]:
    return Path(f"/proc/{host.sandboxes[ground.amphora_id].engine.find_pid()}/cgroup").read_text().splitlines()


async def test_one_that_loses_its_namespace_while_haproxy_is_started_again_stands_at_once(ground: Ground) -> None:
    with web_server() as port:
        host = ground.make_host()
        await host.adopt()
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        for pid in process.list_inside(ground.amphora_id):
            os.kill(pid, signal.SIGKILL)
        sandbox = host.sandboxes[ground.amphora_id]

        async def begins() -> bool:
            return sandbox.lock.locked()

        await eventually(begins, "The first mending")
        subprocess.run(["ip", "netns", "delete", f"statera-{ground.amphora_id}"], check=True)

        async def serves() -> bool:
            return sandbox.is_whole and await fetch(ground.vip) == str(port)

        # No watch looks at it in turn: whoever saw the first end goes on until it stands.
        await eventually(serves, "An answer")


async def test_nothing_runs_on_in_a_namespace_that_lost_its_name(ground: Ground) -> None:
    host = ground.make_host()
    await host.adopt()
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(ground.document([8080])))
    pid = host.sandboxes[ground.amphora_id].engine.find_pid()
    assert pid is not None
    assert pid not in process.list_nameless()
    subprocess.run(["ip", "netns", "delete", f"statera-{ground.amphora_id}"], check=True)
    assert pid in process.list_nameless()
    shutil.rmtree(ground.run_dir / "amphorae" / ground.amphora_id)
    await host.remove(ground.amphora_id, 1)

    async def has_ended() -> bool:
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    await eventually(has_ended, f"The end of {pid}")
    assert ground.list_leftovers() == []


async def test_half_a_record_is_cleared_away(ground: Ground) -> None:
    first = ground.make_host()
    await first.adopt()
    await first.ensure(ground.request())
    (ground.folder / "data" / "amphorae" / ground.amphora_id / "record.json").write_text("{")
    second = ground.make_host()
    await second.adopt()
    assert second.observe() == ()
    assert ground.list_leftovers() == []
