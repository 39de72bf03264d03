"""What carries an id that the database does not know, and how long it has been left alone.

A row is written before anything outside carries its id. So whoever first lists what is outside and then the known ids
finds no unknown id except what a crash left behind, or what is being made this very moment: hence the grace. What
another deployment made is not ours to judge, however unknown it is.
"""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence

import msgspec

from statera.model.amphora import AmphoraObserved
from statera.model.network import Port


class OrphanSandbox(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    host: str
    amphora_id: str
    epoch: int


class OrphanPorts(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """All ports of one device."""

    device_id: str


Orphan = OrphanSandbox | OrphanPorts


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    collect: tuple[Orphan, ...]
    unknown_since: dict[str, dt.datetime]
    """When each id that nobody knows was first seen; to be handed to the next sweep."""
    foreign: int = 0
    """Sandboxes of other deployments: they are left alone."""


def is_foreign(box: AmphoraObserved, deployment_id: str) -> bool:
    """Say whether a sandbox says of itself that another deployment made it."""
    return box.deployment_id not in ("", deployment_id)


def decide_orphans(
    known_ids: Collection[str],
    sandboxes: Mapping[str, Sequence[AmphoraObserved]],
    ports: Sequence[Port],
    unknown_since: Mapping[str, dt.datetime],
    *,
    now: dt.datetime,
    grace_s: float,
    deployment_id: str = "",
) -> Sweep:
    """Return what to collect: what is ours and has been unknown for at least `grace_s` seconds.

    `known_ids` are those of load balancers and amphorae, read after the rest; `sandboxes` are by host. Ports without a
    device are a tenant's own. An id that disappears or becomes known starts anew.
    """
    ours = {
        host: [box for box in boxes if not is_foreign(box, deployment_id)] for host, boxes in sorted(sandboxes.items())
    }
    # Addresses are freed only when nothing uses them any more: a device whose sandbox was just seen has to wait.
    built = {box.id for boxes in sandboxes.values() for box in boxes}
    own = {box.id for boxes in ours.values() for box in boxes}
    devices = {port.device_id for port in ports}
    unknown = sorted((own | devices) - set(known_ids) - {""})
    since = {one: unknown_since.get(one, now) for one in unknown}
    ripe = {one for one in unknown if (now - since[one]).total_seconds() >= grace_s}
    collect: list[Orphan] = [
        OrphanSandbox(host=host, amphora_id=box.id, epoch=box.epoch)
        for host, boxes in ours.items()
        for box in boxes
        if box.id in ripe
    ]
    collect += [OrphanPorts(device_id=one) for one in sorted(devices & ripe - built)]
    foreign = sum(is_foreign(box, deployment_id) for boxes in sandboxes.values() for box in boxes)
    return Sweep(collect=tuple(collect), unknown_since=since, foreign=foreign)
