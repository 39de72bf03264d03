"""Readers of one object each at once: `python -m bench.readers <host> <port> <seconds>`, ids on standard input.

Prints how many answers came in a second. Each reader sends its next request when it has the answer to the last.
"""

import itertools
import selectors
import socket
import sys
import time

from bench.client import encode_request, read_whole
from bench.ground import ONE

READERS = 8
WARM_S = 0.5
READ_BYTES = 1 << 16


def read(host: str, port: int, ids: list[str], seconds: float) -> float:
    """Return answers per second, counted after a short start."""
    requests = itertools.cycle([encode_request("GET", f"{ONE}/{one}", host) for one in ids])
    selector = selectors.EpollSelector()
    received: dict[socket.socket, bytearray] = {}
    for _ in range(READERS):
        connection = socket.create_connection((host, port), timeout=5.0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        connection.sendall(next(requests))
        received[connection] = bytearray()
    begin = time.monotonic() + WARM_S
    answered = 0
    while (now := time.monotonic()) < begin + seconds:
        for key, _ in selector.select(1.0):
            connection = key.fileobj  # type: ignore[assignment]
            received[connection] += connection.recv(READ_BYTES)
            if _is_whole(received[connection]):
                answered += now >= begin
                received[connection].clear()
                connection.sendall(next(requests))
    return answered / seconds


def _is_whole(answer: bytearray) -> bool:
    status = read_whole(answer)
    if status not in (None, 200):
        raise SystemExit(f"an answer was {status}")
    return status is not None


if __name__ == "__main__":
    print(read(sys.argv[1], int(sys.argv[2]), sys.stdin.read().split(), float(sys.argv[3])))
