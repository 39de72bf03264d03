"""The pages of documentation, and the table of options in one of them."""

import re
from pathlib import Path

from statera.base.settings import describe_options

ROOT = Path(__file__).resolve().parents[3]
CONFIGURATION = ROOT / "docs" / "configuration.md"
BEGIN = "<!-- Options: `make docs` writes what stands from here to the end of the page. -->\n"


def list_pages() -> list[Path]:
    """Return all pages, for people who read them in the tree."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def read_page(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def render_options() -> str:
    """Return one table of options for each section of the configuration."""
    sections: dict[str, list[tuple[str, str, str, str]]] = {}
    for option, kind, default, meaning in describe_options():
        section, _, name = option.rpartition(".")
        sections.setdefault(section, []).append((name, kind, default, meaning))
    return "\n".join(_render_section(section, rows) for section, rows in sections.items())


def _render_section(section: str, rows: list[tuple[str, str, str, str]]) -> str:
    header = f"[[{section.replace('[]', '')}]]" if section.endswith("[]") else f"[{section}]"
    title = f"`{header}`" if section else "At the top of the file"
    lines = [f"### {title}", "", "| option | type | default | meaning |", "|---|---|---|---|"]
    for name, kind, default, meaning in rows:
        shown = default if default == "required" else f"`{default}`"
        lines.append(f"| `{name}` | {escape_cell(kind)} | {shown} | {escape_cell(meaning)} |")
    return "\n".join([*lines, ""])


def escape_cell(text: str) -> str:
    return text.replace("|", "\\|")


def render_configuration(page: str) -> str:
    """Return the page with the options of today after its hand-written head."""
    head, _, _ = page.partition(BEGIN)
    return f"{head}{BEGIN}\n{render_options()}"


def list_blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def list_words(page: str) -> set[str]:
    """Return what stands between single backticks."""
    return set(re.findall(r"(?<!`)`([^`\n]+)`(?!`)", page))
