"""Tables in pipes, and on terminals that are too narrow."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from statera.cli.tables import id_column, print_table, short

ID = "26b77ae7-ab07-4f2a-bb00-fb75ced7aef6"


def make_table() -> Table:
    table = Table(id_column("amphora"), "about", box=None)
    table.add_row(ID, short("word " * 30 + "end"))
    return table


def test_a_pipe_cuts_nothing_off(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(make_table())
    assert "word end" in capsys.readouterr().out


def test_columns_bound_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    print_table(make_table())
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) == 60
    assert ID in told


def test_an_id_is_whole_and_what_may_be_short_stays_in_its_line() -> None:
    told = io.StringIO()
    Console(file=told, width=50).print(make_table())
    head, line = told.getvalue().splitlines()
    assert head.split() == ["amphora", "about"]
    assert ID in line
    assert line.rstrip().endswith("…")
