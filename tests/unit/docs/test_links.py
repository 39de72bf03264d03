"""What pages point at exists: other pages, files of the tree, commands, targets."""

import re

import pytest

from statera.cli.main import app
from tests.unit.docs.pages import ROOT, list_pages, list_words, read_page

PAGES = pytest.mark.parametrize("path", list_pages(), ids=lambda path: str(path.relative_to(ROOT)))
ROOMS = ("statera/", "tests/", "docs/", "scripts/", ".ci/")


@PAGES
def test_links_lead_somewhere(path):
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", read_page(path)) if "://" not in link]
    assert [link for link in links if link and not (path.parent / link).exists()] == []


@PAGES
def test_headings_that_links_name_exist(path):
    missing = []
    for link in re.findall(r"\]\(([^)\s]+#[^)\s]+)\)", read_page(path)):
        file, _, anchor = link.partition("#")
        if "://" not in link and anchor not in _list_anchors(read_page(path.parent / file if file else path)):
            missing.append(link)
    assert missing == []


def _list_anchors(page: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@PAGES
def test_files_named_on_a_page_exist(path):
    named = [word for word in list_words(read_page(path)) if word.startswith(ROOMS) and re.fullmatch(r"[\w./-]+", word)]
    assert [word for word in named if not (ROOT / word).exists()] == []


@PAGES
def test_commands_named_on_a_page_exist(path):
    words = {word for word in list_words(read_page(path)) if word.startswith(("statera ", "make "))}
    known = {f"statera {name}" for name in app if not name.startswith("-")}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known |= {f"make {target}" for target in re.findall(r"^([a-z]+):", makefile, re.MULTILINE)}
    assert [word for word in words if " ".join(word.split()[:2]) not in known] == []
