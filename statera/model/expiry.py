"""When certificates that tenants refer to end, and what is said of it: beforehand a reason, afterwards DEGRADED.

HAProxy serves an expired one as before, and speaks to members with it; whoever checks it refuses it. A list of
revocations ends, too: after the time for which its issuer promised the next one HAProxy takes no certificate at all.
"""

import datetime as dt
from collections.abc import Iterator, Mapping

from statera.base.reason import Reason
from statera.model.enums import ClientAuthentication
from statera.model.tree import Listener, Pool, Tree

EXPIRES = "certificate-expires"
EXPIRED = "certificate-expired"


def judge_certificates(tree: Tree, owner: Listener | Pool, now: dt.datetime, warn_days: float) -> Reason | None:
    """Return the reason of the certificate that ends first among those that an object is served with, None for none.

    Its slug is `EXPIRED`, or `EXPIRES` within `warn_days` days of the end.
    """
    ends = tree.load_balancer.certificate_ends
    used = [(ends[ref], what, ref) for what, ref in dict.fromkeys(_list_references(owner)) if ref in ends]
    if not used:
        return None
    (end, what, ref), warning = min(used), dt.timedelta(days=warn_days)
    if end - now > warning:
        return None
    at = end.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    if end <= now:
        so = "" if what == _CERTIFICATE else ": no certificate is accepted until there is another one"
        return Reason(slug=EXPIRED, sentence=f"The {what} of {ref} expired at {at}{so}.", since=end)
    days = (end - now).days
    within = f"in {days} days" if days > 1 else "in 1 day" if days else "within a day"
    sentence = f"The {what} of {ref} expires {within}, at {at}."
    return Reason(slug=EXPIRES, sentence=sentence, since=end - warning)


_CERTIFICATE, _REVOCATIONS = "certificate", "list of revocations"


def _list_references(owner: Listener | Pool) -> Iterator[tuple[str, str]]:
    """Yield what each reference that is in use leads to, and the reference."""
    refs: tuple[str | None, ...]
    if isinstance(owner, Pool):
        refs, revocations = (owner.tls_container_ref, owner.ca_tls_container_ref), owner.crl_container_ref
    else:
        refs, revocations = (owner.default_tls_container_ref, *owner.sni_container_refs), None
        if owner.client_authentication != ClientAuthentication.NONE:
            refs, revocations = (*refs, owner.client_ca_tls_container_ref), owner.client_crl_container_ref
    yield from ((_CERTIFICATE, ref) for ref in refs if ref)
    if revocations:
        yield _REVOCATIONS, revocations


def find_ends(ends: Mapping[str, dt.datetime | None]) -> dict[str, dt.datetime]:
    """Return the ends that are known, by reference, to the second."""
    return {ref: end.replace(microsecond=0) for ref, end in sorted(ends.items()) if end is not None}
