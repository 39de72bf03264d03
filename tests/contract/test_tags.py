"""Tags of every resource that the contract gives some (rules.md section 3): set, replaced, filtered by."""

import itertools

import pytest

from statera.base.ids import new_id
from tests.contract.client import Api
from tests.contract.tables import read_table
from tests.contract.test_fields import make

TAGGED = [row["resource"] for row in read_table("fields") if row["field"] == "tags"]
FILTERS = {
    "tags": lambda held, asked: asked <= held,
    "tags-any": lambda held, asked: bool(asked & held),
    "not-tags": lambda held, asked: not asked <= held,
    "not-tags-any": lambda held, asked: not asked & held,
}


@pytest.mark.parametrize("resource", TAGGED)
async def test_tags(api: Api, resource: str) -> None:
    path, key, _made = await make(api, resource)
    folder, _, object_id = path.rpartition("/")
    a, b = f"a {new_id()}", "ü & Ö?"
    for held in ([a, b, a], [a], [b], []):
        answer = await api.ask("PUT", path, {key: {"tags": held}})
        assert answer.status_code == 200, answer.text
        for shown in (answer.json()[key], (await api.get(path))[key]):
            assert sorted(shown["tags"]) == sorted(set(held))
        for (name, admits), asked in itertools.product(FILTERS.items(), ((a,), (b,), (a, b))):
            for query in ([(name, ",".join(asked))], [(name, tag) for tag in asked]):
                listed = await api.get(folder, params=[("id", object_id), *query])
                (plural,) = (one for one in listed if not one.endswith("_links"))
                assert bool(listed[plural]) == admits(set(held), set(asked)), (held, query)
