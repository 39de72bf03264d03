"""How one document becomes another with the least disturbance: nothing, commands on the runtime socket, or a reload.

Pure. Fixed text that differs needs a reload; servers come, go and change at run time as far as the engine allows it.
Command syntax: HAProxy 2.6 management guide, section 9.3.
"""

from collections.abc import Iterator

import msgspec

from statera.model.document import Document, Server, ServersPart, TextPart
from statera.render.engine import EngineCapabilities

POOL_OF_CONNECTIONS = "pool-purge-delay 5s pool-max-conn -1"
"""What servers of the file have by default (manual 5.2) and those added at run time do not: without it HAProxy opens a
connection for every request, at three times the processor time."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One runtime command. `expects` are beginnings of an answer that means success; an empty answer always does."""

    text: str
    expects: tuple[str, ...] = ()
    may_wait: bool = False
    """Deleting a server that still has connections fails; it is out of use already, and the delete is tried again."""


class Unchanged(msgspec.Struct, frozen=True):
    """The documents are equal."""


class RuntimeChange(msgspec.Struct, frozen=True, kw_only=True):
    """These commands, in order, make the running process what the wanted document says."""

    commands: tuple[Command, ...]


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
    commands: list[Command] = []
    if len(live.parts) != len(wanted.parts):
        return Reload(why="Listeners or pools were added or removed.")
    for old, new in zip(live.parts, wanted.parts, strict=True):
        if old == new:
            continue
        if isinstance(old, TextPart) or isinstance(new, TextPart):
            return Reload(why="Settings of a listener, a pool or a health monitor changed.")
        change = _change_servers(old, new, engine)
        if isinstance(change, Reload):
            return change
        commands += change.commands
    return RuntimeChange(commands=tuple(commands))


def _change_servers(old: ServersPart, new: ServersPart, engine: EngineCapabilities) -> RuntimeChange | Reload:
    if old.backend != new.backend:
        return Reload(why="A pool was replaced.")
    before = {server.name: server for server in old.servers}
    after = {server.name: server for server in new.servers}
    if before.keys() != after.keys() and not (new.dynamic and engine.dynamic_servers):
        return Reload(why="This HAProxy cannot add or remove servers at run time.")
    commands: list[Command] = []
    for name in before:
        if name not in after:
            commands += _remove_commands(new.backend, name)
    for server in new.servers:
        known = before.get(server.name)
        if known is None:
            commands += _add_commands(new, server)
        elif known != server:
            if _needs_replacing(known, server):
                if not (new.dynamic and engine.dynamic_servers):
                    return Reload(why="This HAProxy cannot replace a server at run time.")
                return Reload(why="A member's backup flag or checks changed.")
            commands += _edit_commands(new.backend, known, server)
    return RuntimeChange(commands=tuple(commands))


def _needs_replacing(before: Server, after: Server) -> bool:
    # A check address cannot be taken back to "the server's own" at run time, only set.
    lost_check = (before.check_address and not after.check_address) or (before.check_port and not after.check_port)
    return before.options != after.options or before.checked != after.checked or bool(lost_check)


def _remove_commands(backend: str, name: str) -> Iterator[Command]:
    place = f"{backend}/{name}"
    yield Command(text=f"set server {place} state maint")
    yield Command(text=f"del server {place}", expects=("Server deleted.",), may_wait=True)


def _add_commands(part: ServersPart, server: Server) -> Iterator[Command]:
    place = f"{part.backend}/{server.name}"
    line = server.line().removeprefix(f"server {server.name} ").removesuffix(" disabled")
    yield Command(text=f"add server {place} {line} {POOL_OF_CONNECTIONS}", expects=("New server registered.",))
    if part.dynamic_cookies:
        # Without it the new server has an empty cookie, and its clients do not come back to it.
        yield Command(text=f"enable dynamic-cookie backend {part.backend}")
    if server.checked:
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
    if (before.check_address, before.check_port) != (after.check_address, after.check_port):
        if after.check_address:
            port = f" port {after.check_port}" if after.check_port else ""
            yield Command(text=f"set server {place} check-addr {after.check_address}{port}", expects=("health check",))
        elif after.check_port:
            yield Command(text=f"set server {place} check-port {after.check_port}", expects=("health check",))
    if before.weight != after.weight:
        yield Command(text=f"set server {place} weight {after.weight}")
    if before.enabled != after.enabled:
        yield Command(text=f"set server {place} state {'ready' if after.enabled else 'maint'}")
