"""Expressions that Python and PCRE2 read alike are taken, all others refused."""

import pytest

from statera.model.regex import MOST_SIZE, compile_regex


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "^/(?:a|b)+/", r"\.(jpg|png)$", "[]a]", r"[^\]]", "[a[]", r"[\[:]", "a{2}", "a{2,}", "a{2,3}?", "{",
        "a{", "a{x}", "(?i)a", "(?s:.)(?-i:a)", "(?P<n>a)(?P=n)", "(?<=a)b", "(?<!a)b(?=c)(?!d)", r"\101", r"\0",
        r"\x41\d\w\s\b\B\A\Z", "(?>a+)b", "a++", "a*+", "é", "(?#comment)a", "a{65535}", "((((a))))",
    ],
)  # fmt: skip
def test_taken(text: str) -> None:
    compile_regex(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(", "missing ), unterminated subpattern at position 0"),
        ("a**", "multiple repeat at position 2"),
        ("[[:alpha:]]", "named classes such as [:alpha:] are not supported"),
        ("[^a[.x.]]", "named classes such as [:alpha:] are not supported"),
        ("a{,3}", "a repetition needs its lower bound: {0,n}"),
        ("a{65536}", "a repetition of more than 65535 is not supported"),
        ("(?:(?:[ab]{9}){99}){99}", "the expression is too large"),
        (r"(a)\1", "references by number are not supported; name the group: (?P<name>...) and (?P=name)"),
        ("(?P<n>a)(?(n)b|c)", "conditional groups are not supported"),
        ("(?x)a b", "only the flags i, m and s are supported, not 'x'"),
        ("(?a:a)", "only the flags i, m and s are supported, not 'a'"),
        (f"(?P<{'n' * 33}>a)", f"the group name {'n' * 33!r} is not plain or is longer than 32 characters"),
        (r"\u0041", r"bad escape \u at position 0"),
        ("\ud800", "'utf-8' codec can't encode character '\\ud800' in position 0: surrogates not allowed"),
    ],
)
def test_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        compile_regex(text)
    assert str(caught.value) == why


def test_bytes_are_compared_without_locale() -> None:
    assert compile_regex("^A$", ignore_case=True).search(b"a")
    assert not compile_regex("É", ignore_case=True).search("é".encode())
    assert not compile_regex(r"^\w$").search("é".encode())
    assert MOST_SIZE < 65_536
