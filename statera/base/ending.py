"""The end of a process: it comes, even when something does not let go."""

import os
import sys
import threading
import traceback

FAULT = 1
"""Exit code."""


def end_within(seconds: float) -> None:
    """Let the process end by itself for so long, then end it, and print what each thread did.

    Tasks that are cancelled are waited for, and one that waits for what never comes would keep the process: it would
    serve nobody, and whoever starts processes again when they end would wait for ever.
    """
    timer = threading.Timer(seconds, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    for number, frame in sys._current_frames().items():
        print(f"Does not end; thread {number}:\n{''.join(traceback.format_stack(frame))}", file=sys.stderr, flush=True)
    os._exit(FAULT)
