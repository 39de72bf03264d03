"""Every reason that the code gives is explained to people, and none that it does not give."""

import re

from tests.unit.docs.pages import ROOT, read_page
from tests.unit.docs.slugs import find_slugs

PAGE = ROOT / "docs" / "reasons.md"
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (.+) \| (.+) \|$", re.MULTILINE)


def _list_documented() -> list[str]:
    return [slug for slug, _meaning, _mend in ROW.findall(read_page(PAGE))]


def test_every_reason_of_the_code_is_explained():
    missing = {slug: sorted(files) for slug, files in find_slugs().items() if slug not in _list_documented()}
    assert missing == {}, "add them to docs/reasons.md"


def test_every_reason_explained_is_in_the_code():
    known = find_slugs()
    assert [slug for slug in _list_documented() if slug not in known] == []


def test_no_reason_is_explained_twice():
    documented = _list_documented()
    assert sorted({slug for slug in documented if documented.count(slug) > 1}) == []
