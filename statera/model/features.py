"""What HAProxy has been able to do since which version, and what a load balancer needs of a host. Pure.

Only what tenants choose stands here; all else works with the oldest HAProxy that is named. Versions are those in which
the keyword appears in HAProxy's configuration manual.
"""

import re
from collections.abc import Collection, Iterator, Mapping

import msgspec

from statera.base.errors import Refusal, Refused
from statera.base.reason import Reason
from statera.model.drafts import Decide
from statera.model.engines import DATAGRAM_PROTOCOLS, EXPORTER, NEEDS, SCTP, EngineName, choose_engine
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


SCTP_CHECKS = "a health monitor of type SCTP"
"""Whatever the engine: the agent looks itself."""


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """What one host has: its HAProxy, and all engines by name."""

    host: str = ""
    version: tuple[int, int, int]
    engines: Collection[str] = ()

    def has(self, feature: Feature) -> bool:
        return self.version[:2] >= feature.since and (not feature.build or feature.build in self.engines)


def read_version(text: str) -> tuple[int, int, int]:
    """Return the numbers of a version text such as `2.6.12-1+deb12u1`; an unknown one counts as 2.6.0."""
    found = re.search(r"([0-9]{1,9})\.([0-9]{1,9})(?:\.([0-9]{1,9}))?", text)
    major, minor, patch = (int(part or 0) for part in found.groups()) if found else (2, 6, 0)
    return major, minor, patch


def read_installed(host: str, versions: Mapping[str, str]) -> Installed:
    """Return what a host has, from its versions by engine."""
    return Installed(host=host, version=read_version(versions.get(EngineName.HAPROXY, "")), engines=tuple(versions))


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

    def guarded(tree: Tree) -> Tree:
        after = decide(tree)
        try:
            check_features(after, hosts)
        except Refused:
            # Only now it matters what was there before, which takes as long to find as the edit itself.
            check_features(after, hosts, known=_list_needed(tree))
        return after

    return guarded


def _list_needed(tree: Tree) -> frozenset[str]:
    words = {feature.words for feature, _ in list_needs(tree)}.union(_list_datagrams(tree))
    return frozenset(words | ({SCTP_CHECKS} if _has_sctp_checks(tree) else set()))


def check_features(tree: Tree, hosts: Collection[Installed], known: Collection[str] = ()) -> None:
    """Refuse (UNSUPPORTED) a tree that needs what none of the hosts has, but for `known` words."""
    lacking = list_lacking(hosts)
    for feature, _ in list_needs(tree) if lacking else ():
        if feature in lacking and feature.words not in known:
            newest = max(hosts, key=lambda host: host.version)
            raise Refused(Refusal.UNSUPPORTED, f"{feature.tell_need()}; the newest of all hosts is {_tell(newest)}")
    for words, protocol in _list_datagrams(tree).items():
        if words not in known and not _is_carried(protocol, hosts):
            raise Refused(Refusal.UNSUPPORTED, f"{words}, which needs {NEEDS[protocol]}; no host has it")
    if _has_sctp_checks(tree) and SCTP_CHECKS not in known and not any(SCTP in host.engines for host in hosts):
        raise Refused(Refusal.UNSUPPORTED, f"{SCTP_CHECKS}, which needs SCTP in the kernel; no host has it")


def _has_sctp_checks(tree: Tree) -> bool:
    return any(one.type == MonitorType.SCTP and not one.deleting for one in tree.health_monitors)


def _list_datagrams(tree: Tree) -> dict[str, ListenerProtocol]:
    """Return the protocols of datagrams that the wanted objects of a tree need, by the words for them."""
    # A pool's protocol may be none of a listener's.
    found = [("listener", str(one.protocol)) for one in tree.listeners if not one.deleting]
    found += [("pool", str(one.protocol)) for one in tree.pools if not one.deleting]
    wanted = sorted((kind, name) for kind, name in found if name in DATAGRAM_PROTOCOLS)
    return {f"{kind} protocol {name}": ListenerProtocol(name) for kind, name in wanted}


def _is_carried(protocol: ListenerProtocol, hosts: Collection[Installed]) -> bool:
    # SCTP is so rare that hosts must have told that they can; everything else is there until all have told otherwise.
    if not hosts:
        return protocol != ListenerProtocol.SCTP
    return any(isinstance(choose_engine(protocol, host.engines), EngineName) for host in hosts)


def serves(tree: Tree, installed: Installed) -> bool:
    """Say whether one host can serve all that a tree wants."""
    carried = all(_is_carried(protocol, [installed]) for protocol in _list_datagrams(tree).values())
    checked = SCTP in installed.engines or not _has_sctp_checks(tree)
    return carried and checked and find_lack(tree, installed) is None


def _tell(installed: Installed) -> str:
    version = ".".join(map(str, installed.version))
    return f"{version} on {installed.host}" if installed.host else version
