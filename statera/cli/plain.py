"""Text that others chose, on an operator's terminal: neither markup nor control characters do anything there."""

from rich.text import Text


def plain(text: str) -> Text:
    """Return it as it is, with `?` for what cannot be printed."""
    return Text("".join(letter if letter.isprintable() else "?" for letter in text))
