"""Traffic totals of load balancers and listeners (rules.md section 22)."""

from typing import Any

from statera.api.call import Call, Route, answer_json
from statera.api.errors import Answer
from statera.api.loading import find
from statera.model.statistics import Traffic
from statera.model.tree import Listener, LoadBalancer
from statera.store.statistics import load_balancer_traffic, load_listener_traffic


async def accept_balancer_stats(call: Call) -> Answer:
    """Show the sums over a load balancer's listeners."""
    call.require_arguments("fields")
    place = await find(call, LoadBalancer, call.path["loadbalancer_id"], "loadbalancer:get_stats")
    return answer_json({"stats": await load_balancer_traffic(call.room.store, place.id)})


async def accept_listener_stats(call: Call) -> Answer:
    """Show the sums over all amphorae of a listener; zeros when nothing was counted."""
    call.require_arguments("fields")
    place = await find(call, Listener, call.path["listener_id"], "listener:get_stats")
    return answer_json({"stats": await load_listener_traffic(call.room.store, place.id)})


_TOLD: dict[str, Any] = {"summary": "Show traffic totals", "arguments": ("fields",), "root": "stats", "shown": Traffic}
ROUTES = (
    Route(method="GET", path="/loadbalancers/{loadbalancer_id}/stats", act=accept_balancer_stats, **_TOLD),
    Route(method="GET", path="/listeners/{listener_id}/stats", act=accept_listener_stats, **_TOLD),
)
