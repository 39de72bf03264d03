"""Which sandboxes have their turn in a turn of the watch: not all in the same one. Pure."""

ANNOUNCE_EVERY = 10
"""Turns of the watch; so are the next two."""
INSIDE_EVERY = 4
ASK_EVERY = 2
MOST_HEARD = 3000
"""Announcements in one turn, times the sandboxes that hear each: a bridge hands one to all that are on it, which takes
the kernel some 5 us for every one of them. Where each of a thousand is announced, a million would have to be handed."""


def has_turn(amphora_id: str, turn: int, every: int) -> bool:
    """Say whether it is this one's turn, one turn of `every`."""
    return turn % every == int(amphora_id[-6:], 16) % every


def announce_every(sandboxes: int) -> int:
    """Return in how many turns each of so many sandboxes is announced once."""
    return max(ANNOUNCE_EVERY, -(-(sandboxes**2) // MOST_HEARD))
