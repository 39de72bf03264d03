"""As many requests as the other side takes for some seconds: `python -m bench.flood <address> <port> <seconds>`.

Prints how many were answered within the seconds. Requests are sent in batches on kept connections (pipelined), so that
one send of ours is several requests of work for the other side: this process must not be the narrowest place.
"""

import selectors
import socket
import sys
import time

CONNECTIONS = 16
BATCH = 16
WARM_S = 0.2
READ_BYTES = 1 << 16
REQUESTS = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n" * BATCH
GOOD = b"HTTP/1.1 200"


def flood(address: str, port: int, seconds: float) -> float:
    """Return good answers per second, counted after a short start."""
    selector = selectors.EpollSelector()
    pending: dict[socket.socket, int] = {}
    for _ in range(CONNECTIONS):
        connection = socket.create_connection((address, port), timeout=5.0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
        connection.send(REQUESTS)
        pending[connection] = BATCH
    begin = time.monotonic() + WARM_S
    end = begin + seconds
    answered, tails = 0, dict.fromkeys(pending, b"")
    while (now := time.monotonic()) < end:
        for key, _ in selector.select(1.0):
            connection = key.fileobj  # type: ignore[assignment]
            received = tails[connection] + connection.recv(READ_BYTES)
            # A status line may be cut in two; the tail is shorter than the text that is counted.
            count = received.count(GOOD)
            tails[connection] = received[-(len(GOOD) - 1) :]
            if not count and not received:
                raise SystemExit("a connection was closed")
            pending[connection] -= count
            answered += count if now >= begin else 0
            if pending[connection] == 0:
                connection.send(REQUESTS)
                pending[connection] = BATCH
    if not answered:
        raise SystemExit("no good answers")
    return answered / seconds


if __name__ == "__main__":
    print(flood(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
