"""HAProxy's tables of servers and of values, as far as runtime commands change them (management guide 9.3)."""

import re
from collections.abc import Iterable

import msgspec

from statera.model.document import Document, Server
from statera.render.change import Command
from statera.render.paths import SANDBOX_PATHS


class Row(msgspec.Struct, kw_only=True):
    """One server as it runs."""

    address: str
    port: int
    weight: int
    ready: bool
    options: str
    check_address: str | None
    check_port: int | None
    checking: bool


Table = dict[str, Row]


def start_table(document: Document) -> Table:
    """Return the table of a process that has just read the document."""
    table = {f"{backend}/{name}": _row(server) for (backend, name), server in document.list_servers().items()}
    return forget_check_places(table)


def forget_check_places(table: Table) -> Table:
    """Forget where servers are checked that are not: HAProxy takes it only from those that are."""
    for row in table.values():
        if not row.checking:
            row.check_address = row.check_port = None
    return table


Lists = dict[str, set[str]]


def start_lists(document: Document) -> Lists:
    """Return the values that a process has just read."""
    return {SANDBOX_PATHS.list_file(name): set(text.splitlines()) for name, text in document.lists().items()}


def _row(server: Server) -> Row:
    return Row(
        address=server.address,
        port=server.port,
        weight=server.weight,
        ready=server.enabled,
        options=f"backup {server.options}".strip() if server.backup else server.options,
        check_address=server.check_address,
        check_port=server.check_port,
        checking=server.checked and server.checking,
    )


def run_commands(table: Table, lists: Lists, commands: Iterable[Command]) -> None:
    """Carry out the commands as HAProxy would; asserts what HAProxy would refuse."""
    begun: Lists = {}
    for line in (line for command in commands for line in split_signs(command.text, ";")):
        match [re.sub(r"\\(.)", r"\1", word) for word in split_signs(line, " ")]:
            case ["prepare", "acl", file]:
                begun[file] = set()
            case ["add", "acl", "@{version}", file, value]:
                begun[file].add(value)
            case ["commit", "acl", "@{version}", file]:
                lists[file] = begun.pop(file)
            case ["add", "acl", file, value]:
                lists[file].add(value)
            case ["del", "acl", file, value]:
                lists[file].remove(value)
            case ["set", "server", place, "state", "maint" | "ready" as state]:
                table[place].ready = state == "ready"
            case ["del", "server", place]:
                assert not table.pop(place).ready, "only a server in maintenance can be deleted"
            case ["add", "server", place, *words]:
                assert place not in table
                table[place] = _parse_added(words)
            case ["enable", "health", place]:
                assert "check" in table[place].options.split(" ")
                table[place].checking = True
            case ["disable", "health", place]:
                table[place].checking = False
            case ["set", "server", place, "health", "up"]:
                assert not table[place].checking, "HAProxy refuses it while it checks"
            case ["enable", "dynamic-cookie", "backend", backend]:
                assert any(place.startswith(f"{backend}/") for place in table)
            case ["set", "server", place, "addr", address, "port", port]:
                table[place].address, table[place].port = address, int(port)
            case ["set", "server", place, "check-addr", address, *rest]:
                table[place].check_address = address
                if rest:
                    assert rest[0] == "port"
                    table[place].check_port = int(rest[1])
            case ["set", "server", place, "check-port", port]:
                table[place].check_port = int(port)
            case ["set", "server", place, "weight", weight]:
                table[place].weight = int(weight)
            case _:
                raise AssertionError(f"unknown command {line}")


def split_signs(line: str, sign: str) -> list[str]:
    """Split where no backslash stands before the sign."""
    return re.findall(rf"((?:\\.|[^{sign}\\])*){sign}", line + sign)


def _parse_added(words: list[str]) -> Row:
    host, _, port = words[0].rpartition(":")
    assert words[1] == "weight"
    options = words[3:]
    # Servers of the file have this by default, those added at run time only when told.
    assert (_take(options, "pool-purge-delay"), _take(options, "pool-max-conn")) == ("5s", "-1")
    check_port = _take(options, "port")
    check_address = _take(options, "addr")
    return Row(
        address=host.strip("[]"),
        port=int(port),
        weight=int(words[2]),
        ready=False,
        options=" ".join(options),
        check_address=check_address.strip("[]") if check_address else None,
        check_port=int(check_port) if check_port else None,
        checking=False,
    )


def _take(options: list[str], keyword: str) -> str | None:
    if keyword not in options:
        return None
    at = options.index(keyword)
    value = options[at + 1]
    del options[at : at + 2]
    return value
