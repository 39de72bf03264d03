"""TCP ports that a process listens on, with errors that name the option; paths of unix sockets."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from statera.base.errors import Lasting

BACKLOG = 2048


def open_port(host: str, port: int, option: str, *, is_shared: bool = False) -> socket.socket:
    """Listen on an address; with `is_shared` other processes of the same user may listen there, too.

    Raises `Lasting` (slug `address-unavailable`) naming the options, `<option>.host` and `<option>.port`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named: only then does asyncio set TCP_NODELAY on what is accepted, and without it every answer
    # on a kept connection waits 40 ms for the client's delayed acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        sentence = f"Cannot listen on {host}, port {port} ({option}.host, {option}.port): {error.strerror}."
        raise Lasting("address-unavailable", sentence) from error
    listening.setblocking(False)
    return listening


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a path of few characters, however deep the folder is: unix sockets take at most 107 (unix(7))."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@contextlib.contextmanager
def pinned_socket(path: Path) -> Iterator[str]:
    """Give a short path that means the unix socket that stands there now, and nothing else. Raises `OSError`.

    Its folder may be a user's whom nobody trusts: a link there would lead root to a socket of others.
    """
    with short_path(path) as short:
        found = os.open(short, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK), str(path))
        yield f"/proc/self/fd/{found}"
    finally:
        os.close(found)
