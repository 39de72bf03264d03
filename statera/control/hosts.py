"""What hosts said of themselves last. Asking costs a round to each of them, so answers are shared and kept a while."""

import asyncio
import contextlib

from statera.base.errors import StateraError, Transient
from statera.model.amphora import Host
from statera.model.ports import ComputeDriver


class HostBook:
    """The last answer of every host. One per process; passes that ask at the same time share one round."""

    def __init__(self, compute: ComputeDriver) -> None:
        self._compute = compute
        self._hosts: tuple[Host, ...] = ()
        self._versions: dict[str, dict[str, str]] = {}
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    async def list_hosts(self, *, most_age_s: float) -> tuple[Host, ...]:
        """Return all hosts as they were at most `most_age_s` seconds ago."""
        async with self._asking:
            if _now_s() - self._asked_at > most_age_s:
                began = _now_s()
                self._hosts = await self._compute.observe_hosts()
                self._asked_at = began
                self._learn()
        return self._hosts

    def recall(self, *, most_age_s: float) -> tuple[Host, ...]:
        """Return all hosts as they were last, nothing before the first answer, without waiting for any.

        When that is longer ago, they are asked now, for the next call.
        """
        if _now_s() - self._asked_at > most_age_s and not self._asking.locked():
            self._refreshing = asyncio.create_task(self._refresh(most_age_s))
        return self._hosts

    async def _refresh(self, most_age_s: float) -> None:
        # Who asks for real is told what went wrong.
        with contextlib.suppress(StateraError):
            await self.list_hosts(most_age_s=most_age_s)

    async def load_versions(self, name: str, *, most_age_s: float) -> dict[str, str]:
        """Return the engine versions of a host, old ones while it does not answer.

        Raises `Transient` (slug `host-unknown`) for one that has never told: what another version would render is
        another document, and amphorae would be reconfigured back and forth.
        """
        if name not in self._versions or _now_s() - self._asked_at > most_age_s:
            await self.list_hosts(most_age_s=0 if name not in self._versions else most_age_s)
        if name not in self._versions:
            host = next((host for host in self._hosts if host.name == name), None)
            why = "it is not configured" if host is None else host.reason.sentence if host.reason else "no answer"
            raise Transient("host-unknown", f"Host {name} has not told which engines it has: {why}")
        return self._versions[name]

    def _learn(self) -> None:
        names = {host.name for host in self._hosts}
        told = {host.name: host.engine_versions for host in self._hosts if host.reachable}
        self._versions = {name: told for name, told in {**self._versions, **told}.items() if name in names}


def _now_s() -> float:
    # The loop's own time: monotonic, and virtual in the simulation.
    return asyncio.get_running_loop().time()
