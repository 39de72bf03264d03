"""Request bodies: given, null and left out are three things; nothing gets past the fields' character sets."""

import contextlib
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from statera.api.fields import Address, BadValue, Cidr, Field, Flag, Integer, Several, Text, UrlPath, Uuid
from statera.api.healthmonitors import CODES_PATTERN, DOMAIN_NAME_PATTERN
from statera.api.pools import COOKIE_NAME_PATTERN
from statera.api.wire import KEEP, REFUSE, Wire, list_given, read_body, schema_of
from statera.base.errors import Refused


class Thing(Wire, frozen=True, kw_only=True):
    size: Annotated[int, Integer(1, 9)]
    name: Annotated[str | UnsetType | None, Text(5)] = UNSET
    flag: Annotated[bool | UnsetType | None, Flag()] = UNSET


def read(**values: Any) -> Thing:
    return read_body(Thing, {"thing": values}, "thing_", "thing")


def test_three_kinds_of_absence() -> None:
    assert read(size=1).name is UNSET
    assert read(size=1, name=None).name is None
    assert read(size="1", name="x", flag="off") == Thing(size=1, name="x", flag=False)
    nulls = {"name": "", "flag": KEEP}
    assert list_given(read(size=1, name=None, flag=None), nulls) == {"size": 1, "name": ""}
    with pytest.raises(Refused, match="None is not a valid option for name"):
        list_given(read(size=1, name=None), {"name": REFUSE})


def test_schema() -> None:
    schema = schema_of(Thing)
    assert schema["required"] == ["size"]
    assert schema["properties"]["size"] == {"type": "integer", "minimum": 1, "maximum": 9}
    assert {"type": "null"} in schema["properties"]["name"]["anyOf"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FIELDS: list[Field] = [Text(), Flag(), Integer(0), Uuid(), Address(), Cidr(), UrlPath(), Several(Text(), unique=True)]


@given(field=st.sampled_from(FIELDS), value=ANYTHING)
def test_any_value_is_read_or_refused(field: Field, value: Any) -> None:
    try:
        field.read(value)
    except BadValue:
        return


@given(value=ANYTHING)
def test_any_body_is_read_or_refused(value: Any) -> None:
    for body in (value, {"thing": value}, {"thing": {"size": value}}, {"thing": {"size": 1, "name": value}}):
        with contextlib.suppress(Refused):
            read_body(Thing, body, "thing_", "thing")


CONFIGURED: dict[str, Field] = {
    "url_path": UrlPath(),
    "domain_name": Text(255, least=1, pattern=DOMAIN_NAME_PATTERN),
    "expected_codes": Text(64, pattern=CODES_PATTERN),
    "cookie_name": Text(255, pattern=COOKIE_NAME_PATTERN),
    "address": Address(),
    "cidr": Cidr(),
}
"""Fields that end in a configuration file."""


@given(
    field=st.sampled_from(sorted(CONFIGURED)),
    start=st.sampled_from(["/a", "a.b", "200", "10.0.0.1", ""]),
    end=st.text(),
)
def test_no_control_character_reaches_a_configuration(field: str, start: str, end: str) -> None:
    try:
        read_text = CONFIGURED[field].read(start + end)
    except BadValue:
        return
    if field != "expected_codes":  # spaces after its commas are the contract's
        assert not any(character.isspace() for character in read_text)
    assert "\n" not in read_text
    assert "\r" not in read_text
    assert "\0" not in read_text
