"""What an L7 rule may say: which comparisons, keys and values go with its type (rules.md section 18)."""

import re

from statera.base.errors import Refusal, Refused
from statera.model.enums import COMPARES_OF_L7RULE, L7CompareType, L7RuleType
from statera.model.regex import compile_regex
from statera.model.tree import L7Rule

HEADER_NAME = r"\A[a-zA-Z0-9!#$%&\'*+-.^_`|~]+\Z"
COOKIE_VALUE = r"\A[a-zA-Z0-9!#$%&\'()*+-./:<=>?@[\]^_`{|}~]+\Z"
HEADER_VALUE = r'\A[a-zA-Z0-9!"#$%&\'()*+,-./:;<=>?@[\]^_`{|}~\\]+\Z'
QUOTED_HEADER_VALUE = r'\A"[a-zA-Z0-9 \t!"#$%&\'()*+,-./:;<=>?@[\]^_`{|}~\\]*"\Z'
DN_FIELD = r"^([a-zA-Z][A-Za-z0-9-]*)$"
"""As in `contract/enums.json`."""

WITHOUT_KEY = (L7RuleType.HOST_NAME, L7RuleType.PATH, L7RuleType.FILE_TYPE)
"""These ignore a key."""
_VALUE_WORDS = {L7RuleType.HEADER: "header value", L7RuleType.COOKIE: "cookie value"}


def check_l7rule(rule: L7Rule) -> None:
    """Refuse (INVALID) a rule that cannot be."""
    if not rule.value:
        raise _invalid("L7 rule type requires a value")
    match rule.type:
        case L7RuleType.SSL_CONN_HAS_CERT | L7RuleType.SSL_VERIFY_RESULT:
            _check_certificate_rule(rule)
            return
        case L7RuleType.SSL_DN_FIELD:
            _check_name_rule(rule)
        case L7RuleType.HEADER | L7RuleType.COOKIE:
            if not rule.key:
                raise _invalid("L7 rule type requires a key")
            _check_characters(rule.key, "key", HEADER_NAME)
        case _:
            pass
    _check_value(rule)


def _check_certificate_rule(rule: L7Rule) -> None:
    if rule.key:
        raise _invalid(f'L7rule type {rule.type} does not use the "key" field.')
    if rule.type == L7RuleType.SSL_CONN_HAS_CERT and rule.value.lower() != "true":
        raise _invalid(f"L7rule value {rule.value} is not a boolean True string.")
    if rule.type == L7RuleType.SSL_VERIFY_RESULT and not re.fullmatch(r"[0-9]+", rule.value):
        raise _invalid(f"L7rule type {rule.type} needs a int value, which is >= 0")
    if rule.compare_type not in COMPARES_OF_L7RULE[rule.type]:
        raise _invalid(f"L7rule type {rule.type} only supports the EQUAL_TO compare type.")


def _check_name_rule(rule: L7Rule) -> None:
    if not rule.key:
        raise _invalid(f"L7rule type {rule.type} needs to specify a key and a value.")
    if not re.fullmatch(DN_FIELD, rule.key):
        raise _invalid("Invalid L7rule distinguished name field.")


def _check_value(rule: L7Rule) -> None:
    if rule.compare_type not in COMPARES_OF_L7RULE[rule.type]:
        raise _invalid("invalid comparison type for rule type")
    if rule.compare_type == L7CompareType.REGEX:
        try:
            compile_regex(rule.value)
        except ValueError as error:
            raise _refuse(f"Unable to parse regular expression: {error}") from None
    elif rule.type == L7RuleType.COOKIE:
        _check_characters(rule.value, _VALUE_WORDS[rule.type], COOKIE_VALUE)
    elif rule.type != L7RuleType.SSL_DN_FIELD:
        word = _VALUE_WORDS.get(rule.type, "comparison value")
        _check_characters(rule.value, word, HEADER_VALUE, QUOTED_HEADER_VALUE)


def _check_characters(text: str, what: str, *patterns: str) -> None:
    if not any(re.search(pattern, text) for pattern in patterns):
        raise _refuse(f"Invalid characters in {what}")


def _invalid(why: str) -> Refused:
    return _refuse(f"Invalid L7 Rule: {why}")


def _refuse(why: str) -> Refused:
    return Refused(Refusal.INVALID, f"Error parsing L7Rule: {why}")
