"""Checking the password of nobody takes as long as that of somebody; who invents tokens is asked to wait."""

import asyncio
import datetime as dt

import bcrypt
import pytest

from statera.api.errors import TooManyTries
from statera.api.identity import _DUMMY_HASH, DUMMY_COST, KeystoneIdentity, _check_password, find_cost
from statera.base.errors import Refused, Transient
from statera.base.secret import Secret
from statera.model.token import Token

HERE, THERE = "192.0.2.1", "192.0.2.2"


def test_the_cost_is_that_of_most_users() -> None:
    hashes = [bcrypt.hashpw(b"word", bcrypt.gensalt(cost)) for cost in (4, 5, 5)]
    assert find_cost(hashes) == 5
    assert find_cost([b"$2y$12$" + b"a" * 53]) == 12
    assert find_cost([]) == find_cost([b"$2y$99$a", b"$2b$", b"plain"]) == DUMMY_COST


def test_the_hash_of_nobody_is_one_and_no_password_fits() -> None:
    assert not _check_password(Secret(b"word"), _DUMMY_HASH % 4)
    # bcrypt itself takes it: what it refuses would be answered at once.
    assert bcrypt.checkpw(b"word", _DUMMY_HASH % 4) is False


class Tokens:
    """An identity service that answers when it is let, and says how often it was asked."""

    def __init__(self) -> None:
        self.valid = {"good", "better"}
        self.is_there = True
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked: list[str] = []
        self.remembered: set[str] = set()

    def knows(self, token: Secret[str]) -> bool:
        return not token.reveal() or token.reveal() in self.remembered

    async def observe_token(self, token: Secret[str]) -> Token | None:
        text = token.reveal()
        if not self.knows(token):
            self.asked.append(text)
            await self.answers.wait()
            if not self.is_there:
                raise Transient("identity-unavailable", "It is away.")
            self.remembered.add(text)
        if text not in self.valid:
            return None
        return Token(
            user_id=text, user_name=text, project_id="p", roles=frozenset(), expires_at=dt.datetime.now(dt.UTC)
        )


async def enter(identity: KeystoneIdentity, token: str, address: str = HERE) -> str:
    """Return what becomes of a request."""
    try:
        return (await identity.identify({"x-auth-token": token}, address)).name
    except Refused:
        return "refused"
    except TooManyTries:
        return "too many"
    except Transient:
        return "away"


async def test_who_invents_tokens_waits_and_nobody_else() -> None:
    tokens = Tokens()
    identity = KeystoneIdentity(tokens, "http://keystone", 3)
    assert [await enter(identity, one) for one in ("good", "a", "b", "b", "", "c", "d")] == [
        "good", "refused", "refused", "refused", "refused", "refused", "too many",
    ]  # fmt: skip
    assert tokens.asked == ["good", "a", "b", "c"]
    assert await enter(identity, "better") == "too many", "nobody knows that it is a good one"
    assert await enter(identity, "good") == "good"
    assert [await enter(identity, one, THERE) for one in ("better", "d")] == ["better", "refused"]
    assert await enter(identity, "better") == "better"


async def test_of_many_that_come_at_once_no_more_are_asked_for() -> None:
    tokens = Tokens()
    tokens.answers.clear()
    identity = KeystoneIdentity(tokens, "http://keystone", 3)
    entering = [asyncio.create_task(enter(identity, f"made-up-{number}")) for number in range(50)]
    await asyncio.sleep(0)
    tokens.answers.set()
    told = await asyncio.gather(*entering)
    assert (told.count("refused"), told.count("too many")) == (3, 47)
    assert len(tokens.asked) == 3


@pytest.mark.parametrize(("is_there", "told"), [(True, "good"), (False, "away")])
async def test_good_tokens_and_a_service_that_is_away_are_no_failures(is_there: bool, told: str) -> None:
    tokens = Tokens()
    tokens.is_there = is_there
    tokens.valid = {f"good-{number}" for number in range(20)}
    identity = KeystoneIdentity(tokens, "http://keystone", 1)
    for text in sorted(tokens.valid):
        assert (await enter(identity, text)).startswith(told)
    tokens.is_there = True
    assert await enter(identity, "made-up") == "refused"
    assert await enter(identity, "another") == "too many"
