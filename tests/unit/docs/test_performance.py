"""The page about performance explains every scenario, and `make bench` can put its table there."""

from pathlib import Path

import pytest

from bench.figures import Figure, Outcome
from bench.report import describe_machine, render_page, write_page
from bench.scenarios import ON_REQUEST, SCENARIOS
from statera.base.errors import Lasting
from tests.unit.docs.pages import ROOT, read_page

PAGE = ROOT / "docs" / "performance.md"
OUTCOMES = (
    Outcome(
        scenario="create",
        figures=(
            Figure(what="first byte | p50", value=126.4, unit="ms", budget=1000, detail="30 samples"),
            Figure(what="reloads", value=2, budget=0),
            Figure(what="rate", value=0.5),
        ),
    ),
    Outcome(scenario="proxy", fault="It did not\nanswer."),
)


def test_every_scenario_is_explained():
    text = read_page(PAGE)
    assert [name for name in SCENARIOS if name not in ON_REQUEST and f"### `{name}`: " not in text] == []
    assert [name for name in ON_REQUEST if f"| `python -m bench {name}` | " not in text] == []


def test_the_table_is_put_between_the_marks_and_nowhere_else(tmp_path: Path):
    page, machine = tmp_path / "page.md", describe_machine()
    page.write_text(read_page(PAGE), encoding="utf-8")
    write_page(page, machine, OUTCOMES)
    once = read_page(page)
    write_page(page, machine, OUTCOMES)
    table = render_page(machine, OUTCOMES)
    assert read_page(page) == once
    assert table in once
    assert machine.sentence() in table
    assert r"| create | first byte \| p50 | <= 1,000 ms | 126 ms | yes | 30 samples |" in table
    assert "| create | reloads | <= 0 | 2 | **no** |  |" in table
    assert "| create | rate |  | 0.50 |  |  |" in table
    assert "| proxy | broke |  |  |  | It did not answer. |" in table
    before, after = (
        read_page(PAGE).partition("\n## The table")[0],
        read_page(PAGE).partition("\n## What the figures")[2],
    )
    assert once.startswith(before)
    assert once.endswith(after)


def test_a_page_without_the_marks_is_refused(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("nothing\n", encoding="utf-8")
    with pytest.raises(Lasting, match="has no place for figures"):
        write_page(page, describe_machine(), OUTCOMES)
    assert read_page(page) == "nothing\n"
