"""The certificate and key of this process and the authorities it trusts: files that are renewed while it runs.

A context belongs to the files as they were. `LiveContext` makes another one as soon as they have changed; connections
that are open keep theirs.
"""

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from statera.base.errors import Lasting

WHOLE_WITHIN_S = 2.0
"""A key and its certificate are replaced one after the other: who reads in between looks again."""

Stamp = tuple[tuple[int, int], ...]


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Files in PEM."""

    authority: Path
    """All authorities that are trusted."""
    certificate: Path
    key: Path

    def stamp(self) -> Stamp:
        """Return what is another one when a file has been replaced. Raises `OSError`."""
        found = [path.stat() for path in (self.authority, self.certificate, self.key)]
        return tuple((one.st_ino, one.st_mtime_ns) for one in found)


def make_client_context(files: Credentials) -> ssl.SSLContext:
    """Return the context of a controller: it trusts Statera's own authority and nobody else, and shows who it is."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(files.authority))
    return _finish(context, files)


def make_server_context(files: Credentials) -> ssl.SSLContext:
    """Return the context of an agent: whoever has a certificate of Statera's own authority for clients may ask."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files.authority))
    context.verify_mode = ssl.CERT_REQUIRED
    # A resumed session would be as good as a certificate, and outlive it.
    context.num_tickets = 0
    return _finish(context, files)


def _finish(context: ssl.SSLContext, files: Credentials) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.certificate, files.key)
    return context


class LiveContext:
    """The context of the files as they are now."""

    def __init__(self, files: Credentials, make: Callable[[Credentials], ssl.SSLContext]) -> None:
        """Raises `Lasting` (slug `own-certificate-unusable`) for files that are of no use together."""
        self._files = files
        self._make = make
        self._stamp: Stamp = ()
        self._context = self._make_first()

    def _make_first(self) -> ssl.SSLContext:
        deadline = time.monotonic() + WHOLE_WITHIN_S
        while True:
            try:
                self._stamp = self._files.stamp()
                return self._make(self._files)
            except OSError as error:  # `SSLError` is one.
                if time.monotonic() > deadline:
                    sentence = f"{self._files.certificate} cannot be used with its key and {self._files.authority}."
                    raise Lasting("own-certificate-unusable", f"{sentence} {error}") from error
            time.sleep(0.05)

    def current(self) -> ssl.SSLContext:
        """Return the same one until the files change; the last good one while they cannot be used."""
        try:
            stamp = self._files.stamp()
            if stamp != self._stamp:
                self._context, self._stamp = self._make(self._files), stamp
        except OSError:
            pass
        return self._context

    def follow(self) -> ssl.SSLContext:
        """Return a context for a server that listens once and for all: each handshake takes the current one."""

        def choose(connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = self.current()

        context = self._make(self._files)
        context.sni_callback = choose
        return context
