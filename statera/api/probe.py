"""Whether the database answers, remembered for some seconds: balancers in front of the API ask often."""

import time

from statera.base.errors import Transient
from statera.store.engine import Store


class DatabaseProbe:
    """Looks at most every five seconds."""

    FRESH_S = 5.0

    def __init__(self, store: Store) -> None:
        self._store = store
        self._answers = False
        self._asked_at: float | None = None

    async def answers(self) -> bool:
        """Say whether it did when last looked."""
        if self._asked_at is None or time.monotonic() - self._asked_at >= self.FRESH_S:
            self._answers = await self._look()
            self._asked_at = time.monotonic()
        return self._answers

    async def _look(self) -> bool:
        try:
            await self._store.check()
        except Transient:
            return False
        return True
