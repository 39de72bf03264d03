"""The keys that sign heartbeats, loaded when an amphora is first heard, and who was asked for in vain."""

import datetime as dt
from collections.abc import Callable, Collection

from statera.base.clock import Clock
from statera.base.recent import remember
from statera.base.secret import Secret
from statera.store.amphorae import load_heartbeat_keys
from statera.store.engine import Store

MOST_STRANGERS = 10_000
"""Unknown ids remembered: anybody may send made-up ones, and they must cost neither memory nor a statement each."""
STRANGER_S = 5.0
"""Seconds an id counts as unknown without asking again."""


class KeyRing:
    """Heartbeat keys by amphora. Known ones stay until `keep_only`; unknown ones are asked for at most every 5 s."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._keys: dict[str, Secret[bytes]] = {}
        self._strangers: dict[str, dt.datetime] = {}

    def find(self, amphora_id: str) -> Secret[bytes] | None:
        """Return the key if it is loaded."""
        return self._keys.get(amphora_id)

    def is_stranger(self, amphora_id: str) -> bool:
        """Say whether the database was asked for this id lately and knew nothing."""
        until = self._strangers.get(amphora_id)
        return until is not None and until > self._clock.now()

    async def load(self, amphora_ids: Collection[str]) -> None:
        """Ask the database for these and remember the answer. Raises `Transient`."""
        keys = await load_heartbeat_keys(self._store, amphora_ids)
        self._keys.update(keys)
        until = self._clock.now() + dt.timedelta(seconds=STRANGER_S)
        for amphora_id in amphora_ids:
            if amphora_id in keys:
                self._strangers.pop(amphora_id, None)
            else:
                remember(self._strangers, amphora_id, until, MOST_STRANGERS)

    def keep_only(self, is_known: Callable[[str], bool]) -> None:
        """Forget the keys of amphorae that are gone; one forgotten too early is loaded again."""
        self._keys = {amphora_id: key for amphora_id, key in self._keys.items() if is_known(amphora_id)}
