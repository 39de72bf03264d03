"""The difference between two documents, for people."""

import difflib

from statera.model.document import Document


def render_difference(before: Document | None, after: Document | None, *, names: tuple[str, str]) -> str:
    """Return a unified difference of the configuration and of the lists it reads, "" for none."""
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
    return lines
