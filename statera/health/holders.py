"""Who has the VIPs that amphorae share: what is news of it, and since when it has not been just one of them."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

from statera.model.heartbeat import Heartbeat
from statera.model.observed import Misheld, Silence, find_misheld


class Holders:
    """What a `Memory` knows of it."""

    def __init__(self) -> None:
        self._news: dict[str, bool | None] = {}
        self._misheld: dict[str, Misheld] = {}

    def note(self, amphora_id: str, has_vips: bool | None) -> None:
        """Take in what is to be written: None for one that tells nothing any more."""
        self._news[amphora_id] = has_vips

    def take_news(self, is_known: Callable[[str], bool]) -> dict[str, bool | None]:
        """Return what was noted since the last call; of amphorae that the database does not know yet later."""
        taken = {amphora_id: held for amphora_id, held in self._news.items() if is_known(amphora_id)}
        self._news = {amphora_id: held for amphora_id, held in self._news.items() if amphora_id not in taken}
        return taken

    def put_back(self, news: Mapping[str, bool | None]) -> None:
        """Remember what could not be written, unless something newer has been told."""
        self._news = {**news, **self._news}

    def forget(self, amphora_id: str) -> None:
        self._news.pop(amphora_id, None)

    def judge(
        self, load_balancer_id: str, spoken: Sequence[Heartbeat], silent: Sequence[Silence], now: dt.datetime
    ) -> None:
        """Look at what a load balancer's amphorae have said last."""
        known = self._misheld.pop(load_balancer_id, None)
        found = find_misheld(spoken, silent, now)
        if found is not None:
            is_same = known is not None and bool(known.amphora_ids) == bool(found.amphora_ids)
            since = known.since if known is not None and is_same else now
            self._misheld[load_balancer_id] = Misheld(amphora_ids=found.amphora_ids, since=since)

    def drop(self, load_balancer_id: str) -> None:
        """Begin anew: somebody has gone, or fallen silent."""
        self._misheld.pop(load_balancer_id, None)

    def find(self, load_balancer_id: str) -> Misheld | None:
        return self._misheld.get(load_balancer_id)

    def count(self, now: dt.datetime) -> tuple[int, int]:
        """Return how many load balancers have had their VIPs nowhere for a while, and how many on several amphorae."""
        lasting = [bool(misheld.amphora_ids) for misheld in self._misheld.values() if misheld.lasts(now)]
        return lasting.count(False), lasting.count(True)
