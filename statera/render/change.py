"""How one document becomes another with the least disturbance: nothing, commands on the runtime socket, or a reload.

Pure. Fixed text that differs needs a reload; servers and entries of lists come, go and change at run time as far as
the engine allows it.
Command syntax: HAProxy 2.6 management guide, section 9.3.
"""

from collections.abc import Iterator

import msgspec

from statera.model.document import Document, FileKind, FilePart, ListPart, Part, Server, ServersPart, TextPart
from statera.render.engine import EngineCapabilities
from statera.render.paths import SANDBOX_PATHS

_SPECIAL = frozenset(";<#\\'\"\n")
"""Signs that mean something on the runtime socket; there are no quotes there."""
VERSION = "@{version}"
SWAPPED_MOST = 16
"""A list of so few values is replaced as a whole: no request meets a part of the old and a part of the new one."""
POOL_OF_CONNECTIONS = "pool-purge-delay 5s pool-max-conn -1"
"""What servers of the file have by default (manual 5.2) and those added at run time do not: without it HAProxy opens a
connection for every request, at three times the processor time."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One line for the runtime socket. `expects` are beginnings of an answer that means success, as no answer does."""

    text: str
    expects: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    """What the answer to several commands on one line must hold, each of these, to mean success."""
    may_wait: bool = False
    """Deleting a server that still has connections fails; it is out of use already, and the delete is tried again."""
    may_repeat: bool = False
    """A refusal changes nothing, and another time it may be taken: a server has no connections at that instant."""
    drains: str = ""
    """The server, as `backend/name`, that gets no new connections from now on."""
    file: str = ""
    """The file whose content follows it: the command itself ends before that, and holds nothing of it."""
    fills: str = ""
    """The server that gets some again."""
    begins_version: bool = False
    """Its answer ends with the number of a new version of a list."""
    in_version: bool = False
    """`VERSION` in its text, where it is first, stands for the number of the version that was begun last."""

    def say(self, version: str) -> str:
        """Return the line; `version` is what `read_version` has found."""
        return self.text.replace(VERSION, f"@{version}", 1) if self.in_version else self.text

    def read_version(self, answer: str, known: str) -> str:
        """Return the number of the newest version after this answer."""
        return answer.strip().rpartition(" ")[2] if self.begins_version else known


class Unchanged(msgspec.Struct, frozen=True):
    """The documents are equal."""


class RuntimeChange(msgspec.Struct, frozen=True, kw_only=True):
    """These commands, in order, make the running process what the wanted document says."""

    commands: tuple[Command, ...]
    doubt: str = ""
    """Why HAProxy may refuse them when it is asked, so that only a reload helps."""


class Reload(msgspec.Struct, frozen=True, kw_only=True):
    """Only a new process reads this; `why` says what cannot change at run time."""

    why: str


Change = Unchanged | RuntimeChange | Reload


def decide_change(live: Document | None, wanted: Document, engine: EngineCapabilities) -> Change:
    """Decide how a process that runs `live` comes to run `wanted`; None for a process that must start anew."""
    if live is None:
        return Reload(why="No configuration is live yet.")
    if live == wanted:
        return Unchanged()
    if _has_fixed_files(live, wanted):
        return Reload(why=_FIXED_FILE)
    commands = [*_file_commands(live, wanted)]
    doubt = _LONG_FILE if any(command.file for command in commands) else ""
    before, after = _other_parts(live), _other_parts(wanted)
    if _texts(before) != _texts(after) or len(before) != len(after):
        return Reload(why=_tell_reload(before, after))
    if live.datagrams != wanted.datagrams:
        return Reload(why="What serves datagrams can only be told by a reload.")
    for old, new in zip(before, after, strict=True):
        if old == new:
            continue
        change = _change_part(old, new, engine)
        if isinstance(change, Reload):
            return change
        commands += change.commands
        doubt = doubt or change.doubt
    return RuntimeChange(commands=tuple(commands), doubt=doubt)


def _other_parts(document: Document) -> list[Part]:
    return [part for part in document.parts if not isinstance(part, FilePart)]


def _texts(parts: list[Part]) -> list[TextPart]:
    return [part for part in parts if isinstance(part, TextPart)]


def _tell_reload(before: list[Part], after: list[Part]) -> str:
    (old, old_count), (new, new_count) = map(_without_l7, (before, after))
    if old_count != new_count:
        return "Listeners or pools were added or removed."
    if old == new:
        return "Of L7 policies only the values of rules change at run time."
    return "Settings of a listener, a pool or a health monitor changed."


def _without_l7(parts: list[Part]) -> tuple[list[TextPart], int]:
    """Return the other texts, and how many parts there are that do not come and go with policies or ranges."""
    others = [part for part in _texts(parts) if part.about != "l7"]
    return others, len(others) + sum(isinstance(part, ServersPart) for part in parts)


# Certificates: what a document names anew without other words are those of a folder, which a listener reads whole


_LONG_FILE = "Certificates or revocations that together are longer than 16 KiB can only be replaced by a reload."
"""HAProxy reads commands into one buffer (configuration manual 3.2, tune.bufsize)."""
_FIXED_FILE = "CA certificates and revocations of members that are shown no certificate can only change by a reload."
_KEYWORDS: dict[FileKind, str] = {"certificate": "cert", "authorities": "ca-file", "revocations": "crl-file"}


def _files(document: Document) -> dict[str, FilePart]:
    return {part.name: part for part in document.parts if isinstance(part, FilePart)}


def _has_fixed_files(live: Document, wanted: Document) -> bool:
    """Say whether a file differs of which HAProxy would take the new content, say so, and not use it.

    It knows who uses CA certificates and revocations by the certificate that goes with them: of listeners, which have
    one always, and of servers that show one.
    """
    before, after = _files(live), _files(wanted)
    owners = {_owner(name) for name, part in after.items() if part.kind == "certificate"}
    return any(
        part.kind != "certificate" and _owner(name) not in owners and name in before and before[name] != part
        for name, part in after.items()
    )


def _owner(name: str) -> str:
    """Return the listener or the pool that a file is of; see `render/tls.py`."""
    return name.partition("/")[0].partition(".")[0]


def _file_commands(live: Document, wanted: Document) -> Iterator[Command]:
    before, after = _files(live), _files(wanted)
    for name, part in after.items():
        if name not in before:
            if _folder(name):
                yield Command(text=f"new ssl cert {_place(name)}", expects=("New empty certificate store",))
                yield from _content_commands(part)
                yield Command(text=f"add ssl crt-list {_folder(name)} {_place(name)}", says=("Success!",))
        elif before[name].digest != part.digest:
            yield from _content_commands(part)
    for name in before:
        if name not in after and _folder(name):
            yield Command(text=f"del ssl crt-list {_folder(name)} {_place(name)}", expects=("Entry",))
            yield Command(text=f"del ssl cert {_place(name)}", expects=("Certificate",))


def _content_commands(part: FilePart) -> Iterator[Command]:
    keyword, place = _KEYWORDS[part.kind], _place(part.name)
    yield Command(
        text=f"set ssl {keyword} {place}",
        file=part.name,
        expects=("Transaction created", "Transaction updated", "transaction created", "transaction updated"),
    )
    yield Command(text=f"commit ssl {keyword} {place}", says=("Success!",))


def _place(name: str) -> str:
    return SANDBOX_PATHS.tls_file(name)


def _folder(name: str) -> str:
    """Return the folder of certificates that a file is in, as HAProxy names it; "" for one that stands alone."""
    folder, slash, _ = name.rpartition("/")
    return SANDBOX_PATHS.tls_file(folder) if slash else ""


def _change_part(old: Part, new: Part, engine: EngineCapabilities) -> RuntimeChange | Reload:
    if isinstance(old, ServersPart) and isinstance(new, ServersPart):
        return _change_servers(old, new, engine)
    if isinstance(old, ListPart) and isinstance(new, ListPart) and old.name == new.name:
        return RuntimeChange(commands=tuple(_list_commands(old, new)))
    return Reload(why="Settings of a listener, a pool or a health monitor changed.")


def _list_commands(old: ListPart, new: ListPart) -> Iterator[Command]:
    file = SANDBOX_PATHS.list_file(new.name)
    if len(new.entries) <= SWAPPED_MOST:
        yield Command(text=f"prepare acl {file}", expects=("New version created: ",), begins_version=True)
        for entry in new.entries:
            yield Command(text=f"add acl {VERSION} {file} {_escape(entry)}", in_version=True)
        yield Command(text=f"commit acl {VERSION} {file}", in_version=True)
        return
    # First what is new: nothing that stays allowed is refused in between.
    kept = set(old.entries)
    for entry in new.entries:
        if entry not in kept:
            yield Command(text=f"add acl {file} {_escape(entry)}")
    kept = set(new.entries)
    for entry in old.entries:
        if entry not in kept:
            yield Command(text=f"del acl {file} {_escape(entry)}")


def _escape(text: str) -> str:
    """Return a text as one word of the runtime socket (management guide 9.3)."""
    return "".join(f"\\{sign}" if sign in _SPECIAL or sign == " " else sign for sign in text)


def _change_servers(old: ServersPart, new: ServersPart, engine: EngineCapabilities) -> RuntimeChange | Reload:
    if old.backend != new.backend:
        return Reload(why="A pool was replaced.")
    before = {server.name: server for server in old.servers}
    after = {server.name: server for server in new.servers}
    if before.keys() != after.keys() and not (new.dynamic and engine.dynamic_servers):
        return Reload(why="This HAProxy cannot add or remove servers at run time.")
    commands: list[Command] = []
    doubt = ""
    for name in before:
        if name not in after:
            commands += _remove_commands(new.backend, name)
    for server in new.servers:
        known = before.get(server.name)
        if known != server and _SPECIAL & set(server.line()):
            return Reload(why="A member's words cannot be said at run time.")
        if known is None:
            commands += _add_commands(new, server)
        elif known != server:
            if _has_other_options(known, server):
                return Reload(why="The checks of members changed.")
            if _needs_replacing(known, server):
                if not (new.dynamic and engine.dynamic_servers):
                    return Reload(why="This HAProxy cannot replace a server at run time.")
                commands.append(_replace_command(new, server))
                doubt = "A member that is never without connections can only be replaced by a reload."
            else:
                commands += _edit_commands(new.backend, known, server)
    return RuntimeChange(commands=tuple(commands), doubt=doubt)


def _has_other_options(before: Server, after: Server) -> bool:
    return before.options != after.options or before.checked != after.checked


def _needs_replacing(before: Server, after: Server) -> bool:
    # A check address cannot be taken back to "the server's own" at run time, only set.
    lost_check = (before.check_address and not after.check_address) or (before.check_port and not after.check_port)
    return before.backup != after.backup or bool(lost_check)


def _remove_commands(backend: str, name: str) -> Iterator[Command]:
    place = f"{backend}/{name}"
    yield Command(text=f"set server {place} state maint")
    yield Command(text=f"del server {place}", expects=("Server deleted.",), may_wait=True, drains=place)


def _replace_command(part: ServersPart, server: Server) -> Command:
    """Take a server away and bring it back under its name, on one line, so that no request falls in between.

    One with connections stays: then nothing is deleted, nothing added, and the line's end brings it back into use.
    """
    place = f"{part.backend}/{server.name}"
    added = ";".join(command.text for command in _add_commands(part, server))
    return Command(
        text=f"set server {place} state maint;del server {place};{added}",
        says=("Server deleted.", "New server registered."),
        may_repeat=True,
    )


def _add_commands(part: ServersPart, server: Server) -> Iterator[Command]:
    place = f"{part.backend}/{server.name}"
    line = server.line().removeprefix(f"server {server.name} ").removesuffix(" disabled")
    yield Command(text=f"add server {place} {line} {POOL_OF_CONNECTIONS}", expects=("New server registered.",))
    if part.dynamic_cookies:
        # Without it the new server has an empty cookie, and its clients do not come back to it.
        yield Command(text=f"enable dynamic-cookie backend {part.backend}")
    if server.checked and server.checking:
        yield Command(text=f"enable health {place}")
    if server.enabled:
        yield Command(text=f"set server {place} state ready")


def _edit_commands(backend: str, before: Server, after: Server) -> Iterator[Command]:
    place = f"{backend}/{after.name}"
    if (before.address, before.port) != (after.address, after.port):
        yield Command(
            text=f"set server {place} addr {after.address} port {after.port}",
            expects=("IP changed", "port changed", "no need to change"),
        )
    if before.weight != after.weight:
        drained, filled = ("", place) if after.weight else (place, "")
        yield Command(text=f"set server {place} weight {after.weight}", drains=drained, fills=filled)
    if after.checked and (before.checking, before.enabled) != (after.checking, after.enabled):
        yield Command(text=f"{'enable' if after.checking else 'disable'} health {place}")
    is_moved = (before.check_address, before.check_port) != (after.check_address, after.check_port)
    if after.checking and (is_moved or not before.checking):
        # Where a server is checked can only be said while it is; one that began without checks does not know it.
        yield from _check_place_commands(place, after)
    if before.enabled != after.enabled:
        yield Command(text=f"set server {place} state {'ready' if after.enabled else 'maint'}")
    if after.checked and after.enabled and not after.checking and (before.checking or not before.enabled):
        # Nobody looks at it any more: it counts as well.
        yield Command(text=f"set server {place} health up")


def _check_place_commands(place: str, server: Server) -> Iterator[Command]:
    if server.check_address:
        port = f" port {server.check_port}" if server.check_port else ""
        yield Command(text=f"set server {place} check-addr {server.check_address}{port}", expects=("health check",))
    elif server.check_port:
        yield Command(text=f"set server {place} check-port {server.check_port}", expects=("health check",))
