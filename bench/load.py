"""A constant load of requests until standard input ends, in a process of its own: `python -m bench.load <options>`.

Prints `ready` when the first requests are answered, and at the end what became of all of them as one line of JSON.
Every request that is not answered with 200 counts as failed. A kept connection that the other side has closed between
two requests is opened again, as every HTTP client does; one that it closes upon a request is a failed request.
"""

import asyncio
import contextlib
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator

import msgspec

from bench.figures import percentile

WITHIN_S = 10.0
REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n%s\r\n"


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What load to make: `clients` at a time, together `per_second` requests."""

    address: str
    port: int = 80
    clients: int = 8
    per_second: float = 200.0
    keeps: bool = False
    """Whether each client keeps its connection, or opens one for each request."""
    tls: bool = False
    """Whether to speak TLS, with whoever is there."""


class LoadTold(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the requests; times in ms."""

    sent: int
    failed: int
    reasons: dict[str, int]
    reopened: int
    p50_ms: float
    p99_ms: float
    longest_ms: float


class Client:
    """One client with at most one connection."""

    def __init__(self, options: LoadOptions) -> None:
        self._options = options
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.reopened = 0

    async def ask(self) -> None:
        """Send one request and read its answer. Raises `OSError`, `EOFError`, `ValueError`."""
        reader, writer = await self._connect()
        try:
            writer.write(REQUEST % (b"" if self._options.keeps else b"Connection: close\r\n"))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 200"):
                raise ValueError(head.split(b"\r\n")[0].decode(errors="replace"))
            length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
        except BaseException:
            self.close()
            raise
        if not self._options.keeps or b"connection: close" in head:
            self.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and (self._streams[0].at_eof() or self._streams[1].is_closing()):
            self.close()
            self.reopened += 1
        if self._streams is None:
            terms = ssl._create_unverified_context() if self._options.tls else None
            self._streams = await asyncio.open_connection(self._options.address, self._options.port, ssl=terms)
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Load:
    """The clients, evenly paced."""

    def __init__(self, options: LoadOptions) -> None:
        self._options = options
        self._took_ms: list[float] = []
        self._reasons: Counter[str] = Counter()
        self._clients = [Client(options) for _ in range(options.clients)]

    async def run(self) -> LoadTold:
        """Load until standard input ends."""
        over = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin, over.set)
        tasks = [asyncio.create_task(self._pace(client, place)) for place, client in enumerate(self._clients)]
        while len(self._took_ms) < self._options.clients and not over.is_set():
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        await over.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        took = self._took_ms or [0.0]
        return LoadTold(
            sent=len(self._took_ms) + self._reasons.total(),
            failed=self._reasons.total(),
            reasons=dict(self._reasons),
            reopened=sum(client.reopened for client in self._clients),
            p50_ms=percentile(took, 50),
            p99_ms=percentile(took, 99),
            longest_ms=max(took),
        )

    async def _pace(self, client: Client, place: int) -> None:
        interval_s = self._options.clients / self._options.per_second
        due = time.monotonic() + interval_s * place / self._options.clients
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + interval_s, time.monotonic())
            began = time.monotonic()
            try:
                async with asyncio.timeout(WITHIN_S):
                    await client.ask()
            except (OSError, EOFError, ValueError) as error:
                self._reasons[f"{type(error).__name__}: {error}"[:80]] += 1
            else:
                self._took_ms.append((time.monotonic() - began) * 1000)


class RunningLoad:
    """A load that another process makes; `told` is there after `making_load`."""

    told: LoadTold


@contextlib.contextmanager
def making_load(options: LoadOptions) -> Iterator[RunningLoad]:
    """Load in another process for the length of a block."""
    words = [sys.executable, "-m", "bench.load", msgspec.json.encode(options).decode()]
    running = RunningLoad()
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError(f"the load ended with {process.wait()}")
            yield running
            told, _ = process.communicate(timeout=WITHIN_S + 5.0)
            running.told = msgspec.json.decode(told, type=LoadTold)
        finally:
            process.kill()


def describe_load(options: LoadOptions, told: LoadTold) -> str:
    """Return the sentence beside a figure."""
    text = f"of {told.sent:,} at {options.per_second:.0f}/s from {options.clients} clients"
    text += f"; answered in {told.p50_ms:.0f} ms (p50), {told.p99_ms:.0f} ms (p99), {told.longest_ms:.0f} ms (longest)"
    if told.reopened:
        text += f"; {told.reopened} connections closed while idle"
    reasons = "; ".join(f"{count} x {reason}" for reason, count in told.reasons.items())
    return f"{text}; {reasons}" if reasons else text


def main() -> None:
    """Load as the one argument says."""
    options: LoadOptions = msgspec.json.decode(sys.argv[1], type=LoadOptions)
    print(msgspec.json.encode(asyncio.run(Load(options).run())).decode())


if __name__ == "__main__":
    main()
