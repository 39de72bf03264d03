"""What is wrong with a configuration, in words that name the option itself, from what the decoder says of it."""

import difflib
import re
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

_UNKNOWN = re.compile(r"Object contains (unknown field `(.+)`)")
_MISSING = re.compile(r"Object (missing required field `(.+)`)")
_NO_CHOICE = "Invalid enum value"
_STEP = re.compile(r"[^.\[\]]+|\[[^\]]*\]")


def describe_fault(message: str, root: type[msgspec.Struct]) -> tuple[str, str]:
    """Return (option, what is wrong with it) of a decoder's message about a `root`.

    An option that is not known is named itself, with one whose name is like it; so is one that is missing. Of a choice
    all that can be chosen is told.
    """
    what, _, where = message.partition(" - at `$")
    option = where.rstrip("`").removeprefix(".")
    if match := _UNKNOWN.fullmatch(what):
        return _join(option, match[2]), match[1] + _guess(match[2], _find(root, option))
    if match := _MISSING.fullmatch(what):
        return _join(option, match[2]), match[1]
    if what.startswith(_NO_CHOICE) and (choices := get_args(_find(root, option))):
        return option, f"{what}, not one of: {', '.join(map(str, choices))}"
    return option or "the top level", what


def _join(section: str, option: str) -> str:
    return f"{section}.{option}" if section else option


def _guess(name: str, section: Any) -> str:
    known = get_type_hints(section) if isinstance(section, type) and issubclass(section, msgspec.Struct) else {}
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _find(root: Any, path: str) -> Any:
    """Return the type that stands at a path of the configuration, None where the path leads nowhere."""
    kind = root
    for step in _STEP.findall(path):
        if step.startswith("["):
            kind = next((_bare(item) for item in reversed(get_args(kind)) if item is not Ellipsis), None)
        else:
            kind = _bare(get_type_hints(kind, include_extras=True).get(step)) if isinstance(kind, type) else None
    return kind


def _bare(kind: Any) -> Any:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind
