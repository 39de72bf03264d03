"""When certificates that tenants refer to end, and what is said of it: beforehand a reason, afterwards DEGRADED.

HAProxy serves an expired one as before, and speaks to members with it; whoever checks it refuses it.
"""

import datetime as dt
from collections.abc import Iterator, Mapping

from statera.base.reason import Reason
from statera.model.tree import Listener, Pool, Tree

EXPIRES = "certificate-expires"
EXPIRED = "certificate-expired"


def judge_certificates(tree: Tree, owner: Listener | Pool, now: dt.datetime, warn_days: float) -> Reason | None:
    """Return the reason of the certificate that ends first among those that an object is served with, None for none.

    Its slug is `EXPIRED`, or `EXPIRES` within `warn_days` days of the end.
    """
    ends = tree.load_balancer.certificate_ends
    used = [(ends[ref], ref) for ref in dict.fromkeys(_list_references(owner)) if ref in ends]
    if not used:
        return None
    (end, ref), warning = min(used), dt.timedelta(days=warn_days)
    if end - now > warning:
        return None
    at = end.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    if end <= now:
        return Reason(slug=EXPIRED, sentence=f"The certificate of {ref} expired at {at}.", since=end)
    days = (end - now).days
    within = f"in {days} days" if days > 1 else "in 1 day" if days else "within a day"
    sentence = f"The certificate of {ref} expires {within}, at {at}."
    return Reason(slug=EXPIRES, sentence=sentence, since=end - warning)


def _list_references(owner: Listener | Pool) -> Iterator[str]:
    refs: tuple[str | None, ...]
    if isinstance(owner, Pool):
        refs = (owner.tls_container_ref, owner.ca_tls_container_ref)
    else:
        refs = (owner.default_tls_container_ref, *owner.sni_container_refs, owner.client_ca_tls_container_ref)
    yield from (ref for ref in refs if ref)


def find_ends(ends: Mapping[str, dt.datetime | None]) -> dict[str, dt.datetime]:
    """Return the ends that are known, by reference, to the second."""
    return {ref: end.replace(microsecond=0) for ref, end in sorted(ends.items()) if end is not None}
