"""Clients in a process of their own, so that they take no time from whoever measures."""

import subprocess
import sys

from statera.base.errors import Lasting

STARTS_WITHIN_S = 20.0


def count_aside(module: str, address: str, port: int, seconds: float, given: str = "") -> float:
    """Run `python -m <module> <address> <port> <seconds>`, which prints answers per second; return them.

    `given` is its standard input. Raises `Lasting` when it ends with another code than 0: answers were not good.
    """
    words = [sys.executable, "-m", module, address, str(port), str(seconds)]
    within_s = seconds + STARTS_WITHIN_S
    done = subprocess.run(words, check=False, capture_output=True, text=True, input=given, timeout=within_s)
    if done.returncode != 0:
        raise Lasting("bench-failed", f"{module} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return float(done.stdout)
