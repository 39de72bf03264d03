"""nft(8) in the network of one amphora."""

import contextlib
import subprocess
from collections.abc import Sequence

from statera.agent import namespace

ASK_WITHIN_S = 5.0
FAMILIES = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}
"""As rules name them, with the types of their addresses."""


def find_family(address: str) -> str:
    """Return the one that an address is of."""
    return "ip6" if ":" in address else "ip"


def run_nft(amphora_id: str, words: Sequence[str], given: str = "") -> str | None:
    """Run it; return what it prints, None when it fails or is not there. It blocks for some milliseconds."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired), namespace.entered(amphora_id):
        done = subprocess.run(
            ["nft", *words], check=False, input=given, capture_output=True, text=True, timeout=ASK_WITHIN_S
        )
        return done.stdout if done.returncode == 0 else None
    return None
