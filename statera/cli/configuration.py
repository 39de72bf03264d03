"""`statera config show`: the configuration in force, and what every option means."""

import re
from typing import Any

import msgspec
from rich.table import Table

from statera.base.secret import Secret
from statera.base.settings import DatabaseUrl, Settings, describe_options
from statera.cli.tables import print_table


def print_settings(settings: Settings) -> None:
    """Print the settings as TOML with all secrets left out."""
    print(render_settings(settings), end="")


def print_options() -> None:
    """Print a table of all options."""
    table = Table(show_lines=False)
    for heading in ("option", "type", "default", "meaning"):
        # A name that is cut off cannot be typed.
        table.add_column(heading, overflow="fold")
    for row in describe_options():
        table.add_row(*row)
    print_table(table)


def render_settings(settings: Settings) -> str:
    """Return TOML text that loads to the same settings, except for secrets."""
    values = msgspec.to_builtins(settings, enc_hook=_hide_secret)
    return msgspec.toml.encode(_plain(values)).decode()


def _hide_secret(value: Any) -> str:
    assert isinstance(value, Secret)
    if isinstance(value, DatabaseUrl):
        return hide_password(value.reveal())
    return str(value) if value.reveal() else ""


_BEFORE_HOST = re.compile(r"(\w+://[^:@/]*):.*@", re.DOTALL)
_AS_OPTION = re.compile(r"([?&]\w*password=)[^&]+", re.IGNORECASE)


def hide_password(url: str) -> str:
    """Return the URL with `[redacted]` for the passwords that it holds, before the host or as an option.

    A password may hold any sign, and the URL need not be a good one.
    """
    return _AS_OPTION.sub(r"\1[redacted]", _BEFORE_HOST.sub(r"\1:[redacted]@", url, count=1))


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
