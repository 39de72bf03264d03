"""A machine without an agent takes or refuses connections; one that is gone does neither."""

import socket

import httpx

from statera.drivers.compute_local import _is_alive


async def test_who_refuses_lives() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = httpx.URL(f"https://127.0.0.1:{listening.getsockname()[1]}")
        # Nobody accepts: so it is when an agent hangs.
        assert await _is_alive(url)
    assert await _is_alive(url), "refused: the agent is down, the machine is not"


async def test_who_says_nothing_is_gone() -> None:
    # The network for documentation (RFC 5737): no route, or no answer.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            waiting.append(one)
        try:
            assert not await _is_alive(httpx.URL(f"https://127.0.0.1:{port}"))
        finally:
            for one in waiting:
                one.close()
