"""The rendered configuration of an amphora.

HAProxy's in parts: fixed text, and servers and lists that can change at run time; beside it what serves datagrams.
The agent compares two documents part by part: a difference in fixed text needs a reload, one in the others may not.
Only `render/` makes documents of tenants' input, so every text here is already free of newlines and unquoted specials.
"""

import hashlib
from typing import Annotated, Literal

import msgspec

from statera.model.datagrams import DatagramDocument
from statera.model.network import bracket, endpoint
from statera.model.protocol import since

FileKind = Literal["certificate", "authorities", "revocations"]


class TextPart(msgspec.Struct, frozen=True, kw_only=True, tag="text", omit_defaults=True):
    """Whole lines, each ended by a newline."""

    text: str
    about: Annotated[Literal["", "l7"], since(2)] = ""
    """What all of them are about, for the sentence that says why a reload is needed."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One `server` line. `options` are keywords that only a new server or a reload can change."""

    name: str
    address: str
    port: int
    weight: int
    enabled: bool
    options: str = ""
    backup: bool = False
    check_address: str | None = None
    check_port: int | None = None
    checked: bool = False
    """Whether `options` hold `check`."""
    checking: bool = True
    """False: its checks are switched off, which the file cannot say; the server state that HAProxy starts with does."""

    def line(self) -> str:
        """Return the line as `haproxy.cfg` has it, without indentation or newline."""
        words = [f"server {self.name} {endpoint(self.address, self.port)}", f"weight {self.weight}"]
        words += ["backup"] if self.backup else []
        words += [self.options] if self.options else []
        words += [f"addr {bracket(self.check_address)}"] if self.check_address else []
        words += [f"port {self.check_port}"] if self.check_port else []
        words += [] if self.enabled else ["disabled"]
        return " ".join(words)


class ServersPart(msgspec.Struct, frozen=True, kw_only=True, tag="servers"):
    """The servers of one backend, in the order of the file."""

    backend: str
    dynamic: bool
    """Whether this backend's servers may be added and removed over the runtime socket."""
    dynamic_cookies: bool = False
    """Whether HAProxy makes a cookie of each server's address: for one added at run time it must be told to."""
    servers: tuple[Server, ...] = ()

    def lines(self) -> str:
        return "".join(f"    {server.line()}\n" for server in self.servers)


class ListPart(msgspec.Struct, frozen=True, kw_only=True, tag="list"):
    """A file beside the configuration with one value on each line, in no order. Entries come and go at run time.

    Each is printable text that begins neither with a space nor with `#`.
    """

    name: str
    """The file's name in the folder of lists."""
    entries: tuple[str, ...]

    def lines(self) -> str:
        return "".join(f"{entry}\n" for entry in self.entries)


class FilePart(msgspec.Struct, frozen=True, kw_only=True, tag="file"):
    """A file of certificates or keys beside the configuration. Its content is not here, only what tells it apart."""

    name: str
    """Below the folder of certificates."""
    digest: str
    kind: FileKind = "certificate"


Part = TextPart | ServersPart | ListPart | FilePart


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    parts: tuple[Part, ...] = ()
    """HAProxy's; empty when no listener needs it."""
    datagrams: Annotated[DatagramDocument | None, since(2, "a UDP listener")] = None
    """What another engine serves beside HAProxy."""

    def for_haproxy(self) -> "Document | None":
        """Return what HAProxy serves of this, None for nothing."""
        return Document(parts=self.parts) if self.parts else None

    def text(self) -> str:
        """Return HAProxy's whole configuration file."""
        return "".join(_text_of(part) for part in self.parts)

    def fixed_text(self) -> str:
        """Return what only a reload changes."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    def lists(self) -> dict[str, str]:
        """Return the files of lists, text by name."""
        return {part.name: part.lines() for part in self.parts if isinstance(part, ListPart)}

    def files(self) -> dict[str, str]:
        """Return the files of certificates and keys, digest by name."""
        return {part.name: part.digest for part in self.parts if isinstance(part, FilePart)}

    def list_servers(self) -> dict[tuple[str, str], Server]:
        """Return all servers by backend and name."""
        parts = [part for part in self.parts if isinstance(part, ServersPart)]
        return {(part.backend, server.name): server for part in parts for server in part.servers}

    def digest(self) -> str:
        # Without what texts are about: it changes nothing that is served, and not every agent knows it.
        parts = tuple(TextPart(text=part.text) if isinstance(part, TextPart) else part for part in self.parts)
        bare = msgspec.structs.replace(self, parts=parts)
        return hashlib.sha256(msgspec.json.encode(bare, order="deterministic")).hexdigest()[:32]


def _text_of(part: Part) -> str:
    match part:
        case TextPart():
            return part.text
        case ServersPart():
            return part.lines()
        case ListPart() | FilePart():
            return ""
