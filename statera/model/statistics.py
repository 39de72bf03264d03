"""Traffic that was counted: what one HAProxy process told, and the totals that outlive it."""

import datetime as dt

import msgspec

from statera.model.heartbeat import ListenerObserved


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What one process of an amphora's HAProxy has counted since its own start, at one moment.

    Each load of a configuration is a new process, which counts from zero.
    """

    amphora_id: str
    process: int
    """Tells apart the processes of one amphora, nothing more."""
    told_at: dt.datetime
    listeners: tuple[ListenerObserved, ...]


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """Totals of a listener or a load balancer. Only `active_connections` goes down again."""

    active_connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    request_errors: int = 0
    total_connections: int = 0


class AmphoraTraffic(Traffic, frozen=True, kw_only=True):
    """Totals of one listener on one amphora."""

    id: str
    """The amphora's."""
    listener_id: str
    loadbalancer_id: str
