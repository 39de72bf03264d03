"""Why something is as it is: a stable slug for machines and a sentence for people."""

import datetime as dt

import msgspec


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One reason that a tenant or an operator can read.

    `slug` is stable and listed in `docs/reasons.md`; `sentence` names what was seen. `since` is the UTC time
    it was first seen, None while the observer has not dated it; `generation` is the edit that caused it, if known.
    """

    slug: str
    sentence: str
    since: dt.datetime | None = None
    generation: int | None = None
