"""Whether all that was edited has come to rest: in the API's statuses, in HAProxy's files, in what HAProxy says.

And whether the API shows of everything how it really fares.
"""

import json
from typing import Any

import httpx

from statera.base.errors import Lasting
from tests.chaos.engines import list_unserved
from tests.chaos.statuses import list_untrue
from tests.chaos.tenants import BALANCERS
from tests.fixtures.operating import WORKING
from tests.hosts.ground import Ground


def list_unsettled(ground: Ground) -> list[str]:
    """Return what has not come to what was edited, in words. HAProxy is asked when the API has nothing left to say."""
    told = []
    try:
        for one in ground.request("GET", BALANCERS)["loadbalancers"]:
            if one["generation"] != one["observed_generation"]:
                told.append(f"{one['id']} is at {one['observed_generation']} of {one['generation']}")
            tree = ground.request("GET", f"{BALANCERS}/{one['id']}/status")
            told += list_troubled(tree["statuses"]["loadbalancer"])
        return told or list_untrue(ground) or list_unserved(ground)
    except (Lasting, httpx.TransportError) as error:
        return [f"the API does not tell: {error}"]


def list_troubled(status: Any, kind: str = "loadbalancer") -> list[str]:
    """Return what in a status tree is not ACTIVE, from the top down, or works and has a reason left, or the reverse.

    Pure.
    """
    provisioning, operating, reason = status["provisioning_status"], status["operating_status"], status["status_reason"]
    is_fine = provisioning == "ACTIVE" and (reason is None) == (operating in WORKING)
    told = [] if is_fine else [f"{kind} {status['id']} is {provisioning}, {operating}: {json.dumps(reason)}"]
    for below, found in status.items():
        for child in found if isinstance(found, list) else [found]:
            if isinstance(child, dict) and "provisioning_status" in child:
                told += list_troubled(child, below)
    return told
