"""A change at run time leads to the wanted document: in a model of the server table, and in a real HAProxy."""

from collections.abc import Iterable

import msgspec
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from statera.model.document import Document, TextPart
from statera.model.tree import Tree
from statera.render.change import Command, Reload, RuntimeChange, Unchanged, decide_change
from statera.render.engine import haproxy_capabilities
from statera.render.haproxy import render_haproxy
from statera.render.paths import SANDBOX_PATHS
from tests.golden.cases import ENGINE, decide_streams
from tests.golden.haproxy import RunningHaproxy, run_haproxy
from tests.property.servers import forget_check_places, run_commands, start_lists, start_table
from tests.property.trees import busy_trees, edited, trees

OLD_ENGINE = haproxy_capabilities("2.4.22")
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def render(tree: Tree) -> Document:
    return render_haproxy(decide_streams(tree), ENGINE, SANDBOX_PATHS)


@st.composite
def before_and_after(draw: st.DrawFn) -> tuple[Document, Document]:
    before = draw(busy_trees())
    return render(before), render(draw(edited(before)))


@settings(max_examples=250, deadline=None, suppress_health_check=SLOW)
@given(before_and_after())
def test_commands_reach_the_wanted_document(documents: tuple[Document, Document]):
    live, wanted = documents
    change = decide_change(live, wanted, ENGINE)
    event(type(change).__name__)
    assert isinstance(change, Unchanged) == (live.digest() == wanted.digest())
    if not isinstance(change, RuntimeChange):
        return
    assert [part for part in live.parts if isinstance(part, TextPart)] == [
        part for part in wanted.parts if isinstance(part, TextPart)
    ]
    table, lists = start_table(live), start_lists(live)
    run_commands(table, lists, change.commands)
    assert (forget_check_places(table), lists) == (start_table(wanted), start_lists(wanted))


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(before_and_after())
def test_an_old_engine_neither_adds_nor_removes_servers(documents: tuple[Document, Document]):
    live, wanted = documents
    change = decide_change(live, wanted, OLD_ENGINE)
    if isinstance(change, RuntimeChange):
        assert start_table(live).keys() == start_table(wanted).keys()
        known = (
            "set server ",
            "prepare acl ",
            "add acl ",
            "commit acl ",
            "del acl ",
            "enable health ",
            "disable health ",
        )
        assert all(command.text.startswith(known) for command in change.commands)


@settings(max_examples=50, deadline=None, suppress_health_check=SLOW)
@given(trees())
def test_equal_documents_need_nothing_and_a_new_process_a_start(tree: Tree):
    assert isinstance(decide_change(render(tree), render(tree), ENGINE), Unchanged)
    assert isinstance(decide_change(None, render(tree), ENGINE), Reload)


# The same with a real HAProxy


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(before_and_after())
def test_a_running_haproxy_follows(documents: tuple[Document, Document]):
    live, wanted = (_on_loopback(document) for document in documents)
    change = decide_change(live, wanted, ENGINE)
    assume(isinstance(change, RuntimeChange) and change.commands)
    assert isinstance(change, RuntimeChange)
    with run_haproxy(live) as haproxy:
        run_all(haproxy, change.commands)
        reached = _server_states(haproxy), _read_lists(haproxy, wanted)
    with run_haproxy(wanted) as fresh:
        assert reached == (_server_states(fresh), _read_lists(fresh, wanted))


def run_all(haproxy: RunningHaproxy, commands: Iterable[Command]) -> None:
    """Run them as the agent does; asserts that HAProxy takes each."""
    version = ""
    for command in commands:
        answer = haproxy.ask(command.say(version))
        _check_answer(command, answer)
        version = command.read_version(answer, version)


def _check_answer(command: Command, answer: str) -> None:
    if command.says:
        assert all(words in answer for words in command.says), f"{command.text}: {answer}"
    else:
        assert answer == "" or answer.startswith(command.expects or "?"), f"{command.text}: {answer}"


_CHECKING = 0x02 | 0x04
"""Bits of `srv_check_state`: configured and enabled."""
_COLUMNS = ("srv_addr", "srv_port", "srv_uweight", "srv_check_addr", "srv_check_port")
_IN_MAINTENANCE = 0x01
"""Bit of `srv_admin_state`; 0x04 only tells that the configuration began with it (management guide 9.3)."""


def _server_states(haproxy: RunningHaproxy) -> dict[str, tuple[object, ...]]:
    """Return what matters of `show servers state`, by backend and server."""
    _, header, *lines = haproxy.ask("show servers state").splitlines()
    names = header.removeprefix("# ").split(" ")
    states: dict[str, tuple[object, ...]] = {}
    for line in lines:
        row = dict(zip(names, line.split(" "), strict=False))
        in_maintenance = bool(int(row["srv_admin_state"]) & _IN_MAINTENANCE)
        # One in maintenance is not checked; its checks are set when it comes back into use.
        is_checking = not in_maintenance and int(row["srv_check_state"]) & _CHECKING == _CHECKING
        values = [row[column] for column in (_COLUMNS if is_checking else _COLUMNS[:3])]
        states[f"{row['be_name']}/{row['srv_name']}"] = (*values, in_maintenance, is_checking)
    return states


def _read_lists(haproxy: RunningHaproxy, document: Document) -> dict[str, set[str]]:
    """Return the values that HAProxy has of each list."""
    answers = {name: haproxy.ask(f"show acl {SANDBOX_PATHS.list_file(name)}") for name in document.lists()}
    return {name: {line.split(" ", 1)[1] for line in answer.splitlines()} for name, answer in answers.items()}


def _on_loopback(document: Document) -> Document:
    """Return the document without sockets of its own, so that it runs anywhere: the servers are what is compared."""
    parts = [_without_frontend(part) if isinstance(part, TextPart) else part for part in document.parts]
    return msgspec.structs.replace(document, parts=tuple(parts))


def _without_frontend(part: TextPart) -> TextPart:
    lines = [line for line in part.text.splitlines() if not line.startswith("    bind ")]
    return TextPart(text="".join(f"{line}\n" for line in lines))
