"""The difference between two documents, for people."""

import difflib

from statera.model.document import Document
from statera.render.document import render_engine_file
from statera.render.paths import SANDBOX_PATHS


def render_difference(before: Document | None, after: Document | None, *, names: tuple[str, str]) -> str:
    """Return a unified difference of the configurations and of the lists they read, "" for none."""
    return "".join(difflib.unified_diff(_lines(before), _lines(after), fromfile=names[0], tofile=names[1], n=2))


def _lines(document: Document | None) -> list[str]:
    if document is None:
        return []
    lines = document.text().splitlines(keepends=True)
    for name, text in document.lists().items():
        lines += [f"# {name}: {entry}" for entry in text.splitlines(keepends=True)]
    servers = document.list_servers().items()
    lines += [
        f"# {backend}/{name}: not checked\n" for (backend, name), one in servers if one.checked and not one.checking
    ]
    if document.datagrams is not None:
        lines += render_engine_file(document.datagrams, SANDBOX_PATHS).splitlines(keepends=True)
    return lines
