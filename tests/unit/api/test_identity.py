"""Checking the password of nobody takes as long as that of somebody."""

import bcrypt

from statera.api.identity import _DUMMY_HASH, DUMMY_COST, _check_password, find_cost
from statera.base.secret import Secret


def test_the_cost_is_that_of_most_users() -> None:
    hashes = [bcrypt.hashpw(b"word", bcrypt.gensalt(cost)) for cost in (4, 5, 5)]
    assert find_cost(hashes) == 5
    assert find_cost([b"$2y$12$" + b"a" * 53]) == 12
    assert find_cost([]) == find_cost([b"$2y$99$a", b"$2b$", b"plain"]) == DUMMY_COST


def test_the_hash_of_nobody_is_one_and_no_password_fits() -> None:
    assert not _check_password(Secret(b"word"), _DUMMY_HASH % 4)
    # bcrypt itself takes it: what it refuses would be answered at once.
    assert bcrypt.checkpw(b"word", _DUMMY_HASH % 4) is False
