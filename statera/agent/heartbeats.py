"""Tell the health processes how each amphora is: signed datagrams, every few seconds and at once after a change."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence

from statera.agent.host import AmphoraHost
from statera.agent.sandbox import Sandbox
from statera.agent.statistics import read_metrics
from statera.agent.vrrp import is_sharing
from statera.base.logging import get_logger
from statera.model.agent_wire import Metrics
from statera.model.heartbeat import Heartbeat, encode_heartbeat, split_heartbeat

log = get_logger("agent")

LOOK_S = 0.1
AT_ONCE = 16
SOON_AFTER_S = 0.25
"""After a change: the moment a first health check needs."""


class HeartbeatSender:
    """Sends for all sandboxes of a host to all targets, `host:port`."""

    def __init__(self, host: AmphoraHost, targets: Sequence[str], interval_s: float) -> None:
        self._host = host
        self._targets = [_parse_target(target) for target in targets]
        self._sockets = {family: _open_socket(family) for family in {family for family, _ in self._targets}}
        self._interval_s = interval_s
        self._boot = time.time_ns() // 1_000_000
        self._sequence = 0
        self._due: dict[str, float] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}
        """Under way, by amphora. One whose HAProxy is slow to answer holds up nobody else."""
        self._limit = asyncio.Semaphore(AT_ONCE)

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set."""
        try:
            while not stop.is_set():
                try:
                    self._start_due(time.monotonic())
                except Exception:
                    # The edge of the loop: without it, this host would fall silent.
                    log.exception("heartbeats not sent")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), min(LOOK_S, self._interval_s))
        finally:
            sending = list(self._sending.values())
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
            for one in self._sockets.values():
                one.close()

    def _start_due(self, now: float) -> None:
        sandboxes = self._host.sandboxes
        for gone in self._due.keys() - sandboxes.keys():
            del self._due[gone]
        for amphora_id, sandbox in sandboxes.items():
            is_due = now >= self._due.get(amphora_id, 0.0)
            if not is_due and not sandbox.news.is_set():
                continue
            if amphora_id in self._sending or not sandbox.record.sandbox.load_balancer_id:
                # A spare has nothing to tell.
                continue
            self._due[amphora_id] = now + (SOON_AFTER_S if sandbox.news.is_set() else self._interval_s)
            sandbox.news.clear()
            self._sending[amphora_id] = asyncio.create_task(self._send(sandbox))

    async def _send(self, sandbox: Sandbox) -> None:
        async with self._limit:
            try:
                for farewell in sandbox.take_farewells():
                    counted = read_metrics(sandbox.id, farewell.statistics, haproxy_running=True)
                    await self._tell(sandbox, counted, farewell.generation, farewell.epoch)
                record = sandbox.record
                await self._tell(sandbox, await self._host.measure(sandbox), record.generation, record.epoch)
            except Exception:
                # The edge of the loop: what one amphora says must not silence the others.
                log.exception("heartbeat not sent", **sandbox.about)
            finally:
                self._sending.pop(sandbox.id, None)

    async def _tell(self, sandbox: Sandbox, metrics: Metrics, generation: int, epoch: int) -> None:
        has_vips = await asyncio.to_thread(sandbox.has_vips) if is_sharing(sandbox.record.sandbox) else None
        self._sequence += 1
        heartbeat = Heartbeat(
            amphora_id=sandbox.id,
            load_balancer_id=sandbox.record.sandbox.load_balancer_id,
            boot=self._boot,
            sequence=self._sequence,
            sent_at=time.time(),
            generation=generation,
            epoch=epoch,
            haproxy_running=metrics.haproxy_running,
            listeners=metrics.listeners,
            members=metrics.members,
            process=metrics.process,
            has_vips=has_vips,
        )
        for part in split_heartbeat(heartbeat):
            self._send_datagram(encode_heartbeat(part, sandbox.key))

    def _send_datagram(self, datagram: bytes) -> None:
        for family, target in self._targets:
            # Nobody there or no room: the next one tells the same.
            with contextlib.suppress(OSError):
                self._sockets[family].sendto(datagram, target)


def _parse_target(text: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    host, _, port = text.rpartition(":")
    return socket.AF_INET6 if host.startswith("[") else socket.AF_INET, (host.strip("[]"), int(port))


def _open_socket(family: socket.AddressFamily) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    opened.setblocking(False)
    return opened
