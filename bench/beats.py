"""Heartbeats of many amphorae, sent by processes of their own: `python -m bench.beats`, which is told of in JSON lines.

The first line on standard input is a `Choir`, each other one a `Step`. A step is signed, then `ready` is printed; upon
an empty line it is sent, and a `Sent` is printed. So signing takes no time from sending.
"""

import contextlib
import itertools
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import msgspec

from bench.roles import HOST
from statera.base.secret import Secret
from statera.model.heartbeat import Heartbeat, encode_heartbeat, split_heartbeat

SENDERS = 2
PAUSE_S = 0.001
MOST_LATE_S = 0.005
"""A sender that was kept waiting does not catch up with more than this: that would be a burst, and not the rate."""


class Voice(msgspec.Struct, frozen=True):
    """What an amphora says, again and again, and the key that it signs with."""

    heartbeat: Heartbeat
    key: bytes


class Choir(msgspec.Struct, frozen=True):
    """Those for whom one process speaks, and the UDP port to which."""

    port: int
    voices: list[Voice]


class Step(msgspec.Struct, frozen=True):
    """So many datagrams, evenly, from all amphorae in turn."""

    count: int
    per_second: float


class Sent(msgspec.Struct, frozen=True):
    """What was sent: datagrams, their bytes, and the seconds that it took."""

    count: int
    size: int
    took_s: float

    @property
    def per_second(self) -> float:
        return self.count / self.took_s


class Senders:
    """Processes that send together."""

    def __init__(self, processes: Sequence["subprocess.Popen[bytes]"]) -> None:
        self._processes = processes

    def send(self, count: int, per_second: float) -> Sent:
        """Send so many datagrams at this rate, and not before all of them are signed. Raises `EOFError`."""
        share = len(self._processes)
        counts = [count // share + (place < count % share) for place in range(share)]
        for process, own in zip(self._processes, counts, strict=True):
            _write(process, msgspec.json.encode(Step(own, per_second / share)))
        for process in self._processes:
            _read(process)
        for process in self._processes:
            _write(process, b"")
        told = [msgspec.json.decode(_read(process), type=Sent) for process in self._processes]
        return Sent(sum(one.count for one in told), sum(one.size for one in told), max(one.took_s for one in told))


@contextlib.contextmanager
def sending(port: int, voices: Sequence[Voice]) -> Iterator[Senders]:
    """Give processes that speak for these amphorae, each for some of them."""
    words = [sys.executable, "-m", "bench.beats"]
    with contextlib.ExitStack() as stack:
        processes = []
        for place in range(min(SENDERS, len(voices))):
            process = stack.enter_context(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            _write(process, msgspec.json.encode(Choir(port, list(voices[place::SENDERS]))))
            processes.append(process)
        yield Senders(processes)


def _write(process: "subprocess.Popen[bytes]", line: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(line + b"\n")
    process.stdin.flush()


def _read(process: "subprocess.Popen[bytes]") -> bytes:
    assert process.stdout is not None
    if line := process.stdout.readline():
        return line
    raise EOFError(f"a sender of heartbeats ended with {process.wait()}")


def main() -> None:
    """Send as standard input says, until it ends."""
    lines = sys.stdin.buffer
    choir = msgspec.json.decode(lines.readline(), type=Choir)
    datagrams = _sign(choir.voices)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for line in iter(lines.readline, b""):
            step = msgspec.json.decode(line, type=Step)
            signed = list(itertools.islice(datagrams, step.count))
            print("ready", flush=True)
            lines.readline()
            print(msgspec.json.encode(_send(sender, choir.port, signed, step.per_second)).decode(), flush=True)


def _sign(voices: Sequence[Voice]) -> Iterator[bytes]:
    """Yield what all of them say, in turn and without end, as an agent would."""
    boot = time.time_ns() // 1_000_000
    for sequence in itertools.count(1):
        for voice in voices:
            heartbeat = msgspec.structs.replace(voice.heartbeat, boot=boot, sequence=sequence, sent_at=time.time())
            for part in split_heartbeat(heartbeat):
                yield encode_heartbeat(part, Secret(voice.key))


def _send(sender: socket.socket, port: int, datagrams: Sequence[bytes], per_second: float) -> Sent:
    sent, begun = 0, time.monotonic()
    first = begun
    while sent < len(datagrams):
        now = time.monotonic()
        due = int((now - begun) * per_second) + 1
        late = due - sent - int(MOST_LATE_S * per_second) - 1
        if late > 0:
            begun += late / per_second
            due -= late
        for datagram in datagrams[sent:due]:
            sender.sendto(datagram, (HOST, port))
        sent = min(due, len(datagrams))
        time.sleep(PAUSE_S)
    return Sent(sent, sum(map(len, datagrams)), time.monotonic() - first)


if __name__ == "__main__":
    main()
