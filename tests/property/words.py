"""Splits a configuration line into words as HAProxy does (manual 2.2): our own reading, to judge what we write."""

SPECIAL_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class Expands(Exception):
    """The line holds something that HAProxy would replace by something else."""


def split_words(line: str) -> list[str]:
    """Return the words of one line. Raises `Expands` for a variable and `ValueError` for a quote that does not end."""
    words: list[str] = []
    word: str | None = None
    quote = ""
    signs = iter(line)
    for sign in signs:
        if quote == "'":
            if sign == "'":
                quote = ""
            else:
                word = (word or "") + sign
        elif sign == "\\":
            following = next(signs, "")
            if following == "x":
                following = chr(int(next(signs) + next(signs), 16))
                word = (word or "") + following
            else:
                word = (word or "") + SPECIAL_ESCAPES.get(following, following)
        elif sign == "$" and quote == '"':
            raise Expands(line)
        elif sign == quote:
            quote = ""
        elif quote:
            word = (word or "") + sign
        elif sign in "'\"":
            quote, word = sign, word or ""
        elif sign == "#":
            break
        elif sign in " \t":
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + sign
    if quote:
        raise ValueError(f"a quote does not end: {line}")
    return words if word is None else [*words, word]
