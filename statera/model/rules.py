"""What may stand beside what in one tree: compatibility matrices and taken places. Source: rules.md 13 to 17."""

import ipaddress
from collections.abc import Iterable

from statera.base.errors import Refusal, Refused
from statera.model.enums import (
    DATAGRAM_POOL_PROTOCOLS,
    L4_TRANSPORT,
    L7_LISTENER_PROTOCOLS,
    MONITOR_TYPES_OF_POOL,
    POOL_PROTOCOLS_OF_LISTENER,
    ListenerProtocol,
    MonitorType,
)
from statera.model.tree import HealthMonitor, L7Policy, L7Rule, Listener, LoadBalancer, Member, Pool, Resource, Tree

WORDS: dict[type[Resource], str] = {
    LoadBalancer: "Load Balancer",
    Listener: "Listener",
    Pool: "Pool",
    Member: "Member",
    HealthMonitor: "Health Monitor",
    L7Policy: "L7 Policy",
    L7Rule: "L7 Rule",
}
"""What sentences call each resource (rules.md section 5)."""

_DATAGRAM_MONITORS = (MonitorType.UDP_CONNECT, MonitorType.SCTP)


def check_listener_port(tree: Tree, listener: Listener) -> None:
    """Refuse (CONFLICT) a port that another listener holds for the same layer 4 transport."""
    wanted = (L4_TRANSPORT[listener.protocol], listener.protocol_port)
    for other in tree.listeners:
        taken = (L4_TRANSPORT[other.protocol], other.protocol_port)
        if other.id != listener.id and not other.deleting and taken == wanted:
            raise Refused(
                Refusal.CONFLICT,
                f"Another Listener on this Load Balancer is already using protocol {other.protocol} "
                f"and protocol_port {other.protocol_port}",
            )


def check_listener_pool(listener: Listener, pool: Pool) -> None:
    """Refuse (INVALID) a pool whose protocol the listener's cannot carry."""
    if listener.protocol == ListenerProtocol.PROMETHEUS:
        raise Refused(Refusal.INVALID, f"Protocol {listener.protocol} listeners cannot have child objects.")
    if pool.protocol not in POOL_PROTOCOLS_OF_LISTENER[listener.protocol]:
        raise Refused(
            Refusal.INVALID,
            f"Validation failure: The pool protocol '{pool.protocol}' is invalid while the listener protocol "
            f"is '{listener.protocol}'.",
        )


def check_l7_listener(listener: Listener) -> None:
    """Refuse (INVALID, UNSUPPORTED) policies on a listener that has no children, or that sees no requests."""
    if listener.protocol == ListenerProtocol.PROMETHEUS:
        raise Refused(Refusal.INVALID, f"Protocol {listener.protocol} listeners cannot have child objects.")
    if listener.protocol not in L7_LISTENER_PROTOCOLS:
        raise Refused(Refusal.UNSUPPORTED, f"L7 policies on a {listener.protocol} listener")


def check_pool_in_use(tree: Tree, pool: Pool) -> None:
    """Refuse (CONFLICT) to give up a pool that a policy redirects to."""
    gone = {listener.id for listener in tree.listeners if listener.deleting}
    for policy in tree.l7policies:
        if policy.redirect_pool_id == pool.id and not policy.deleting and policy.listener_id not in gone:
            raise Refused(Refusal.CONFLICT, f"Pool {pool.id} is in use by L7 policy {policy.id}")


def check_allowed_cidrs(balancer: LoadBalancer, listener: Listener) -> None:
    """Refuse (INVALID) a range of an IP version that no VIP has."""
    if not listener.allowed_cidrs:
        return
    vips = [balancer.vip.address, *(vip.address for vip in balancer.additional_vips)]
    versions = {ipaddress.ip_address(address).version for address in vips}
    for cidr in listener.allowed_cidrs:
        if ipaddress.ip_network(cidr).version not in versions:
            raise Refused(
                Refusal.INVALID,
                f"Validation failure: CIDR {cidr} IP version incompatible with all VIPs {vips} IP version.",
            )


def check_datagram_families(tree: Tree) -> None:
    """Refuse (UNSUPPORTED) members of an IP version that no VIP has, where a listener of datagrams uses their pool."""
    concerned = [one for one in tree.listeners if L4_TRANSPORT[one.protocol] != "TCP" and not one.deleting]
    if not concerned:
        return
    balancer = tree.load_balancer
    vips = (balancer.vip, *balancer.additional_vips)
    versions = {ipaddress.ip_address(vip.address).version for vip in vips if vip.address}
    for listener in concerned:
        for member in tree.list_members(listener.default_pool_id) if listener.default_pool_id else ():
            if not member.deleting and ipaddress.ip_address(member.address).version not in versions:
                raise Refused(
                    Refusal.UNSUPPORTED,
                    f"mixing IPv4 and IPv6 addresses for VIPs and members in {listener.protocol} load balancers: "
                    f"no VIP has the IP version of member {member.address}",
                )


def place_of(member: Member) -> tuple[str, int]:
    """Return what tells members of a pool apart. Addresses are stored in their canonical spelling."""
    return member.address, member.protocol_port


def check_member_place(others: Iterable[Member], member: Member) -> None:
    """Refuse (CONFLICT) an address and port that another member of the pool holds."""
    wanted = place_of(member)
    if any(other.id != member.id and not other.deleting and place_of(other) == wanted for other in others):
        raise Refused(
            Refusal.CONFLICT,
            f"Another member on this pool is already using ip {member.address} on protocol_port {member.protocol_port}",
        )


def check_monitor_type(pool: Pool, monitor: HealthMonitor) -> None:
    """Refuse (INVALID) a kind of check that does not go with the pool's protocol."""
    if monitor.type in MONITOR_TYPES_OF_POOL[pool.protocol]:
        if monitor.expected_body is not None and pool.protocol in DATAGRAM_POOL_PROTOCOLS:
            why = f"expected_body is not a valid option for health monitors of {pool.protocol} pools"
            raise Refused(Refusal.INVALID, why)
        return
    if monitor.type in _DATAGRAM_MONITORS:
        why = f"The {monitor.type} type is only supported for pools of type UDP/SCTP."
    else:
        why = (
            f"The associated pool protocol is {pool.protocol}, so only a UDP-CONNECT/SCTP/TCP/HTTP health monitor "
            "is supported."
        )
    raise Refused(Refusal.INVALID, f"Validation failure: {why}")
