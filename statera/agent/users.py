"""A user of its own for each sandbox: a number of a range in which no account is. Its processes run as that.

A number is claimed for the whole machine, since several installations may share it: by a link in `REGISTER` that is
named after the number and leads to the folder of whoever has it. It is free again when neither that folder nor the
namespace of that name is there. After a reboot every sandbox claims the number of its record again.
All functions block for some milliseconds.
"""

import contextlib
import hashlib
import itertools
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import msgspec

from statera.base.errors import Lasting
from statera.base.files import locked
from statera.base.settings import AgentSettings

REGISTER = Path("/run/statera-users")


class User(msgspec.Struct, frozen=True):
    """Whom the processes of a sandbox run as."""

    user_id: int
    group_id: int


NOBODY = User(65534, 65534)


def find_shared_user(agent: AgentSettings) -> User:
    """Return the user of all sandboxes that were built by versions which knew no others."""
    try:
        found = pwd.getpwnam(agent.haproxy_user)
    except KeyError:
        return NOBODY
    return User(found.pw_uid, found.pw_gid)


def claim_user(agent: AgentSettings, place: Path, known: int = 0) -> int:
    """Return the number that the owner of a folder has from now on: the known one if nobody else has it.

    Again is fine. Raises `Lasting` (slug `user-ids-used-up`).
    """
    with _register():
        # One after the other: there are tens of thousands, and nearly always the first one is it.
        for number in itertools.chain((known,) if known else (), _candidates(agent, place)):
            link = REGISTER / str(number)
            if _read(link) == str(place):
                return number
            if _is_free(link) and (number == known != 0 or not _is_account(number)):
                link.unlink(missing_ok=True)
                link.symlink_to(place)
                return number
    first, most = agent.first_user_id, agent.user_ids
    sentence = f"None of the {most} user ids from {first} on is left for another sandbox on host {agent.name}."
    raise Lasting("user-ids-used-up", sentence)


def holds_user(place: Path, number: int) -> bool:
    """Say whether the owner of a folder has this number."""
    return bool(number) and _read(REGISTER / str(number)) == str(place)


def release_user(place: Path) -> None:
    """Give back whatever number the owner of a folder has. Its processes have ended, and its files are gone."""
    if REGISTER.is_dir():
        with _register():
            for link in REGISTER.iterdir():
                if _read(link) == str(place):
                    link.unlink(missing_ok=True)


def is_mapped(agent: AgentSettings) -> bool:
    """Say whether the kernel knows the whole range here: in a container it may not (user_namespaces(7))."""
    last, reached = agent.first_user_id + agent.user_ids, agent.first_user_id
    for line in sorted(Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines(), key=_first_inside):
        first, _, length = map(int, line.split())
        if first <= reached < first + length:
            reached = first + length
    return reached >= last


def _first_inside(line: str) -> int:
    return int(line.split()[0])


@contextlib.contextmanager
def _register() -> Iterator[None]:
    # Whose number is whose is nobody's business but root's.
    REGISTER.mkdir(mode=0o700, exist_ok=True)
    with locked(REGISTER / "lock", waits=True):
        yield


def _candidates(agent: AgentSettings, place: Path) -> Iterator[int]:
    # Spread, so that a number that has become free is rarely the next one that is taken.
    begin = int.from_bytes(hashlib.sha256(str(place).encode()).digest()[:8])
    return (agent.first_user_id + (begin + step) % agent.user_ids for step in range(agent.user_ids))


def _read(link: Path) -> str:
    with contextlib.suppress(OSError):
        return os.readlink(link)
    return ""


def _is_free(link: Path) -> bool:
    # `statera up` looks at the range alone: it need not keep the library of netlink in memory.
    from statera.agent import namespace

    holder = Path(_read(link))
    return not link.is_symlink() or not (holder.exists() or namespace.exists(holder.name))


def _is_account(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True
