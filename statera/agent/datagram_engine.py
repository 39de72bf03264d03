"""What carries datagrams in one amphora: what nginx and the keepalived of IPVS have in common."""

import abc
from pathlib import Path

from statera.agent import process
from statera.agent.lifeline import holds_lifeline
from statera.agent.process import Launch
from statera.model.datagrams import DatagramDocument


class DatagramEngine(abc.ABC):
    """One of them. The caller holds the amphora's lock: no two calls at a time."""

    name: str

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.takes_lifeline = False
        """Whether it is the one that keeps the VIPs here: nothing else serves."""

    @property
    def is_misheld(self) -> bool:
        """Say whether it holds the sandbox's lifeline and should not, or the other way round."""
        return self.launch.has_lifeline and holds_lifeline(self.find_pid()) != self.takes_lifeline

    @property
    def is_anothers(self) -> bool:
        """Say whether it runs as another user than the sandbox's: it was started before the sandbox had its own."""
        pid = self.find_pid()
        return pid is not None and not process.runs_as(pid, self.launch.user)

    @property
    @abc.abstractmethod
    def file(self) -> Path:
        """Its live file."""

    @abc.abstractmethod
    def find_pid(self) -> int | None:
        """Return the pid of its first process if it runs."""

    @abc.abstractmethod
    async def check(self, text: str) -> str:
        """Let it check a file beside the live one; return "" when it accepts it, else its words."""

    @abc.abstractmethod
    async def prepare(self, document: DatagramDocument) -> bool:
        """Bring what must stand around it to a document; say whether that may be news. Raises `Transient`."""

    @abc.abstractmethod
    async def start(self) -> None:
        """Start it on the live file and wait until it serves. Raises `Lasting` with its words, `Transient`."""

    @abc.abstractmethod
    async def reload(self) -> None:
        """Bring the live file into service. Raises `Lasting` with its words, `Transient`."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """End it; its file goes, and so does what stands around it."""

    @abc.abstractmethod
    async def is_serving(self) -> bool:
        """Say whether clients are served."""

    @abc.abstractmethod
    async def count_active(self, document: DatagramDocument) -> dict[str, int]:
        """Return the flows of each listener at the moment."""
