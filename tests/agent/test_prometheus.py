"""PROMETHEUS listeners on a real host: what a scrape tells, who may scrape, and what happens without an agent."""

import asyncio
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from statera.agent.exporter import MOST_AT_ONCE, _Listening
from statera.agent.host import AmphoraHost
from statera.base.ids import new_id
from statera.model.document import Document
from statera.model.enums import ListenerProtocol, MonitorType
from statera.model.heartbeat import ListenerState
from statera.render.paths import SANDBOX_PATHS
from tests.agent.ground import Ground, eventually, fetch, means, web_server
from tests.agent.specs import make_document, make_listener, make_monitor, make_pool
from tests.contract.tables import read_table

pytestmark = pytest.mark.root

METRICS_ID = new_id()
METRICS = Path(SANDBOX_PATHS.metrics_socket).name
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
TABLE = {row["metric"]: row for row in read_table("prometheus_metrics")}


def document(ground: Ground, ports: list[int], **given: Any) -> Document:
    scraped = make_listener(ground, METRICS_ID, protocol=ListenerProtocol.PROMETHEUS, port=9090, pool_id=None, **given)
    pool = make_pool(ground, ports, monitor=make_monitor(ground, MonitorType.HTTP))
    return make_document(ground, [make_listener(ground), scraped], [pool])


async def ask(ground: Ground, path: str = "/metrics", method: str = "GET") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=8.0) as client:
        return await client.request(method, f"http://{ground.vip}:9090{path}")


async def scrape(ground: Ground) -> dict[tuple[str, str], float]:
    """Return the values by name and labels. Whatever is no exposition fails."""
    answer = await ask(ground)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/plain"), answer.text
    samples = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            found = SAMPLE.fullmatch(line)
            assert found is not None, line
            key = (found[1], found[2] or "")
            assert key not in samples, f"{line} is told twice"
            samples[key] = float(found[3])
    return samples


async def test_a_scrape_tells_of_this_load_balancer_under_the_names_of_the_contract(
    host: AmphoraHost, ground: Ground
) -> None:
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(document(ground, [port])))
        for _ in range(5):
            assert await fetch(ground.vip) == str(port)
        seen: dict[tuple[str, str], float] = {}
        counted = ("octavia_listener_http_requests_total", f'listener="{ground.listener_id}"')

        async def are_counted() -> bool:
            seen.update(await scrape(ground))
            return seen[counted] == 5

        await eventually(are_counted, "five requests")
        member = f'pool="{ground.pool_id}",listener="{ground.listener_id}",member="{ground.member_ids[0]}"'
        assert seen["octavia_member_status", f'{member},state="UP"'] == 1
        assert seen["octavia_pool_active_members", f'pool="{ground.pool_id}",listener="{ground.listener_id}"'] == 1
        assert 0 < seen["octavia_loadbalancer_memory", ""] < 100
        assert 0 <= seen["octavia_loadbalancer_cpu", ""] <= 100
        # Nothing of the proxies between HAProxy and the agent; each metric with labels or without as the table says.
        known = {ground.listener_id, METRICS_ID, ground.pool_id, ground.member_ids[0]}
        for name, labels in seen:
            ids = set(re.findall(r'(?:listener|pool|member)="([^"]*)"', labels))
            assert ids <= known
            assert bool(ids) == (TABLE[name]["has_labels"] == "yes"), name
        assert {name for name, _ in seen} == TABLE.keys()


async def test_only_scrapes_are_answered(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(document(ground, [1])))
    assert (await ask(ground, "/")).status_code == 404
    assert (await ask(ground, "/metrics", "POST")).status_code == 405
    assert (await ask(ground)).status_code == 200
    sandbox = host.find(ground.amphora_id)
    assert sandbox is not None
    told = {one.id: one.status for one in (await host.measure(sandbox)).listeners}
    assert told == {ground.listener_id: ListenerState.OPEN, METRICS_ID: ListenerState.OPEN}
    applied = await host.apply(
        ground.amphora_id, ground.configuration(document(ground, [1], allowed_cidrs=("192.0.2.0/24",)), 2)
    )
    assert means(applied) == "reload"
    with pytest.raises(httpx.TransportError):
        await ask(ground)
    # No such listener, no socket.
    await host.apply(ground.amphora_id, ground.configuration(ground.document([1]), 3))
    assert host._exporter._open == {}


async def test_a_haproxy_that_was_taken_over_gets_few_connections(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(document(ground, [1])))
    place = str(host.sandboxes[ground.amphora_id].folders.run / METRICS)
    before = len(os.listdir("/proc/self/fd"))
    held = [await asyncio.open_unix_connection(place) for _ in range(5 * MOST_AT_ONCE)]

    async def are_few() -> bool:
        return len(os.listdir("/proc/self/fd")) == before + len(held) + MOST_AT_ONCE

    await eventually(are_few, "The end of those that are too many")
    for reader, _ in held[MOST_AT_ONCE:]:
        assert await reader.read() == b""
    for _, writer in held:
        writer.close()

    async def is_told() -> bool:
        return (await ask(ground)).status_code == 200

    await eventually(is_told, "Metrics for the next one")


class Long(_Listening):
    """Its answers are too long for what the kernel keeps of them."""

    async def _fresh_answer(self) -> bytes:
        return bytes(10_000_000)


async def test_who_does_not_take_the_answer_is_not_waited_for(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request())
    listening = Long(host.sandboxes[ground.amphora_id], within_s=0.2)
    await listening.start()
    place = str(host.sandboxes[ground.amphora_id].folders.run / METRICS)
    before = len(os.listdir("/proc/self/fd"))
    reader, writer = await asyncio.open_unix_connection(place, limit=1)
    writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")

    async def is_let_go() -> bool:
        # What the client itself has open stays.
        return listening._served == 0 and len(os.listdir("/proc/self/fd")) == before + 1

    async def is_served() -> bool:
        return listening._served == 1

    await eventually(is_served, "The request")
    await eventually(is_let_go, "The end of waiting")
    assert len(await reader.read()) < 10_000_000
    writer.close()
    listening.stop()


async def test_two_that_look_after_it_at_once_listen_once(ground: Ground) -> None:
    """An edit and the watch: one would take the other's file away, and leave a socket that nobody closes."""
    host = ground.make_host()
    await host.adopt()
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(document(ground, [1])))
    sandbox = host.sandboxes[ground.amphora_id]
    await host._exporter.forget(sandbox.id)
    before = len(os.listdir("/proc/self/fd"))
    await asyncio.gather(*(host._exporter.tend(sandbox) for _ in range(3)))
    assert not host._exporter.is_due(sandbox)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert (await ask(ground)).status_code == 200
    await host._exporter.close()


async def test_without_an_agent_it_says_so_and_the_next_agent_goes_on(ground: Ground) -> None:
    first = ground.make_host()
    await first.adopt()
    with web_server() as port:
        await first.ensure(ground.request())
        await first.apply(ground.amphora_id, ground.configuration(document(ground, [port])))
        assert (await ask(ground)).status_code == 200
        stop = asyncio.Event()
        stop.set()
        # The end of an agent's life: what it leaves is a socket that nobody listens on.
        await first.watch(stop)
        assert (await ask(ground)).status_code == 503
        assert await fetch(ground.vip) == str(port)
        second = ground.make_host()
        await second.adopt()
        assert (await ask(ground)).status_code == 200
        assert await fetch(ground.vip) == str(port)


async def test_it_comes_back_with_its_folder_and_its_process(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(document(ground, [1])))
    sandbox = host.find(ground.amphora_id)
    assert sandbox is not None

    async def is_told() -> bool:
        try:
            return (await ask(ground)).status_code == 200
        except httpx.TransportError:
            return False

    pid = sandbox.engine.find_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(is_told, "Metrics of the next process")
    shutil.rmtree(sandbox.folders.run)
    await eventually(is_told, "Metrics from a new folder")


async def test_a_removal_leaves_no_socket(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(document(ground, [1])))
    assert host._exporter._open.keys() == {ground.amphora_id}
    await host.remove(ground.amphora_id, 1)

    async def is_over() -> bool:
        return not host._mending

    # The end of its HAProxy was noticed, too.
    await eventually(is_over, "The last look at it")
    assert host._exporter._open == {}
