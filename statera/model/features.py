"""What HAProxy has been able to do since which version, and what a load balancer needs of it. Pure.

Only what tenants choose stands here; all else works with the oldest HAProxy that is named. Versions are those in which
the keyword appears in HAProxy's configuration manual.
"""

from collections.abc import Collection, Iterator

import msgspec

from statera.base.errors import Refusal, Refused
from statera.base.reason import Reason
from statera.model.drafts import Decide
from statera.model.engines import EXPORTER
from statera.model.enums import MONITOR_TYPES_WITH_HTTP_FIELDS, Algorithm, ListenerProtocol, MonitorType
from statera.model.tree import HealthMonitor, Listener, Pool, Tree

Version = tuple[int, int]


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """Something that not every HAProxy can do."""

    words: str
    """What the tenant asks for."""
    since: Version
    build: str = ""
    """Named among a host's engines when its HAProxy was built with what this needs; "" for nothing more."""

    def tell_need(self) -> str:
        more = " that was built with its Prometheus exporter" if self.build else ""
        return f"{self.words} needs HAProxy {'.'.join(map(str, self.since))} or newer{more}"


HASHES = Feature(words="the algorithm SOURCE_IP_PORT", since=(2, 6))
"""`balance hash`"""
METRICS = Feature(words="a listener of protocol PROMETHEUS", since=(2, 4), build=EXPORTER)
"""`http-request use-service prometheus-exporter`, with states as labels"""
HSTS = Feature(words="HSTS", since=(2, 2))
"""`http-after-response`"""
PINGS = Feature(words="a health monitor of type PING", since=(2, 2))
"""`insecure-fork-wanted`"""
CHECKS = Feature(words="a health monitor of type HTTP or HTTPS", since=(2, 2))
"""`http-check send`, and several `http-check expect` in a row"""
FEATURES = (HASHES, METRICS, HSTS, PINGS, CHECKS)


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """The HAProxy of one host."""

    host: str = ""
    version: tuple[int, int, int]
    engines: Collection[str] = ()

    def has(self, feature: Feature) -> bool:
        return self.version[:2] >= feature.since and (not feature.build or feature.build in self.engines)


def list_needs(tree: Tree) -> Iterator[tuple[Feature, Listener | Pool | HealthMonitor]]:
    """Yield what the wanted objects of a tree need, and which needs it."""
    for listener in tree.listeners:
        if not listener.deleting and listener.protocol == ListenerProtocol.PROMETHEUS:
            yield METRICS, listener
        if not listener.deleting and listener.hsts_max_age is not None:
            yield HSTS, listener
    for pool in tree.pools:
        if not pool.deleting and pool.lb_algorithm == Algorithm.SOURCE_IP_PORT:
            yield HASHES, pool
    for monitor in tree.health_monitors:
        if not monitor.deleting and monitor.type == MonitorType.PING:
            yield PINGS, monitor
        if not monitor.deleting and monitor.type in MONITOR_TYPES_WITH_HTTP_FIELDS:
            yield CHECKS, monitor


def find_lack(tree: Tree, installed: Installed) -> Reason | None:
    """Return why a host's HAProxy cannot serve the tree, None when it can."""
    for feature, needy in list_needs(tree):
        if not installed.has(feature):
            kind = {Listener: "Listener", Pool: "Pool", HealthMonitor: "Health monitor"}[type(needy)]
            sentence = f"{kind} {needy.name or needy.id}: {feature.tell_need()}; the host has {_tell(installed)}."
            return Reason(slug="feature-missing", sentence=sentence)
    return None


def list_lacking(hosts: Collection[Installed]) -> tuple[Feature, ...]:
    """Return what no host has; nothing when no host is known."""
    return tuple(feature for feature in FEATURES if hosts and not any(host.has(feature) for host in hosts))


def refuse_lacking(decide: Decide, hosts: Collection[Installed]) -> Decide:
    """Return the decision, which refuses (UNSUPPORTED) what would newly need a feature that none of the hosts has.

    What a load balancer has already is not refused again: it must be possible to edit the rest of it.
    """
    lacking = list_lacking(hosts)
    if not lacking:
        return decide

    def guarded(tree: Tree) -> Tree:
        after = decide(tree)
        before = {feature.words for feature, _ in list_needs(tree)}
        check_features(after, hosts, known=before)
        return after

    return guarded


def check_features(tree: Tree, hosts: Collection[Installed], known: Collection[str] = ()) -> None:
    """Refuse (UNSUPPORTED) a tree that needs what none of the hosts has, but for `known` words."""
    lacking = list_lacking(hosts)
    for feature, _ in list_needs(tree):
        if feature in lacking and feature.words not in known:
            newest = max(hosts, key=lambda host: host.version)
            raise Refused(Refusal.UNSUPPORTED, f"{feature.tell_need()}; the newest of all hosts is {_tell(newest)}")


def _tell(installed: Installed) -> str:
    version = ".".join(map(str, installed.version))
    return f"{version} on {installed.host}" if installed.host else version
