"""Regular expressions that mean the same to all who read them: Python here, PCRE2 in HAProxy.

Tenants write them once; the API checks them, `l7.py` explains with them and HAProxy decides by them. So what only one
of the two engines understands, or the two understand differently, is refused. Both read bytes: text is UTF-8.
"""

import re
import warnings

MOST_REPEATS = 65_535
"""Of one item, in PCRE2."""
MOST_SIZE = 20_000
"""Of the compiled expression, as estimated below. PCRE2 ends at 64 KiB; it copies a group for each repetition."""

_CLASS_SIZE, _ITEM_SIZE = 40, 8
_TOKEN = re.compile(
    r"""
    (?P<octal>\\[0-3][0-7]{2})
    | (?P<number>\\[1-9])
    | (?P<escape>\\.)
    | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])
    | (?P<comment>\(\?\#[^)]*\))
    | \(\?P<(?P<name>[^>]*)>
    | (?P<reference>\(\?P=[^)]*\))
    | \(\?(?P<flags>[a-zA-Z-]*)(?P<end>[:)])
    | (?P<test>\(\?\()
    | (?P<open>\(\?(?:<?[=!]|>)|\()
    | (?P<close>\))
    | \{(?P<least>\d*)(?P<comma>,?)(?P<most>\d*)\}
    | (?P<repeat>[*+?])
    | (?P<item>.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)


def compile_regex(text: str, *, ignore_case: bool = False) -> re.Pattern[bytes]:
    """Return the expression for `search` in bytes. Raises `ValueError` that says what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compiled = re.compile(text.encode(), re.IGNORECASE if ignore_case else 0)
    except (re.error, RecursionError, OverflowError, UnicodeEncodeError) as error:
        raise ValueError(str(error)) from None
    _check_dialect(text)
    return compiled


def _check_dialect(text: str) -> None:
    """Refuse what Python accepts and PCRE2 does not, or reads otherwise; and what is too large for PCRE2."""
    sizes = [0]
    group = 0
    """Size of the item before if it was a group: a quantifier copies groups."""
    for token in _TOKEN.finditer(text):
        if token["close"]:
            group = sizes.pop() + _ITEM_SIZE
            sizes[-1] += group
        elif token["open"] or token["name"] is not None or token["end"] == ":":
            _check_group(token)
            sizes.append(0)
        elif token["comma"] is not None or token["repeat"]:
            sizes[-1] += group * (_count_copies(token) - 1) + _ITEM_SIZE
            group = 0
        else:
            _check_item(token)
            group = 0
            sizes[-1] += _CLASS_SIZE if token["set"] else _ITEM_SIZE
        if sizes[-1] > MOST_SIZE:
            raise ValueError("the expression is too large")


def _check_group(token: re.Match[str]) -> None:
    name = token["name"]
    if name is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,31}", name):
        raise ValueError(f"the group name {name!r} is not plain or is longer than 32 characters")
    _check_flags(token["flags"])


def _check_item(token: re.Match[str]) -> None:
    _check_flags(token["flags"])
    if token["number"]:
        # HAProxy compiles without numbers for groups.
        raise ValueError("references by number are not supported; name the group: (?P<name>...) and (?P=name)")
    if token["test"]:
        raise ValueError("conditional groups are not supported")
    if token["set"] and re.search(r"\[[:.=]", re.sub(r"\\.", "", token["set"][1:])):
        raise ValueError("named classes such as [:alpha:] are not supported")


def _check_flags(flags: str | None) -> None:
    if flags and not set(flags) <= set("ims-"):
        raise ValueError(f"only the flags i, m and s are supported, not {flags!r}")


def _count_copies(token: re.Match[str]) -> int:
    if token["repeat"]:
        return 1
    least, most = token["least"], token["most"]
    if not least and token["comma"]:
        raise ValueError("a repetition needs its lower bound: {0,n}")
    count = int(most or least or 1)
    if count > MOST_REPEATS:
        raise ValueError(f"a repetition of more than {MOST_REPEATS} is not supported")
    return max(1, count)
