"""Which sandboxes have their turn in a turn of the watch: not all in the same one. Pure."""

ANNOUNCE_EVERY = 10
"""Turns of the watch; so is the next one."""
INSIDE_EVERY = 4
MOST_ANNOUNCED = 10
"""Sandboxes in one turn. Every bridge hands an announcement to all that are on it: where there are many, each is one of
many listeners, too."""


def has_turn(amphora_id: str, turn: int, every: int) -> bool:
    """Say whether it is this one's turn, one turn of `every`."""
    return turn % every == int(amphora_id[-6:], 16) % every


def announce_every(sandboxes: int) -> int:
    """Return in how many turns each of so many sandboxes is announced once."""
    return max(ANNOUNCE_EVERY, -(-sandboxes // MOST_ANNOUNCED))
