"""What carries datagrams in one amphora: what nginx and the keepalived of IPVS have in common."""

import abc
from pathlib import Path

from statera.agent import process
from statera.agent.lifeline import holds_lifeline
from statera.agent.process import Launch
from statera.agent.silence import Silence
from statera.model.datagrams import DatagramDocument

MOST_SILENCES = 3
"""Questions in a row that it leaves alone, each for seconds, before it is taken for hung."""


class DatagramEngine(abc.ABC):
    """One of them. The caller holds the amphora's lock: no two calls at a time."""

    name: str

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self.takes_lifeline = False
        """Whether it is the one that keeps the VIPs here: nothing else serves."""
        self._silence = Silence(MOST_SILENCES)
        self._asked: int | None = None

    @property
    def is_hung(self) -> bool:
        """Say whether it runs and takes nothing in any more."""
        return self._silence.is_hung and self._asked == self.find_pid()

    def ask(self) -> None:
        """Ask it for a sign of life, and note whether it has given the one that was asked for by the last call.

        It blocks for a moment, and needs no lock.
        """
        pid = self.find_pid()
        if pid is None or pid != self._asked:
            self._asked = pid
            self._silence.end()
        if pid is not None:
            self._silence.note(is_answer=self.ask_for_life(pid))

    @abc.abstractmethod
    def ask_for_life(self, pid: int) -> bool:
        """Ask its processes, of which this is the first; say whether they took in what the call before has asked."""

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
    def must_start(self) -> bool:
        """Say whether the one that runs, if any, cannot be told of another file."""
        return self.find_pid() is None or self.is_misheld or self.is_anothers or self.is_hung

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
