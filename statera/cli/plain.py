"""Text that others chose, on an operator's terminal: neither markup nor control characters do anything there."""

from rich.text import Text

from statera.base.printable import make_printable


def plain(text: str) -> Text:
    """Return it as it is, with `?` for what cannot be printed."""
    return Text(make_printable(text, len(text)))
