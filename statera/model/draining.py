"""Hosts that an operator empties: what still stays on them, and why."""

import datetime as dt

import msgspec

from statera.base.reason import Reason
from statera.model.enums import ProvisioningStatus


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """The order to move everything off a host and to place nothing there."""

    host: str
    actor: str
    since: dt.datetime
    reason: Reason | None = None
    """Why something there is not being moved, None when nothing stands in the way."""
    is_gone: bool = False
    """Whether the host is gone for good, and all that was on it."""


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """An amphora on such a host."""

    amphora_id: str
    load_balancer_id: str
    host: str
    compute_zone: str | None
    is_asked: bool
    """Whether it is to be replaced already."""
    provisioning_status: ProvisioningStatus
    """Its load balancer's, and so is the reason."""
    reason: Reason | None
    deleting: bool

    @property
    def is_stuck(self) -> bool:
        """Say whether its replacement waits for something: others need not wait for it."""
        return self.is_asked and self.reason is not None
