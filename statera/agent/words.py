"""What the programs of an amphora print: files that are cut when they have become long, and what of them is told."""

import contextlib
import os
from pathlib import Path

MOST_BYTES = 256 * 1024
TOLD_LENGTH = 600
"""Characters of a program's words that go into a reason."""


class Words:
    """One program's. All calls block for a moment."""

    def __init__(self, file: Path, most_bytes: int = MOST_BYTES) -> None:
        self.file = file
        self._most_bytes = most_bytes

    def begin(self) -> int:
        """Cut the file if it has become long; return where what is printed from now on begins."""
        self.trim()
        return self._size()

    def trim(self) -> None:
        """Cut the file if it has become long. Whoever prints goes on at its end, wherever that is (`O_APPEND`)."""
        if self._size() > self._most_bytes:
            os.truncate(self.file, 0)

    def read(self, begun: int) -> str:
        """Return what was printed since `begin`."""
        with contextlib.suppress(OSError), self.file.open("rb") as file:
            # It may have been cut since.
            file.seek(begun if begun <= self._size() else 0)
            return file.read(self._most_bytes).decode("utf-8", errors="replace")
        return ""

    def _size(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return self.file.stat().st_size
        return 0


def clip(text: str) -> str:
    """Return what of it goes into a reason."""
    return text if len(text) <= TOLD_LENGTH else f"{text[: TOLD_LENGTH - 1]}…"
