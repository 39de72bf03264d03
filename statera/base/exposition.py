"""The page `/metrics`: one per machine, with what every process of this installation there counts.

Each process answers on a socket in `<run_dir>/metrics`, named after its role (`api`, the second one `api-2`). One of
them, whoever came first, has the TCP port and puts the pages of all together, told apart by the label `process`; when
it ends the next one takes the port. So any number of processes has one address, and none needs a port of its own.

A thread of its own does it: a process whose event loop hangs still says what it counted. No failure here ends anything.
"""

import contextlib
import re
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client import generate_latest

from statera.base.files import locked, write_whole
from statera.base.listening import short_path
from statera.base.logging import get_logger
from statera.base.metrics import REGISTRY
from statera.base.settings import Settings

log = get_logger("metrics")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MOST_OF_A_ROLE = 64
TRY_PORT_EVERY_S = 2.0
ANSWER_WITHIN_S = 2.0
MOST_REQUEST_BYTES = 16 * 1024
_SAMPLE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(\{?)(.*)")


def folder_of(settings: Settings) -> Path:
    """Return where the processes of this installation have their pages."""
    return Path(settings.run_dir) / "metrics"


@contextlib.contextmanager
def expose_metrics(settings: Settings, role: str) -> Iterator[None]:
    """Serve what this process counts during the block, unless `metrics.enabled` is off."""
    with contextlib.ExitStack() as stack:
        if settings.metrics.enabled:
            try:
                name = stack.enter_context(_claim_name(folder_of(settings), role))
                stack.enter_context(_Page(settings, name).served())
            except OSError as error:
                log.warning("no metrics", error=str(error))
        yield


@contextlib.contextmanager
def keep_page(settings: Settings, role: str) -> Iterator["WrittenPage | None"]:
    """Give a page that is written to a file: for a process that has no thread to spare because it forks."""
    with contextlib.ExitStack() as stack:
        page = None
        if settings.metrics.enabled:
            try:
                folder = folder_of(settings)
                page = WrittenPage(folder / f"{stack.enter_context(_claim_name(folder, role))}.prom")
                stack.callback(page.path.unlink, missing_ok=True)
                page.write()
            except OSError as error:
                log.warning("no metrics", error=str(error))
        yield page


class WrittenPage:
    """A file with what this process has counted until it was last written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self) -> None:
        """Bring it up to date."""
        with contextlib.suppress(OSError):
            write_whole(self.path, generate_latest(REGISTRY), 0o644)


@contextlib.contextmanager
def _claim_name(folder: Path, role: str) -> Iterator[str]:
    """Hold the first free name of a role. Raises `OSError` when there is none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True, mode=0o700)
    for number in range(1, MOST_OF_A_ROLE + 1):
        name = role if number == 1 else f"{role}-{number}"
        with locked(folder / f"{name}.lock") as is_ours:
            if is_ours:
                yield name
                return
    raise OSError(f"{MOST_OF_A_ROLE} processes of role {role} run already")


class _Page:
    """One process's page, and that of the machine while it has the port."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._options = settings.metrics
        self._folder = folder_of(settings)
        self._name = name
        self._has_complained = False

    @contextlib.contextmanager
    def served(self) -> Iterator[None]:
        path = self._folder / f"{self._name}.sock"
        own = _listen_at(path)
        ending, end = socket.socketpair()
        thread = threading.Thread(target=self._serve, args=(own, ending), name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.close()
            thread.join(ANSWER_WITHIN_S)
            path.unlink(missing_ok=True)

    def _serve(self, own: socket.socket, ending: socket.socket) -> None:
        with contextlib.ExitStack() as stack:
            stack.enter_context(own)
            stack.enter_context(ending)
            # Not `select.select`, which takes no descriptor above 1,023: an agent has more.
            watched = select.poll()
            for one in (own, ending):
                watched.register(one, select.POLLIN)
            public: socket.socket | None = None
            has_turn = False
            while True:
                has_turn = has_turn or self._take_turn(stack)
                if has_turn and public is None and (public := self._open_port()) is not None:
                    watched.register(stack.enter_context(public), select.POLLIN)
                waits_ms = None if public is not None else 1000 * TRY_PORT_EVERY_S
                ready = {number for number, _ in watched.poll(waits_ms)}
                if ending.fileno() in ready:
                    return
                if own.fileno() in ready:
                    _attend(own, lambda connection: connection.sendall(generate_latest(REGISTRY)))
                if public is not None and public.fileno() in ready:
                    _attend(public, self._answer)

    def _take_turn(self, stack: contextlib.ExitStack) -> bool:
        with contextlib.ExitStack() as attempt:
            if not attempt.enter_context(locked(self._folder / "port.lock")):
                return False
            stack.push(attempt.pop_all())
        return True

    def _open_port(self) -> socket.socket | None:
        host, port = self._options.host, self._options.port
        opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind((host, port))
            opened.listen()
        except OSError as error:
            opened.close()
            if not self._has_complained:
                # Another installation's, say. It may come free.
                log.warning("metrics wait for their port", host=host, port=port, error=str(error))
            self._has_complained = True
            return None
        return opened

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request and len(request) < MOST_REQUEST_BYTES:
            more = connection.recv(4096)
            if not more:
                break
            request += more
        words = request.split(b"\r\n", 1)[0].split(b" ")
        status, body = "404 Not Found", b""
        if len(words) == 3 and words[0] == b"GET" and words[1].partition(b"?")[0] == b"/metrics":
            pages = read_pages(self._folder, leave_out=self._name)
            pages[self._name] = generate_latest(REGISTRY).decode()
            status, body = "200 OK", merge_pages(pages).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)


def _attend(listening: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    """Take one caller; one that is slow or gone costs nothing but its time."""
    with contextlib.suppress(OSError):
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(ANSWER_WITHIN_S)
            answer(connection)


def _listen_at(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    opened = socket.socket(socket.AF_UNIX)
    with short_path(path) as short:
        opened.bind(short)
    # The folder says who may ask; the processes of an installation are not all of one user.
    path.chmod(0o666)
    opened.listen()
    return opened


def read_pages(folder: Path, leave_out: str = "") -> dict[str, str]:
    """Return the page of each process that runs here, by its name; who does not answer in time is left out."""
    pages = {}
    for path in sorted((*folder.glob("*.sock"), *folder.glob("*.prom"))):
        if path.stem != leave_out:
            with contextlib.suppress(OSError):
                pages[path.stem] = _read_page(path)
    return pages


def _read_page(path: Path) -> str:
    """Raises `OSError` for a page that a process has left behind, and when there is no answer in time."""
    if path.suffix == ".prom":
        with locked(path.with_suffix(".lock")) as is_gone:
            if is_gone:
                raise OSError("its process has ended")
        return path.read_text(encoding="utf-8")
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(ANSWER_WITHIN_S)
        with short_path(path) as short:
            asking.connect(short)
        with asking.makefile("rb") as answer:
            return answer.read().decode()


def merge_pages(pages: Mapping[str, str]) -> str:
    """Return one page: each metric once, with the samples of all processes, which get the label `process`."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for name, page in sorted(pages.items()):
        family = ""
        for line in page.splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
            heads.setdefault(family, [])
            if line.startswith("#"):
                if line not in heads[family]:
                    heads[family].append(line)
            elif found := _SAMPLE.match(line):
                rest = f",{found[3]}" if found[2] else f"}}{found[3]}"
                samples.setdefault(family, []).append(f'{found[1]}{{process="{name}"{rest}')
    return "".join(f"{line}\n" for family, head in heads.items() for line in (*head, *samples.get(family, ())))
