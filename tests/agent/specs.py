"""Short forms of what the agent's tests configure: listeners and pools with all that does not matter filled in."""

from collections.abc import Iterable, Sequence
from typing import Any

from statera.model.document import Document
from statera.model.enums import Algorithm, ListenerProtocol, MonitorType, PoolProtocol
from statera.model.spec import AmphoraSpec, ListenerSpec, MemberSpec, MonitorSpec, PoolSpec
from statera.render.document import render_document
from statera.render.engine import haproxy_capabilities
from statera.render.paths import SANDBOX_PATHS
from tests.agent.ground import LIMITS, Ground


def make_listener(ground: Ground, listener_id: str = "", **given: Any) -> ListenerSpec:
    """Return a listener, HTTP on port 80 with the ground's pool unless it is said otherwise."""
    plain: dict[str, Any] = {
        "id": listener_id or ground.listener_id,
        "protocol": ListenerProtocol.HTTP,
        "port": 80,
        "addresses": (ground.vip, ground.vip6),
        "max_connections": 500,
        "timeout_client_ms": 5000,
        "timeout_connect_ms": 5000,
        "timeout_server_ms": 5000,
        "pool_id": ground.pool_id,
    }
    return ListenerSpec(**(plain | given))


def make_pool(ground: Ground, ports: Sequence[int], pool_id: str = "", **given: Any) -> PoolSpec:
    """Return a pool with a member on the gateway for each port."""
    members = [
        MemberSpec(id=member_id, address=ground.gateway, port=port, weight=1)
        for member_id, port in zip(ground.member_ids, ports, strict=False)
    ]
    plain: dict[str, Any] = {
        "id": pool_id or ground.pool_id,
        "protocol": PoolProtocol.HTTP,
        "algorithm": Algorithm.ROUND_ROBIN,
        "members": tuple(members),
    }
    return PoolSpec(**(plain | given))


def make_monitor(ground: Ground, kind: MonitorType, **given: Any) -> MonitorSpec:
    """Return a monitor that looks often and is sure at once."""
    plain: dict[str, Any] = {
        "id": ground.pool_id,
        "type": kind,
        "interval_ms": 200,
        "timeout_ms": 500,
        "rise": 1,
        "fall": 1,
    }
    return MonitorSpec(**(plain | given))


def make_document(ground: Ground, listeners: Iterable[ListenerSpec], pools: Iterable[PoolSpec]) -> Document:
    spec = AmphoraSpec(
        amphora_id=ground.amphora_id,
        load_balancer_id=ground.load_balancer_id,
        limits=LIMITS,
        listeners=tuple(listeners),
        pools=tuple(pools),
    )
    document = render_document(spec, haproxy_capabilities("2.6.12"), SANDBOX_PATHS)
    assert document is not None
    return document
