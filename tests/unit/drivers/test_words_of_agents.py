"""What an agent that was taken over says reaches operators and tenants as one bounded line."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from statera.base.errors import Lasting
from statera.base.ids import new_id
from statera.base.reason import Reason
from statera.base.settings import HostSettings
from statera.drivers.compute_local import MOST_WORDS, LocalCompute
from statera.model.agent_wire import AgentFault, FaultKind, HostFacts
from statera.model.amphora import AmphoraObserved

EVIL = "\x1b[2Jlocal\r\n\0" + "x" * 5_000
CLEAN = "?[2Jlocal???"
FACTS = HostFacts(name="local", agent_version="1", engine_versions={}, amphora_count=0, amphora_limit=9)


@contextlib.asynccontextmanager
async def answering(body: object, status: int = 200) -> AsyncIterator[LocalCompute]:
    """Give a driver whose one host always answers this."""
    content = msgspec.json.encode(body)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {status} So\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host = HostSettings(name="local", url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    context = ssl.create_default_context()
    compute = LocalCompute([host], cast(Any, SimpleNamespace(current=lambda: context)), 10.0)
    try:
        yield compute
    finally:
        await compute.close()
        server.close()


def check(words: str, begins: str = "") -> None:
    assert words.startswith(begins + CLEAN)
    assert words.isprintable()
    assert len(words) <= MOST_WORDS + 100


async def test_a_name_that_is_another_one() -> None:
    async with answering(msgspec.structs.replace(FACTS, name=EVIL)) as compute:
        [host] = await compute.observe_hosts()
    assert host.reason is not None
    assert host.reason.slug == "host-misnamed"
    check(host.reason.sentence, "The agent of host local calls itself ")


async def test_what_bounds_a_host() -> None:
    async with answering(msgspec.structs.replace(FACTS, limited_by=EVIL)) as compute:
        [host] = await compute.observe_hosts()
    check(host.limited_by)


@pytest.mark.parametrize(("slug", "told"), [("host-full", "host-full"), ("Host\n", "agent-garbled")])
async def test_a_fault(slug: str, told: str) -> None:
    async with answering(AgentFault(kind=FaultKind.LASTING, slug=slug, sentence=EVIL), 409) as compute:
        with pytest.raises(Lasting) as raised:
            await compute.observe_amphora("local", new_id())
    assert raised.value.reason.slug == told
    check(raised.value.sentence)


async def test_a_reason() -> None:
    seen = AmphoraObserved(
        id=new_id(),
        load_balancer_id=new_id(),
        epoch=1,
        generation=1,
        sandbox_digest="",
        configuration_digest="",
        haproxy_running=False,
        reason=Reason(slug="/", sentence=EVIL),
    )
    async with answering([seen]) as compute:
        [one] = await compute.observe_amphorae("local")
    async with answering(seen) as compute:
        assert await compute.observe_amphora("local", seen.id) == one
    assert one.reason is not None
    assert one.reason.slug == "agent-garbled"
    check(one.reason.sentence)
