"""IPVS in a real namespace, as far as the kernel has it: where it does not, all around it, and what is said.

The last tests, with traffic, exist only where the kernel's IPVS is there (`modprobe ip_vs`).
"""

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path

import msgspec
import pytest

from statera.agent import namespace, process
from statera.agent.host import AmphoraHost
from statera.agent.ipvs import find_version, read_table
from statera.agent.lvs import Lvs
from statera.base.errors import Lasting, StateraError, Transient
from statera.base.processes import is_alive
from statera.model.document import Document
from statera.model.engines import EngineName
from statera.model.heartbeat import MemberState
from statera.render.document import render_engine_file
from statera.render.lvs_network import TABLE
from statera.render.paths import SANDBOX_PATHS
from tests.agent.ground import Ground, eventually
from tests.agent.specs import make_document
from tests.agent.test_datagrams import (
    PORT,
    EchoServer,
    apply,
    ask_often,
    ask_once,
    echo_servers,
    udp_document,
    udp_listener,
    udp_monitor,
    udp_pool,
)

pytestmark = pytest.mark.root

HAS_IPVS = find_version() is not None


def lvs_document(
    ground: Ground, servers: list[EchoServer], *, cidrs: tuple[str, ...] = (), monitored: bool = False
) -> Document:
    listener = udp_listener(ground, engine=EngineName.LVS, allowed_cidrs=cidrs)
    monitor = udp_monitor(ground) if monitored else None
    return make_document(ground, [listener], [udp_pool(ground, servers, monitor=monitor)])


def run_nft(ground: Ground, words: str) -> str:
    with namespace.entered(ground.amphora_id):
        done = subprocess.run(["nft", *words.split(" ")], check=False, capture_output=True, text=True, timeout=10)
    return done.stdout


def make_lvs(host: AmphoraHost, ground: Ground) -> Lvs:
    return Lvs(host.sandboxes[ground.amphora_id].engine.launch)


async def test_a_host_names_ipvs_where_its_kernel_has_it(host: AmphoraHost) -> None:
    told = host.describe().engine_versions
    assert (EngineName.LVS in told) == HAS_IPVS == Path("/proc/net/ip_vs").exists()


async def test_keepalived_judges_a_file_before_it_is_live(host: AmphoraHost, ground: Ground) -> None:
    with echo_servers(1) as servers:
        await host.ensure(ground.request())
        document = lvs_document(ground, servers)
        assert (await host.check(ground.amphora_id, ground.configuration(document))).accepted
        assert document.datagrams is not None
        text = render_engine_file(document.datagrams, SANDBOX_PATHS)
        told = await make_lvs(host, ground).check(text.replace("lvs_sched", "lvs_shed"))
        assert "Unknown keyword 'lvs_shed'" in told


async def test_a_keepalived_of_ipvs_that_hangs_is_found_and_another_one_takes_its_place(
    host: AmphoraHost, ground: Ground
) -> None:
    """With a file that asks nothing of IPVS, which this kernel need not have."""
    await host.ensure(ground.request())
    lvs = make_lvs(host, ground)
    lvs.launch.folders.write(lvs.file.name, "global_defs {\n}\n")
    await lvs.start()
    hung = lvs.find_pid()
    assert hung is not None
    await ask_often(lvs)
    assert not lvs.is_hung
    os.kill(hung, signal.SIGSTOP)
    await ask_often(lvs)
    assert lvs.is_hung
    await lvs.reload()
    assert lvs.find_pid() not in (None, hung)
    assert not is_alive(hung)
    await ask_often(lvs)
    assert not lvs.is_hung


async def test_what_stands_around_ipvs_lets_members_answer_and_strangers_out(host: AmphoraHost, ground: Ground) -> None:
    """A rule of nftables sends datagrams on in place of IPVS; all else is as it is with it."""
    with echo_servers(1) as servers:
        await host.ensure(ground.request())
        lvs = make_lvs(host, ground)

        async def surround(*cidrs: str) -> None:
            document = lvs_document(ground, servers, cidrs=cidrs).datagrams
            assert document is not None
            # Settings of IPVS itself are the only ones that may be missing.
            with contextlib.nullcontext() if HAS_IPVS else pytest.raises(Transient, match="net/ipv4/vs/conntrack"):
                await lvs.prepare(document)

        await surround()
        run_nft(ground, "add table ip stand_in")
        run_nft(ground, "add chain ip stand_in arriving { type nat hook prerouting priority dstnat ; }")
        to = f"{ground.gateway}:{servers[0].port}"
        run_nft(ground, f"add rule ip stand_in arriving ip daddr {ground.vip} udp dport {PORT} dnat to {to}")
        # The member is on the client's own machine: it answers to the amphora, or the client would hear a stranger.
        assert await ask_once(ground.vip) == str(servers[0].port)
        await surround("203.0.113.0/24", "2001:db8::/32")
        heard = servers[0].heard
        assert "203.0.113.0/24" in run_nft(ground, f"list table inet {TABLE}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"hello", (ground.vip, PORT))
        await surround("203.0.113.0/24", f"{ground.gateway}/32")
        assert await ask_once(ground.vip) == str(servers[0].port)
        # What comes later is heard later: the stranger was never heard.
        assert servers[0].heard == heard + 1
        await lvs.stop()
        assert TABLE not in run_nft(ground, "list tables")


if not HAS_IPVS:

    async def test_keepalived_starts_and_says_that_the_kernel_has_no_ipvs(host: AmphoraHost, ground: Ground) -> None:
        with echo_servers(1) as servers:
            await host.ensure(ground.request())
            lvs = make_lvs(host, ground)
            document = lvs_document(ground, servers).datagrams
            assert document is not None
            lvs.file.write_text(render_engine_file(document, SANDBOX_PATHS), encoding="utf-8")
            with pytest.raises(Lasting, match="keepalived does not start: IPVS: Can't initialize ipvs") as told:
                await lvs.start()
            assert told.value.reason.slug == "engine-not-started"
            assert lvs.find_pid() is None
            # Without anything to balance it needs no IPVS: it runs, is found again, reads anew, ends.
            empty = msgspec.structs.replace(document, pools=())
            lvs.file.write_text(render_engine_file(empty, SANDBOX_PATHS), encoding="utf-8")
            await lvs.start()
            pid = lvs.find_pid()
            assert pid is not None
            assert make_lvs(host, ground).find_pid() == pid
            await lvs.reload()
            assert lvs.find_pid() == pid
            await lvs.stop()
            assert lvs.find_pid() is None
            assert process.list_running(ground.amphora_id, only=("keepalived",)) == []

    async def test_where_ipvs_does_not_come_up_nginx_serves_on(host: AmphoraHost, ground: Ground) -> None:
        with echo_servers(1) as servers:
            await host.ensure(ground.request())
            await apply(host, ground, udp_document(ground, servers))
            with pytest.raises(StateraError) as told:
                await apply(host, ground, lvs_document(ground, servers), 2)
            assert told.value.reason.slug == "engine-not-started"
            assert "net/ipv4/vs/conntrack" in told.value.reason.sentence
            assert await ask_once(ground.vip) == str(servers[0].port)
            assert host.sandboxes[ground.amphora_id].observe().generation == 1
            assert TABLE not in run_nft(ground, "list tables")
            assert await apply(host, ground, udp_document(ground, servers), 3) == "unchanged"


if HAS_IPVS:

    async def test_ipvs_spreads_flows_and_counts_them(host: AmphoraHost, ground: Ground) -> None:
        with echo_servers(2) as servers:
            ports = {str(server.port) for server in servers}
            await host.ensure(ground.request())
            assert await apply(host, ground, lvs_document(ground, servers)) == "reload"
            assert {await ask_once(ground.vip) for _ in range(4)} == ports
            sandbox = host.sandboxes[ground.amphora_id]
            (listener,) = (await host.measure(sandbox)).listeners
            assert (listener.total_connections, listener.active_connections) == (4, 4)
            assert listener.bytes_in > 0
            assert listener.bytes_out > 0
            # The kernel serves on without its keepalived, and the agent starts that one again.
            pid = sandbox.datagrams.find_pid()
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            assert await ask_once(ground.vip) in ports

            async def is_back() -> bool:
                return sandbox.datagrams.find_pid() not in (None, pid) and await ask_once(ground.vip) in ports

            await eventually(is_back, "another keepalived")
            assert await apply(host, ground, None, 2) == "reload"
            assert read_table(ground.amphora_id) == {}

    async def test_ipvs_lets_go_of_members_that_fail_or_are_removed(host: AmphoraHost, ground: Ground) -> None:
        with echo_servers(2) as servers:
            await host.ensure(ground.request())
            await apply(host, ground, lvs_document(ground, servers, monitored=True))
            servers[0].close()

            async def only_the_other() -> bool:
                seen = (await host.measure(host.sandboxes[ground.amphora_id])).members
                states = {member.member_id: member.state for member in seen}
                asked = {await ask_once(ground.vip) for _ in range(3)}
                return states[ground.member_ids[0]] is MemberState.DOWN and asked == {str(servers[1].port)}

            await eventually(only_the_other, "the one that works")
            servers[0].open()
            await apply(host, ground, lvs_document(ground, servers[:1]), 2)
            assert {await ask_once(ground.vip) for _ in range(3)} == {str(servers[0].port)}

    async def test_udp_goes_from_nginx_to_ipvs_and_back(host: AmphoraHost, ground: Ground) -> None:
        with echo_servers(1) as servers:
            await host.ensure(ground.request())
            for generation, document in enumerate(
                (udp_document(ground, servers), lvs_document(ground, servers), udp_document(ground, servers)), 1
            ):
                await apply(host, ground, document, generation)
                assert await ask_once(ground.vip) == str(servers[0].port)
