"""Texts that others chose, for reasons, logs and terminals: nothing in them moves a cursor or ends a line."""


def make_printable(text: str, most: int) -> str:
    """Return it with `?` for what cannot be printed, cut to so many characters."""
    if len(text) <= most and text.isprintable():
        return text
    told = "".join(sign if sign.isprintable() else "?" for sign in text[:most])
    return told if len(text) <= most else f"{told[:-1]}…"
