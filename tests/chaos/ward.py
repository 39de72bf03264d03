"""One load balancer without clients that has an object of each operating status, by web servers that die and come back.

Which statuses are true then `statuses.py` tells.
"""

from collections.abc import Sequence
from typing import Any

from statera.cli.playground import WEB_PORT, WebServer
from tests.chaos.tenants import ALGORITHMS, BALANCERS
from tests.hosts.ground import Ground

QUICK = {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 3, "url_path": "/"}


def make_ward(ground: Ground, steady: Sequence[WebServer], frail: Sequence[WebServer]) -> str:
    """Make it of three web servers that live and some that come and go; return its id.

    One pool has members of every kind, one the first of the frail alone, one no monitor, one a disabled listener.
    """
    healthy, disabled, draining = steady[:3]
    mixed = [*map(_describe, [healthy, *frail]), _describe(disabled, admin_state_up=False)]
    listeners = [
        _listen(80, [*mixed, _describe(draining, weight=0)]),
        _listen(81, [_describe(frail[0])]),
        _listen(82, [_describe(frail[0])], is_watched=False),
        _listen(83, [_describe(healthy)], is_enabled=False),
    ]
    wanted = {"name": "ward", "vip_subnet_id": ground.find_subnet_id(), "listeners": listeners}
    return str(ground.request("POST", BALANCERS, {"loadbalancer": wanted})["loadbalancer"]["id"])


def _listen(port: int, members: Sequence[Any], *, is_watched: bool = True, is_enabled: bool = True) -> Any:
    monitor = {"healthmonitor": QUICK} if is_watched else {}
    pool = {"name": f"ward-{port}", "protocol": "HTTP", "lb_algorithm": ALGORITHMS[0], "members": members} | monitor
    listener = {"name": f"ward-{port}", "protocol": "HTTP", "protocol_port": port, "default_pool": pool}
    return listener | {"admin_state_up": is_enabled}


def _describe(server: WebServer, **more: Any) -> Any:
    return {"name": server.name, "address": server.address, "protocol_port": WEB_PORT} | more
