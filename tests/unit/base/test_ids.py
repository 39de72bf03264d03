"""Ids: random, derived, and told from other text."""

import uuid

import pytest

from statera.base.ids import derive_id, is_uuid, new_id

PLAIN = "00000000-0000-4000-8000-00000000abcd"


def test_random_ids_differ():
    made = {new_id() for _ in range(100)}
    assert len(made) == 100
    assert all(str(uuid.UUID(one)) == one and is_uuid(one) for one in made)


def test_derived_ids_are_always_the_same():
    # Written down: a value that changes would give every configured network another id.
    assert derive_id("network", "public") == "a98ae188-3115-59eb-87bb-03e485c6feb8"
    assert derive_id("a", "b") == derive_id("a", "b")
    assert len({derive_id("a", "b"), derive_id("ab"), derive_id("b", "a"), derive_id("a", "b", "")}) == 4


@pytest.mark.parametrize("text", [PLAIN, PLAIN.upper(), PLAIN.replace("-", "")])
def test_uuids(text: str):
    assert is_uuid(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        PLAIN[:-1],
        f"{PLAIN}0",
        f"{PLAIN}\n",
        f" {PLAIN}",
        f"{{{PLAIN}}}",
        f"urn:uuid:{PLAIN}",
        "-" * 3 + "0" * 32,
        "+" + "0" * 31,
        " " + "0" * 30 + " ",
        "0_" + "0" * 30,
        "\u0660" * 32,
        "00000000-000040008000-00000000abcd",
    ],
)
def test_other_text_that_looks_like_one(text: str):
    assert not is_uuid(text)
