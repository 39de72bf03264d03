"""`statera config show`: the configuration in force, and what every option means."""

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
from rich.console import Console
from rich.table import Table

from statera.base.secret import Secret
from statera.base.settings import Settings, describe_options


def print_settings(settings: Settings) -> None:
    """Print the settings as TOML with all secrets left out."""
    print(render_settings(settings), end="")


def print_options() -> None:
    """Print a table of all options."""
    table = Table("option", "type", "default", "meaning", show_lines=False)
    for row in describe_options():
        table.add_row(*row)
    Console().print(table)


def render_settings(settings: Settings) -> str:
    """Return TOML text that loads to the same settings, except for secrets."""
    values = msgspec.to_builtins(settings, enc_hook=_hide_secret)
    values["database"]["url"] = hide_password(values["database"]["url"])
    return msgspec.toml.encode(_plain(values)).decode()


def _hide_secret(value: Any) -> str:
    assert isinstance(value, Secret)
    return str(value) if value.reveal() else ""


def hide_password(url: str) -> str:
    """Return the URL with `[redacted]` for the password, if it holds one."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:[redacted]@{host}"))


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
