"""Asks the real HAProxy what it thinks of a configuration."""

import subprocess
import tempfile
from pathlib import Path

from statera.render.paths import SANDBOX_PATHS


def check_haproxy(text: str) -> str:
    """Return what `haproxy -c` says against the text, warnings too; "" when it accepts it.

    The text is for a sandbox, in which the amphora's folder stands at a fixed place; here it stands elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="statera-check-") as folder:
        # As in a sandbox: HAProxy warns of a server state file that is not there. Its first line is its version.
        Path(SANDBOX_PATHS.server_state.replace(SANDBOX_PATHS.folder, folder)).write_text("1\n")
        done = subprocess.run(
            ["haproxy", "-c", "-f", "/dev/stdin"],
            input=text.replace(SANDBOX_PATHS.folder, folder).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
    said = [line for line in done.stdout.decode(errors="replace").splitlines() if _is_complaint(line)]
    return "\n".join(said) if said or done.returncode == 0 else f"exit status {done.returncode}"


def _is_complaint(line: str) -> bool:
    return bool(line) and not line.startswith(("[NOTICE]", "Configuration file is valid"))
