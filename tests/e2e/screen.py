"""A terminal of its own for a command that draws on it: what a person would see, and the keys they press."""

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator

SCREEN_LEFT = "\x1b[?1049l"
"""What is written to show again what was there before (xterm's alternate screen)."""
CTRL_C = b"\x03"
ENDED_BY_CTRL_C = 130
LINES, COLUMNS = 24, 200


class Screen:
    """A terminal of its own in which a command runs; `text` is all that was written on it."""

    def __init__(self, descriptor: int) -> None:
        self.text = ""
        self._descriptor = descriptor
        self._watched = select.poll()
        self._watched.register(descriptor, select.POLLIN)

    def wait_for(self, *words: str, after: int = 0, within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while not all(word in self.text[after:] for word in words):
            assert time.monotonic() < deadline, f"No {words} in {self.text!r}"
            self.read(0.5)

    def read(self, within_s: float) -> bool:
        """Take in what comes next; False when its program has ended."""
        if self._watched.poll(1000 * within_s):
            # Linux fails with EIO when nobody has the other end any more (pty(7)).
            with contextlib.suppress(OSError):
                more = os.read(self._descriptor, 65536).decode(errors="replace")
                self.text += more
                return bool(more)
            return False
        return True


@contextlib.contextmanager
def on_screen(*words: str) -> Iterator[Screen]:
    """Run a command for the length of a block and end it with Ctrl-C, which it must obey."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm", "COLUMNS": str(COLUMNS), "LINES": str(LINES)}
    # The terminal must be its own: keys that are pressed go to nobody else.
    command = ["setsid", "--ctty", "--wait", *words]
    process = subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment, start_new_session=True)
    os.close(its)
    screen = Screen(ours)
    try:
        yield screen
        os.write(ours, CTRL_C)
        deadline = time.monotonic() + 20.0
        while screen.read(0.5):
            assert time.monotonic() < deadline, "Ctrl-C does not end it"
        assert process.wait(20.0) == ENDED_BY_CTRL_C
    finally:
        process.kill()
        process.wait()
        os.close(ours)
