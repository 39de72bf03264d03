"""On which host an amphora is built."""

import hashlib
from collections.abc import Collection, Mapping, Sequence

from statera.base.reason import Reason
from statera.model.amphora import Host
from statera.model.features import read_installed, serves
from statera.model.tree import Tree


def choose_host(
    hosts: Sequence[Host],
    placed: Mapping[str, int],
    avoid: Collection[str] = (),
    *,
    zone: str | None = None,
    spares: Collection[str] = (),
    whose: str = "",
) -> str | Reason:
    """Return the least loaded host that has room, in the compute zone if one is named, or the reason why there is none.

    `placed` counts rows, which come before what a host counts. Hosts in `avoid`, those of the load balancer's other
    amphorae, are taken only when no other has room. Then come those in `spares`, which have one that stands ready and
    counts already. Among equal loads `whose`, the id of a load balancer, decides: equal worlds give equal plans, and
    load balancers that are created at once, before any of them counts, do not all go to the same host.
    """
    if zone is not None:
        hosts = [host for host in hosts if host.zone in (None, zone)]
        if not hosts:
            sentence = f"No host can take an amphora: none is in compute zone {zone}."
            return Reason(slug="zone-without-host", sentence=sentence)
    answering = [host for host in hosts if host.reachable]
    if not answering:
        return Reason(slug="no-host-reachable", sentence=_tell_unreachable(hosts))
    if all(host.draining for host in answering):
        told = ", ".join(host.name for host in answering[:3])
        sentence = f"No host can take an amphora: all that answer are being drained ({told})."
        return Reason(slug="hosts-draining", sentence=sentence)
    loads = {host.name: max(host.amphora_count, placed.get(host.name, 0)) for host in answering}
    ready = [host for host in answering if host.name in spares and not host.draining]
    roomy = ready or [host for host in answering if host.has_room and loads[host.name] < host.amphora_limit]
    if not roomy:
        return Reason(slug="host-full", sentence=_tell_full([host for host in answering if not host.draining]))
    return min(roomy, key=lambda host: (host.name in avoid, loads[host.name], _draw_lot(whose, host.name))).name


def list_able(hosts: Sequence[Host], tree: Tree) -> Sequence[Host]:
    """Return the hosts whose engines can serve all of a tree; all hosts when none can: then it is said what is missing.

    One that does not answer tells nothing of its engines.
    """
    return [one for one in hosts if one.reachable and serves(tree, read_installed("", one.engine_versions))] or hosts


def _draw_lot(whose: str, host: str) -> tuple[bytes, str]:
    return (hashlib.sha256(f"{whose}/{host}".encode()).digest() if whose else b"", host)


def _tell_unreachable(hosts: Sequence[Host]) -> str:
    if not hosts:
        return "No host can take an amphora: none is configured."
    told = "; ".join(f"{host.name}: {host.reason.sentence if host.reason else 'no answer'}" for host in hosts[:3])
    more = f"; and {len(hosts) - 3} more" if len(hosts) > 3 else ""
    return f"No host can take an amphora: none of {len(hosts)} answers. {told}{more}"


def _tell_full(answering: Sequence[Host]) -> str:
    told = ", ".join(f"{host.name} ({host.amphora_limit})" for host in answering[:3])
    more = f" and {len(answering) - 3} more" if len(answering) > 3 else ""
    why = "".join(f" Of {host.name}: {host.limited_by}." for host in answering[:3] if host.limited_by)
    return f"No host has room for another amphora: {told}{more} hold as many as they may.{why}"
