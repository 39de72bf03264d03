"""Reads the cases: a short YAML form of a tree, in which ids are readable words and what never matters is filled in.

Members and the health monitor stand below their pool, rules below their policy; every other key is the model's own.
"""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from statera.model.document import Document
from statera.model.engines import SCTP, EngineName
from statera.model.spec import AmphoraSpec
from statera.model.tree import (
    HealthMonitor,
    L7Policy,
    L7Rule,
    Listener,
    LoadBalancer,
    Member,
    Pool,
    Resource,
    SessionPersistence,
    Tree,
)
from statera.plan.spec import decide_amphora_spec, decide_limits, list_references
from statera.render.engine import haproxy_capabilities
from statera.render.haproxy import render_haproxy
from statera.render.paths import SANDBOX_PATHS

FOLDER = Path(__file__).parent / "cases"
ENGINE = haproxy_capabilities("2.6.12")
ALL_ENGINES = (*EngineName, SCTP)
LIMITS = decide_limits(memory_mib=256, file_descriptors=16_384, cpu_percent=0)

R = TypeVar("R", bound=msgspec.Struct)


def list_cases() -> list[str]:
    return sorted(path.name.removesuffix(".in.yaml") for path in FOLDER.glob("*.in.yaml"))


def expected_path(case: str) -> Path:
    return FOLDER / f"{case}.out.cfg"


def render_case(case: str) -> Document:
    tree = make_tree(yaml.safe_load((FOLDER / f"{case}.in.yaml").read_text(encoding="utf-8")))
    digests = {ref: f"digest of {ref}" for ref in list_references(tree)}
    return render_haproxy(decide_streams(tree, digests), ENGINE, SANDBOX_PATHS)


def decide_streams(tree: Tree, digests: Mapping[str, str] = {}) -> AmphoraSpec:
    """Return what HAProxy serves of a tree, on a host that has an engine for everything."""
    spec = decide_amphora_spec(tree, "amphora", LIMITS, digests, ALL_ENGINES)
    streams = tuple(listener for listener in spec.listeners if listener.engine == EngineName.HAPROXY)
    used = {pool_id for listener in streams for pool_id in listener.pool_ids()}
    pools = tuple(pool for pool in spec.pools if pool.id in used)
    return msgspec.structs.replace(spec, listeners=streams, pools=pools)


def golden_text(document: Document) -> str:
    """Return the configuration, and behind it the files of values that it reads, and those of certificates."""
    lines = [document.text()]
    for name, text in document.lists().items():
        lines += [f"# File {name}:\n", *(f"# {line}\n" for line in text.splitlines())]
    lines += [f"# File tls/{name}: {digest}\n" for name, digest in document.files().items()]
    return "".join(lines)


def make_tree(values: Mapping[str, Any]) -> Tree:
    """Return the tree of a case. Raises `ValueError` for a key that the model does not have."""
    left = set(values) - {"load_balancer", "listeners", "pools", "l7policies"}
    if left:
        raise ValueError(f"unknown keys {left}")
    pools, members, monitors = [], [], []
    for given in values.get("pools", ()):
        plain = dict(given)
        below = {"pool_id": plain["id"]}
        members += [_make(Member, member | below) for member in plain.pop("members", ())]
        if "health_monitor" in plain:
            monitors.append(
                _make(HealthMonitor, {"id": f"{plain['id']}-monitor"} | plain.pop("health_monitor") | below)
            )
        if "session_persistence" in plain:
            plain["session_persistence"] = _convert(SessionPersistence, plain["session_persistence"])
        pools.append(_make(Pool, plain))
    policies, rules = [], []
    for given in values.get("l7policies", ()):
        plain = dict(given)
        below = {"l7policy_id": plain["id"]}
        rules += [
            _make(L7Rule, {"id": f"{plain['id']}-{number}"} | rule | below)
            for number, rule in enumerate(plain.pop("rules", ()), start=1)
        ]
        policies.append(_make(L7Policy, plain))
    return Tree(
        load_balancer=_make(LoadBalancer, values.get("load_balancer", {})),
        listeners=tuple(_make(Listener, listener) for listener in values.get("listeners", ())),
        pools=tuple(pools),
        members=tuple(members),
        health_monitors=tuple(monitors),
        l7policies=tuple(policies),
        l7rules=tuple(rules),
    )


def _make(kind: type[R], values: Mapping[str, Any]) -> R:
    filled: dict[str, Any] = {"project_id": "project", "created_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}
    if kind is LoadBalancer:
        vip = {"address": "192.0.2.10", "subnet_id": "subnet", "network_id": "network", "port_id": "port"}
        filled |= {"id": "balancer", "vip": vip}
    elif issubclass(kind, Resource):
        filled |= {"load_balancer_id": "balancer"}
    return _convert(kind, filled | dict(values))


def _convert(kind: type[R], values: Mapping[str, Any]) -> R:
    unknown = set(values) - set(kind.__struct_fields__)
    if unknown:
        raise ValueError(f"{kind.__name__} has no {unknown}")
    return msgspec.convert(values, kind)
