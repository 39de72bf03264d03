"""What clients asked for and what was promised to them, kept apart from the database: so an edit that it loses is seen.

An answer is a promise. Whether an edit without an answer was made nobody knows: either is right.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from statera.base.errors import Refused
from statera.model.tree import Tree
from tests.simulation.certificates import list_certificates
from tests.simulation.database import list_rows

Asked = Mapping[tuple[str, str], Any]
"""By id of an object and field. The field `there` says whether the object is wanted at all."""


class Promise(msgspec.Struct, kw_only=True):
    """What a field may hold: what was promised last, or was asked for and may have been done since.

    Two clients may ask at the same time: whose edit was done last nobody outside knows.
    """

    asked: list["Wanted"]

    def is_kept_by(self, value: Any) -> bool:
        return value in [one.value for one in self.asked]


class Wanted(msgspec.Struct, eq=False):
    """One value that somebody asked for."""

    value: Any
    began: int
    ended: int | None = None
    """When nobody was at it any more; both in words of the ledger."""

    def is_over_before(self, other: "Wanted") -> bool:
        return self.ended is not None and self.ended < other.began


class Ledger:
    def __init__(self) -> None:
        self.version = 0
        """Rises with each word that changes what is right."""
        self._promises: dict[str, dict[tuple[str, str], Promise]] = {}
        """By load balancer."""
        self._replaced: dict[str, set[str]] = {}

    @contextmanager
    def asking(self, load_balancer_id: str, asked: Asked) -> Iterator[None]:
        """Note what an edit asks for: a promise once it is answered, nothing when it is refused, else a perhaps."""
        promises = self._promises.setdefault(load_balancer_id, {})
        self.version += 1
        wanted = {key: Wanted(value, self.version) for key, value in asked.items()}
        for key, one in wanted.items():
            nothing = Wanted(False if key[1] == "there" else msgspec.UNSET, began=0, ended=0)
            promises.setdefault(key, Promise(asked=[nothing])).asked.append(one)
        try:
            yield
        except Refused:
            for key, one in wanted.items():
                promises[key].asked.remove(one)
            raise
        else:
            for key, one in wanted.items():
                # Whatever had ended before this one began is overwritten by it.
                promises[key].asked = [old for old in promises[key].asked if not old.is_over_before(one)]
        finally:
            self.version += 1
            for one in wanted.values():
                one.ended = self.version

    def note_replaced(self, load_balancer_id: str, amphora_ids: Collection[str]) -> None:
        """Note whose place others were promised to take."""
        self._replaced.setdefault(load_balancer_id, set()).update(amphora_ids)

    def copy(self) -> "Ledger":
        """Return what is promised by now, for a database that may go back to now."""
        other = Ledger()
        other._promises = {
            one: {key: Promise(asked=[*promise.asked]) for key, promise in promises.items()}
            for one, promises in self._promises.items()
        }
        other._replaced = {one: set(replaced) for one, replaced in self._replaced.items()}
        return other

    def go_back(self, before: "Ledger") -> None:
        self._promises, self._replaced = before._promises, before._replaced
        self.version += 1

    # What became of it

    def find_vanished(self, present: Collection[str]) -> str | None:
        """Say which load balancer is gone although nobody asked for that."""
        for one, promises in self._promises.items():
            if one not in present and not promises[one, "there"].is_kept_by(False):
                return f"{one} is gone, and nobody asked for that"
        return None

    def find_broken(self, tree: Tree) -> str | None:
        """Say which promise about a load balancer, or something below it, is not kept."""
        promises, shown = self._promises.get(tree.load_balancer.id, {}), describe(tree)
        for key, promise in promises.items():
            object_id, field = key
            if field != "there" and (object_id, "there") not in shown:
                continue
            value = shown.get(key, False)
            if not promise.is_kept_by(value):
                return f"{field} of {object_id} is {value}, asked was {[one.value for one in promise.asked]}"
        stranger = next((one for one, field in shown if field == "there" and (one, field) not in promises), None)
        return None if stranger is None else f"{stranger} is there, and nobody asked for it"

    def find_unreplaced(self, load_balancer_id: str, amphora_ids: Collection[str]) -> str | None:
        """Say whose place nobody has taken although that was promised."""
        left = self._replaced.get(load_balancer_id, set()) & set(amphora_ids)
        return f"has still {sorted(left)}, which were to be replaced" if left else None


def describe(tree: Tree) -> dict[tuple[str, str], Any]:
    """Return what a tree wants, in the words of the ledger."""
    balancer = tree.load_balancer
    wanted = [one for one in (balancer, *list_rows(tree)) if not one.deleting]
    told: dict[tuple[str, str], Any] = {(one.id, "there"): True for one in wanted}
    told |= {(one.id, "admin_state_up"): one.admin_state_up for one in wanted}
    told[balancer.id, "topology"] = balancer.topology
    told |= {(one.id, "protocol_port"): one.protocol_port for one in tree.listeners if not one.deleting}
    told |= {(one.id, "certificates"): list_certificates(one) for one in tree.listeners if not one.deleting}
    told |= {(one.id, "weight"): one.weight for one in tree.members if not one.deleting}
    return told
