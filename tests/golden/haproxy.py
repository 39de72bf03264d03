"""The real HAProxy: what it thinks of a configuration, and one that runs on loopback for a test."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from statera.agent.server_state import make_state
from statera.model.document import Document, FileKind, FilePart
from statera.render.paths import SANDBOX_PATHS
from tests.fixtures.certificates import make_authority
from tests.fixtures.runtime import ask_haproxy

START_S = 20.0


def check_haproxy(document: Document) -> str:
    """Return what `haproxy -c` says against the document, warnings too; "" when it accepts it.

    The document is for a sandbox, in which the amphora's folder stands at a fixed place; here it stands elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="statera-check-") as folder:
        _furnish(Path(folder), document)
        done = subprocess.run(
            ["haproxy", "-c", "-f", "/dev/stdin"],
            input=_move(document.text(), Path(folder)).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
    said = [line for line in done.stdout.decode(errors="replace").splitlines() if _is_complaint(line)]
    return "\n".join(said) if said or done.returncode == 0 else f"exit status {done.returncode}"


class RunningHaproxy:
    """A HAProxy of one process that ends with its test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._socket = _place(SANDBOX_PATHS.stats_socket, folder)

    def ask(self, command: str) -> str:
        """Return the answer to one line on the runtime socket. Raises `OSError`."""
        return ask_haproxy(self._socket, _move(command, self._folder))


@contextmanager
def run_haproxy(document: Document) -> Iterator[RunningHaproxy]:
    """Run HAProxy with the document; what it binds must be free on loopback."""
    with tempfile.TemporaryDirectory(prefix="statera-run-") as folder:
        home = Path(folder)
        _furnish(home, document)
        configuration = home / "test.cfg"
        configuration.write_text(_move(document.text(), home))
        log = home / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(["haproxy", "-db", "-f", configuration], stdout=output, stderr=output)
        try:
            running = RunningHaproxy(home)
            _wait_for_answer(running, process, log)
            yield running
        finally:
            process.kill()
            process.wait()


def _wait_for_answer(running: RunningHaproxy, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            running.ask("show info")
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"HAProxy does not run ({error}): {log.read_text()}") from error
            time.sleep(0.005)


def _furnish(folder: Path, document: Document) -> None:
    # As in a sandbox: HAProxy warns of a server state file that is not there.
    _place(SANDBOX_PATHS.server_state, folder).write_text(make_state("", None, document))
    for name, text in document.lists().items():
        path = _place(SANDBOX_PATHS.list_file(name), folder)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for part in document.parts:
        if isinstance(part, FilePart):
            path = _place(SANDBOX_PATHS.tls_file(part.name), folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_make_contents()[part.kind])
    _place(SANDBOX_PATHS.stats_socket, folder).parent.mkdir(exist_ok=True)


@cache
def _make_contents() -> dict[FileKind, bytes]:
    """Return something of each kind: what a document says of a file is only which one it is."""
    root = make_authority()
    issued = root.issue("www.example.test")
    return {"certificate": issued.bundle_pem, "authorities": root.pem, "revocations": root.revoke()}


def _place(path: str, folder: Path) -> Path:
    return folder / Path(path).relative_to(SANDBOX_PATHS.folder)


def _move(text: str, folder: Path) -> str:
    return text.replace(SANDBOX_PATHS.folder, str(folder))


def _is_complaint(line: str) -> bool:
    return bool(line) and not line.startswith(("[NOTICE]", "Configuration file is valid"))
