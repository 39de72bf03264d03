"""What comes over sockets that anybody may send to: datagrams of heartbeats whose keys are not known, and ICMP."""

import asyncio
import contextlib
import datetime as dt
import hmac
import ipaddress
import uuid
from collections.abc import Collection
from typing import cast

from statera.agent.refusals import parse_v4, parse_v6
from statera.base.secret import Secret
from statera.base.settings import Settings
from statera.health.keys import KeyRing
from statera.health.receiver import HeartbeatReceiver
from statera.model.heartbeat import MAC_BYTES, HeartbeatRefused
from statera.store.engine import Store

KNOWN = "0f3e1d5c-8a57-4a53-9d10-2f6d1b0c7e11"
KEY: Secret[bytes] = Secret(b"k" * 32)
NO_STORE = cast(Store, None)


class _Clock:
    def now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(1_700_000_000.0, dt.UTC)


class _Ring(KeyRing):
    """A ring whose database knows one amphora."""

    async def load(self, amphora_ids: Collection[str]) -> None:
        for amphora_id in amphora_ids:
            if amphora_id == KNOWN:
                self._keys[amphora_id] = KEY
            else:
                self._strangers[amphora_id] = self._clock.now() + dt.timedelta(seconds=1)


def receive_datagrams(data: bytes) -> None:
    """Take a datagram as it came, and one signed as an amphora that was taken over would, before keys are known.

    Each is counted once, whatever it holds.
    """
    message = uuid.UUID(KNOWN).bytes + data[16:-MAC_BYTES]
    for datagram in (data, message + hmac.digest(KEY.reveal(), message, "sha256")):
        receiver = HeartbeatReceiver(NO_STORE, Settings(), _Clock())
        receiver.keys = _Ring(NO_STORE, _Clock())
        receiver.receive(datagram)
        asyncio.run(receiver._load_some(list(receiver._waiting)))
        assert receiver.accepted + receiver.unverified + sum(receiver.counts.values()) == 1
        # Again, now that the key is there; and below the edge, which takes every error for a datagram's.
        receiver.receive(datagram)
        with contextlib.suppress(HeartbeatRefused):
            receiver._accept(datagram, KEY)


def hear_refusals(data: bytes) -> None:
    """Read a packet as each family's raw socket would give it."""
    for parse in (parse_v4, parse_v6):
        for address, port in parse(data) or ():
            assert address == str(ipaddress.ip_address(address))
            assert 0 <= port < 1 << 16
