"""Ports for what is started beside others, as demonstrations, benchmarks and tests are."""

import contextlib
import itertools
import os
import socket

from statera.base.errors import Lasting

FIRST_PORT, PORTS = 20_000, 12_000
"""Below those that the kernel gives to whoever connects to others."""
OF_ONE_PROCESS = 37
"""About as many as one asks for: the next process begins after them."""

_turns = itertools.count(os.getpid() * OF_ONE_PROCESS)


def choose_port(wanted: int, kind: socket.SocketKind) -> int:
    """Return `wanted` if it is not 0 and free on loopback, else another free port. Raises `Lasting`.

    Not one that the kernel chooses: it gives the same one to two who ask before either of them listens.
    """
    others = (FIRST_PORT + next(_turns) % PORTS for _ in range(PORTS))
    for port in itertools.chain([wanted] if wanted else [], others):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise Lasting("no-free-port", "No port is free on 127.0.0.1.")
