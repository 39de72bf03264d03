"""How the amphorae of one load balancer share its VIPs: VRRP version 3 (RFC 5798) over unicast.

Which of them has the VIPs is between their keepalived processes; nobody else is asked, so that it also works while
every other part of Statera is down.
"""

import msgspec

from statera.model.enums import AmphoraRole

PRIORITIES = {AmphoraRole.MASTER: 100, AmphoraRole.BACKUP: 90}
"""Of those that share: they decide who begins, no more."""
SINGLE_PRIORITY = 100
"""Of a single one, which shares the VIPs only until a pair has taken them from it."""
TAKING_PRIORITY, YIELDING_PRIORITY = 50, 1
"""Of one that takes the VIPs from one that is to go, and of that one once it is ready to go: not a moment earlier."""
ADVERT_MS = 80
"""Three that stay away, and 50 ms: the VIPs move 0.3 s after a machine was lost, a third of the budget. Each costs a
packet of 40 bytes for each address family."""
VIRTUAL_ROUTER_ID = 1
"""The same everywhere: adverts go to named peers only, so those of two load balancers never meet."""
LIFELINE = "lifeline"
"""The interface that is there as long as HAProxy lives: without it keepalived gives the VIPs up."""


class VrrpSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The part of one amphora. Its interface, own addresses and VIPs are those of `eth0` in the sandbox's spec."""

    priority: int
    """1 to 254. Who has the VIPs keeps them, whatever the priorities are, unless somebody `preempts`."""
    preempts: bool = False
    """Whether it takes the VIPs from one with a lower priority: only while that one is to go."""
    advert_ms: int
    """Between two adverts, a multiple of 10. Three that stay away, and a little more, are taken for a death."""
    peers: tuple[str, ...] = ()
    """Addresses of the others, sorted, of the families that they have."""
