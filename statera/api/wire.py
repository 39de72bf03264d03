"""Request bodies as structs: what was given, what was null and what was left out are three different things.

A wire struct names its fields with a kind from `fields.py` in `Annotated`; a field without a default is mandatory:

    class MemberCreate(Wire, frozen=True, kw_only=True):
        address: Annotated[str, Address()]
        weight: Annotated[int | UnsetType | None, Integer(0, 256)] = UNSET
"""

from collections.abc import Callable, Container, Mapping
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.fields import BadValue, Field, Flag, Misread, Schema, Several, Text, Uuid
from statera.base.errors import Refusal, Refused

T = TypeVar("T")
W = TypeVar("W", bound="Wire")

Name = Annotated[str | UnsetType | None, Text()]
OptionalFlag = Annotated[bool | UnsetType | None, Flag()]
OptionalUuid = Annotated[str | UnsetType | None, Uuid()]
OptionalRef = Annotated[str | UnsetType | None, Text()]
ProjectId = Annotated[str | UnsetType | None, Text(36)]
Tags = Annotated[tuple[str, ...] | UnsetType | None, Several(Text(), unique=True)]

KEEP: Any = object()
"""null leaves the stored value as it is."""
REFUSE: Any = object()
"""null is refused."""
NULLS_ON_CREATE: dict[str, Any] = {"name": "", "description": "", "admin_state_up": False, "tags": ()}
NULLS_ON_UPDATE: dict[str, Any] = {"name": "", "description": "", "admin_state_up": False, "tags": KEEP}
"""What null means for the attributes of every resource (`contract/fields.csv`); admin_state_up is no slip."""


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all request bodies."""


class Nested:
    """A field that holds an object of its own."""

    def __init__(self, kind: type[Wire]) -> None:
        self.kind = kind

    def read(self, value: Any) -> Wire:
        return _read_object(self.kind, value)

    def schema(self) -> Schema:
        return {"$ref": f"#/components/schemas/{self.kind.__name__}"}


class _Unknown(Exception):
    """Attributes that a body may not have, and where they stand."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.path: list[str] = []


class _Invalid(Exception):
    def __init__(self, field: str, value: Any, why: str) -> None:
        super().__init__(why)
        self.field, self.value, self.why = field, value, why


@cache
def fields_of(kind: type[Wire]) -> Mapping[str, tuple[Field, bool]]:
    """Return each field's kind and whether it is mandatory."""
    hints = get_type_hints(kind, include_extras=True)
    found: dict[str, tuple[Field, bool]] = {}
    for field in msgspec.structs.fields(kind):
        hint = hints[field.name]
        assert get_origin(hint) is Annotated, f"{kind.__name__}.{field.name} names no kind of field"
        found[field.name] = (get_args(hint)[1], field.required)
    return found


def read_body(kind: type[W], body: Any, argument: str, root: str) -> W:
    """Return the object under `root` of a decoded body. Raises `Refused` (INVALID) in the contract's words."""
    value = _read_root(body, argument, root)
    if value is None:
        raise _refuse(root, None, "Mandatory field missing.")
    return _told(argument, root, body, lambda: _read_object(kind, value))


def read_list_body(kind: type[W], body: Any, argument: str, root: str) -> tuple[W, ...]:
    """Return the objects in the list under `root` of a decoded body."""
    value = _read_root(body, argument, root)
    if value is None:
        raise _refuse(root, None, "Mandatory field missing.")
    return _told(argument, root, body, lambda: _read_objects(kind, value))


def _read_root(body: Any, argument: str, root: str) -> Any:
    if not isinstance(body, dict):
        raise _refuse(argument, body, "Value should be an object")
    unknown = [name for name in body if name != root]
    if unknown:
        raise Refused(Refusal.INVALID, _tell_unknown(argument, unknown))
    return body.get(root)


def _read_objects(kind: type[W], value: Any) -> tuple[W, ...]:
    return Several(Nested(kind)).read(value)


def _told(argument: str, root: str, body: Any, read: Callable[[], T]) -> T:
    try:
        return read()
    except Misread as error:
        raise _refuse(argument, body, str(error)) from None
    except BadValue as error:
        raise _refuse(root, body[root], str(error)) from None
    except _Invalid as error:
        raise _refuse(error.field, error.value, error.why) from None
    except _Unknown as error:
        raise Refused(
            Refusal.INVALID, _tell_unknown(".".join([argument, root, *reversed(error.path)]), error.names)
        ) from None


def _tell_unknown(where: str, names: list[str]) -> str:
    word = "attribute" if len(names) == 1 else "attributes"
    return f"Unknown {word} for argument {where}: {', '.join(sorted(names))}"


def _refuse(field: str, value: Any, why: str) -> Refused:
    return Refused(Refusal.INVALID, f"Invalid input for field/attribute {field}. Value: '{value}'. {why}")


def _read_object(kind: type[W], value: Any) -> W:
    if not isinstance(value, dict):
        raise BadValue("Value should be an object")
    known = fields_of(kind)
    unknown = [name for name in value if name not in known]
    if unknown:
        raise _Unknown(unknown)
    values: dict[str, Any] = {}
    for name, (field, mandatory) in known.items():
        given = value.get(name)
        if given is not None:
            values[name] = _read_field(name, field, given)
        elif mandatory:
            raise _Invalid(name, None, "Mandatory field missing.")
        elif name in value:
            values[name] = None
    return kind(**values)


def _read_field(name: str, field: Field, given: Any) -> Any:
    try:
        return field.read(given)
    except Misread:
        raise
    except BadValue as error:
        raise _Invalid(name, given, str(error)) from None
    except _Unknown as error:
        error.path.append(name)
        raise


def list_given(wire: Wire, nulls: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a body gives, by field; `nulls` says what null means: a value, `KEEP` or `REFUSE`, else None."""
    given: dict[str, Any] = {}
    for name in wire.__struct_fields__:
        value = getattr(wire, name)
        if value is None and name in nulls:
            value = nulls[name]
            if value is REFUSE:
                raise Refused(Refusal.INVALID, f"None is not a valid option for {name}")
        if value is not UNSET and value is not KEEP:
            given[name] = value
    return given


def list_kept(wire: Wire, nulls: Mapping[str, Any], names: Container[str]) -> dict[str, Any]:
    """Return what a body gives of these fields; the others mean something else than a value to store."""
    return {name: value for name, value in list_given(wire, nulls).items() if name in names}


def schema_of(kind: type[Wire]) -> Schema:
    """Return the JSON schema of a request body's object."""
    known = fields_of(kind)
    properties = {name: _nullable(field.schema(), mandatory) for name, (field, mandatory) in known.items()}
    required = [name for name, (_field, mandatory) in known.items() if mandatory]
    schema: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return schema | ({"required": required} if required else {})


def _nullable(schema: Schema, mandatory: bool) -> Schema:
    return schema if mandatory else {"anyOf": [schema, {"type": "null"}]}
