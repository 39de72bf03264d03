"""Tables on an operator's terminal and in a pipe, and JSON for machines."""

import os
import sys

import msgspec
from rich.console import Console, RenderableType
from rich.table import Column
from rich.text import Text

PIPE_WIDTH = 240
"""Letters in a line for `grep` and files: what no window bounds is not cut off."""
SHORT_ID_WIDTH = 9


def print_table(table: RenderableType) -> None:
    """Print it as wide as the terminal is; into a pipe or a file as wide as it wants to be, unless COLUMNS says so."""
    is_bounded = sys.stdout.isatty() or "COLUMNS" in os.environ
    Console(width=None if is_bounded else PIPE_WIDTH).print(table)


def print_json(told: object) -> None:
    """Print what scripts read, indented."""
    print(msgspec.json.format(msgspec.json.encode(told)).decode())


def id_column(head: str) -> Column:
    """Return a column of ids that are to be copied: whole on every terminal that is wide enough for one."""
    return Column(head, min_width=36, no_wrap=True)


def short(text: str | Text) -> Text:
    """Return what gives way first when the terminal is narrow: it stays in its line and ends with an ellipsis."""
    kept = text if isinstance(text, Text) else Text(text)
    kept.no_wrap, kept.overflow = True, "ellipsis"
    return kept
