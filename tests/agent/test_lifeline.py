"""The lifeline's descriptor: whoever holds it keeps the VIPs of a pair where they are."""

import asyncio
import os

import pytest

from statera.agent.host import AmphoraHost
from statera.agent.lifeline import hold_lifeline
from tests.agent.ground import Ground

pytestmark = pytest.mark.root


class _Unaware:
    """A netlink socket that does not see the interface."""

    def __enter__(self) -> "_Unaware":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def link_lookup(self, **_: object) -> list[int]:
        return []

    def link(self, *_: object, **__: object) -> None:
        pass


async def test_one_that_cannot_be_brought_up_is_let_go(
    host: AmphoraHost, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    await host.ensure(ground.request())
    with monkeypatch.context() as patched:
        patched.setattr("statera.agent.lifeline.IPRoute", _Unaware)
        with pytest.raises(IndexError):
            await asyncio.to_thread(hold_lifeline, ground.amphora_id)
    descriptor = await asyncio.to_thread(hold_lifeline, ground.amphora_id)
    assert descriptor is not None, "the agent itself holds it"
    os.close(descriptor)
