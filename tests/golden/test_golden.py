"""Every case gives the text of its golden file, and the real HAProxy accepts it without a warning."""

import pytest

from tests.golden.cases import FOLDER, expected_path, golden_text, list_cases, render_case
from tests.golden.haproxy import check_haproxy


@pytest.mark.parametrize("case", list_cases())
def test_case_gives_its_golden_file(case: str):
    expected = expected_path(case)
    assert expected.exists(), f"{expected.name} is missing; `make golden` writes it"
    assert golden_text(render_case(case)) == expected.read_text(encoding="utf-8"), "if this is meant: `make golden`"


@pytest.mark.parametrize("case", list_cases())
def test_haproxy_accepts_the_case(case: str):
    assert check_haproxy(render_case(case)) == ""


def test_no_golden_file_is_left_over():
    assert sorted(path.name.removesuffix(".out.cfg") for path in FOLDER.glob("*.out.cfg")) == list_cases()
