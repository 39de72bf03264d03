"""Find every reason slug that the code can give, by reading its syntax trees.

A slug is the first argument of an error of ours, or the argument `slug` of anything. It stands there as a text, as a
name that is given a text, or as one of the families below. What is handed on from another reason has none of its own.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from statera.base.errors import Refusal
from statera.model.heartbeat import HeartbeatRefusal
from tests.unit.docs.pages import ROOT

FAMILIES = {
    "request-": [kind.value for kind in Refusal],
    "heartbeat-": [kind.value for kind in HeartbeatRefusal],
}
"""Beginnings of slugs that end with a word of an enumeration."""
FIRST_IS_SLUG = {"StateraError", "Transient", "Lasting"}
NOT_SHIPPED = {"fakes.py"}
"""What only tests run."""


@functools.cache
def find_slugs() -> dict[str, set[str]]:
    """Return the files by slug."""
    trees = {
        path: ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "statera").rglob("*.py"))
        if path.name not in NOT_SHIPPED
    }
    shared = {name: found for tree in trees.values() for name, found in _list_texts(tree).items() if name.isupper()}
    found: dict[str, set[str]] = {}
    for path, tree in trees.items():
        texts = shared | _list_texts(tree)
        for node in _list_slug_nodes(tree):
            for slug in _read(node, texts, path):
                found.setdefault(slug, set()).add(str(path.relative_to(ROOT)))
    return found


def _list_texts(tree: ast.Module) -> dict[str, set[str]]:
    """Return the texts that each name of a file is given."""
    texts: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            for target, value in _pair(node.targets[0], node.value):
                if isinstance(target, ast.Name) and isinstance(value, ast.Constant) and isinstance(value.value, str):
                    texts.setdefault(target.id, set()).add(value.value)
    return texts


def _pair(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        yield from zip(target.elts, value.elts, strict=False)
    else:
        yield target, value


def _list_slug_nodes(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and FIRST_IS_SLUG & {ast.unparse(base) for base in node.bases}:
            yield from (call.args[0] for call in _list_calls(node) if ast.unparse(call.func) == "super().__init__")
    for call in _list_calls(tree):
        yield from (word.value for word in call.keywords if word.arg == "slug")
        if ast.unparse(call.func) in FIRST_IS_SLUG and call.args:
            yield call.args[0]


def _list_calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _read(node: ast.expr, texts: dict[str, set[str]], path: Path) -> set[str]:
    match node:
        case ast.Constant(value=str(slug)):
            return {slug}
        case ast.Constant(value=None) | ast.Attribute():
            return set()
        case ast.Name(id=name):
            return texts.get(name, set())  # One that is never given a text is an argument.
        case ast.BoolOp(values=values):
            return set().union(*(_read(value, texts, path) for value in values))
        case ast.JoinedStr(values=[ast.Constant(value=str(beginning)), ast.FormattedValue()]) if beginning in FAMILIES:
            return {f"{beginning}{word}" for word in FAMILIES[beginning]}
    raise AssertionError(f"{path.relative_to(ROOT)}, line {node.lineno}: a slug that cannot be read from the text")
