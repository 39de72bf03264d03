"""Which machines keep Statera's own certificates fresh: one should, and each says so beside the chores.

It is no chore that any worker could claim: only the machine with the authority's key can do it, and it goes on doing so
without the database.
"""

import sqlalchemy as sa

from statera.base.reason import Reason
from statera.store.engine import Store
from statera.store.rows import encode_told

CHORE = "rotate-certificates"
FORGET_S = 600.0
"""Seconds after which a machine that has said nothing does not count any more."""

_NOTE = sa.text(f"""
    INSERT INTO chores (name, due_at, done_at, reason, memory)
    VALUES (
        '{CHORE}', now() + make_interval(secs => :next_s), now(), CAST(:reason AS jsonb),
        jsonb_build_object(CAST(:machine AS text), now())
    )
    ON CONFLICT (name) DO UPDATE SET
        due_at = excluded.due_at, done_at = excluded.done_at, reason = excluded.reason,
        memory = excluded.memory || coalesce(
            (SELECT jsonb_object_agg(key, value) FROM jsonb_each_text(chores.memory) AS old
             WHERE key <> :machine AND CAST(value AS timestamptz) > now() - make_interval(secs => {FORGET_S})),
            '{{}}'
        )
""")
_LIST = sa.text(f"""
    SELECT key AS machine FROM chores, jsonb_each_text(memory)
    WHERE name = '{CHORE}' AND CAST(value AS timestamptz) > now() - make_interval(secs => {FORGET_S}) ORDER BY key
""")


async def note_keeper(store: Store, machine: str, *, next_s: float, reason: Reason | None = None) -> None:
    """Write that a machine has looked at the certificates, when it does again, and what failed. Raises `Transient`."""
    told = encode_told(reason) if reason is not None else None
    await store.execute(_NOTE, {"machine": machine, "next_s": next_s, "reason": told})


async def list_keepers(store: Store) -> tuple[str, ...]:
    """Return the machines that have said so lately; more than one means that the key is where it should not be."""
    return tuple(row.machine for row in await store.execute(_LIST))
