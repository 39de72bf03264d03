"""User ids of sandboxes: claimed once, kept, given back, never had by two."""

import os
import threading
from pathlib import Path

import msgspec
import pytest

from statera.agent import users
from statera.agent.users import claim_user, holds_user, is_mapped, release_user
from statera.base.errors import Lasting
from statera.base.settings import AgentSettings

FIRST = 1_900_000_000


@pytest.fixture(autouse=True)
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(users, "REGISTER", tmp_path / "register")
    return tmp_path / "register"


def _agent(number: int) -> AgentSettings:
    return AgentSettings(first_user_id=FIRST, user_ids=number)


def _place(tmp_path: Path, name: str) -> Path:
    place = tmp_path / name
    place.mkdir()
    return place


def test_everyone_has_another_number_and_keeps_it(tmp_path: Path, register: Path) -> None:
    agent, places = _agent(20), [_place(tmp_path, str(number)) for number in range(20)]
    claimed = [claim_user(agent, place) for place in places]
    assert sorted(claimed) == list(range(FIRST, FIRST + 20))
    assert [claim_user(agent, place) for place in places] == claimed
    assert [claim_user(agent, place, known) for place, known in zip(places, claimed, strict=True)] == claimed
    assert register.stat().st_mode & 0o777 == 0o700
    with pytest.raises(Lasting) as refused:
        claim_user(agent, _place(tmp_path, "more"))
    assert refused.value.reason.slug == "user-ids-used-up"


def test_a_number_is_free_once_it_is_given_back_or_its_folder_is_gone(tmp_path: Path) -> None:
    agent, first, second = _agent(1), _place(tmp_path, "first"), _place(tmp_path, "second")
    claim_user(agent, first)
    release_user(first)
    assert not holds_user(first, FIRST)
    assert claim_user(agent, second) == FIRST
    second.rmdir()
    assert claim_user(agent, first) == FIRST
    release_user(second)
    assert holds_user(first, FIRST)


def test_a_known_number_comes_back_unless_another_one_has_it(tmp_path: Path) -> None:
    agent, first, second = _agent(5), _place(tmp_path, "first"), _place(tmp_path, "second")
    # A range that was moved: whoever has a number of before keeps it.
    assert claim_user(agent, first, FIRST - 7) == FIRST - 7
    assert claim_user(agent, second, FIRST - 7) in range(FIRST, FIRST + 5)
    assert not holds_user(second, 0)


def test_accounts_of_the_machine_are_left_alone(tmp_path: Path) -> None:
    # Root and whoever runs this have accounts; the configuration allows no such number.
    agent = msgspec.structs.replace(_agent(1), first_user_id=os.getuid())
    with pytest.raises(Lasting):
        claim_user(agent, _place(tmp_path, "one"))


def test_many_at_once_get_different_numbers(tmp_path: Path) -> None:
    agent, places = _agent(24), [_place(tmp_path, str(number)) for number in range(24)]
    claimed: list[int] = []
    threads = [threading.Thread(target=lambda one=place: claimed.append(claim_user(agent, one))) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(claimed)) == 24


def test_a_range_beyond_what_the_kernel_knows_is_seen() -> None:
    assert is_mapped(AgentSettings(first_user_id=os.getuid(), user_ids=1))
    assert not is_mapped(AgentSettings(first_user_id=2**32 - 2, user_ids=100))
