"""The UDP end: takes datagrams, verifies them, hands them to memory. A refused one does nothing but raise a counter."""

import asyncio
import contextlib
import itertools
import socket
from collections import Counter

from statera.base.clock import Clock
from statera.base.errors import Lasting, Transient
from statera.base.logging import get_logger
from statera.base.secret import Secret
from statera.base.settings import Settings
from statera.health.keys import KeyRing
from statera.health.memory import Memory
from statera.model.heartbeat import (
    MOST_BYTES,
    HeartbeatRefusal,
    HeartbeatRefused,
    decode_heartbeat,
    read_amphora_id,
)
from statera.store.engine import Store

log = get_logger("health")

RECEIVE_BUFFER_BYTES = 4 << 20
"""Some thousand heartbeats that arrive at once while the process is busy with a batch."""
MOST_PER_WAKE = 256
"""Datagrams read before other tasks get their turn."""
KEYS_AT_ONCE = 200
"""Ids of one statement. A process that has just started hears of all amphorae within seconds, and those that it cannot
verify until `health.stale_after_s` is over are silent for it.
"""
MOST_WAITING_IDS = 1000
MOST_WAITING_EACH = 64
"""Bounds of what waits while keys are loaded: a flood of made-up ids fills this and no more."""


class HeartbeatReceiver:
    """Receives heartbeats into `memory`. `counts` are the refusals by kind, since the start."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self.memory = Memory()
        self.keys = KeyRing(store, clock)
        self.accepted = 0
        self.counts: Counter[HeartbeatRefusal] = Counter()
        self.unverified = 0
        """Dropped because a key could not be loaded, or too many waited for theirs."""
        self._settings = settings.health
        self._clock = clock
        self._socket: socket.socket | None = None
        self._waiting: dict[str, list[bytes]] = {}
        self._some_wait = asyncio.Event()
        self._loader: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The UDP port it listens on."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Open the socket. Raises `Lasting` (slug `health-address-unavailable`) when the address cannot be had."""
        host, port = self._settings.host, self._settings.port
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
            self._socket = _bind(found[0][0], found[0][4])
        except OSError as error:
            where = f"{host}, UDP port {port} (health.host, health.port)"
            sentence = f"Heartbeats cannot be received on {where}: {error.strerror or error}."
            raise Lasting("health-address-unavailable", sentence) from error
        loop.add_reader(self._socket.fileno(), self._read)
        self._loader = asyncio.create_task(self._load_keys())

    async def close(self) -> None:
        """Close the socket; what is in memory stays."""
        if self._loader is not None:
            self._loader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loader
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()

    def _read(self) -> None:
        assert self._socket is not None
        for _ in range(MOST_PER_WAKE):
            try:
                # One byte more than allowed, so that a longer datagram is seen as too long and not as a forged one.
                datagram = self._socket.recv(MOST_BYTES + 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.warning("heartbeat_socket_error", error=str(error))
                return
            self.receive(datagram)

    def receive(self, datagram: bytes) -> None:
        """Take one datagram, whatever it holds."""
        try:
            amphora_id = read_amphora_id(datagram)
            key = self.keys.find(amphora_id)
            if key is None:
                self._wait_for_key(amphora_id, datagram)
            else:
                self._accept(datagram, key)
        except HeartbeatRefused as refused:
            self.counts[refused.kind] += 1
        except Exception:
            # The edge: one that was signed and breaks something of ours must not stop those of others.
            self.counts[HeartbeatRefusal.MALFORMED] += 1
            log.exception("heartbeat_failed")

    def _accept(self, datagram: bytes, key: Secret[bytes]) -> None:
        now = self._clock.now()
        heartbeat = decode_heartbeat(datagram, lambda _: key, now.timestamp(), self._settings.max_skew_s)
        self.memory.accept(heartbeat, now)
        self.accepted += 1

    def _wait_for_key(self, amphora_id: str, datagram: bytes) -> None:
        if self.keys.is_stranger(amphora_id):
            raise HeartbeatRefused(HeartbeatRefusal.UNKNOWN, f"No amphora has the id {amphora_id}.")
        waiting = self._waiting.get(amphora_id)
        if waiting is None:
            if len(self._waiting) >= MOST_WAITING_IDS:
                self.unverified += 1
                return
            waiting = self._waiting[amphora_id] = []
        if len(waiting) >= MOST_WAITING_EACH:
            self.unverified += 1
            return
        waiting.append(datagram)
        self._some_wait.set()

    async def _load_keys(self) -> None:
        # One statement at a time: however many ids are made up, the database sees no more of them at once.
        while True:
            await self._some_wait.wait()
            self._some_wait.clear()
            while self._waiting:
                await self._load_some(list(itertools.islice(self._waiting, KEYS_AT_ONCE)))

    async def _load_some(self, amphora_ids: list[str]) -> None:
        try:
            await self.keys.load(amphora_ids)
        except Exception as error:
            # The next heartbeats ask again. Whatever it is, it must not keep the keys of others from being loaded.
            if not isinstance(error, Transient):
                log.exception("keys_not_loaded", amphora_ids=amphora_ids)
            self.unverified += sum(len(self._waiting.pop(amphora_id)) for amphora_id in amphora_ids)
            return
        for amphora_id in amphora_ids:
            datagrams = self._waiting.pop(amphora_id)
            if self.keys.find(amphora_id) is None:
                self.counts[HeartbeatRefusal.UNKNOWN] += len(datagrams)
                continue
            for datagram in datagrams:
                self.receive(datagram)


def _bind(family: int, address: object) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        # Without privilege the kernel's own bound applies.
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        with contextlib.suppress(OSError, AttributeError):
            opened.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), RECEIVE_BUFFER_BYTES)
        opened.bind(address)  # type: ignore[arg-type]
    except OSError:
        opened.close()
        raise
    return opened
