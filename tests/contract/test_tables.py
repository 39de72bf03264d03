"""What the code says in its own tables is what the contract's tables say."""

import itertools
from typing import Any

import pytest

from statera.api import listeners
from statera.api.availabilityzones import (
    AvailabilityZoneCreate,
    AvailabilityZoneProfileCreate,
    AvailabilityZoneProfileUpdate,
    AvailabilityZoneUpdate,
)
from statera.api.capabilities import list_capabilities
from statera.api.flavors import FlavorCreate, FlavorProfileCreate, FlavorProfileUpdate, FlavorUpdate
from statera.api.fulltree import L7PolicyInTree, ListenerInTree, PoolInTree
from statera.api.healthmonitors import HealthMonitorCreate, HealthMonitorUpdate, NewHealthMonitor
from statera.api.l7policies import L7PolicyCreate, L7PolicyUpdate
from statera.api.l7rules import L7RuleCreate, L7RuleUpdate, NewL7Rule
from statera.api.listeners import ListenerCreate, ListenerUpdate
from statera.api.loadbalancers import AdditionalVipGiven, LoadBalancerCreate, LoadBalancerUpdate
from statera.api.members import MemberCreate, MemberUpdate, NewMember
from statera.api.policy import POLICY, Caller, RolePolicy, is_allowed
from statera.api.pools import PersistenceGiven, PoolCreate, PoolUpdate
from statera.api.quotas import QuotaUpdate
from statera.api.unsupported import SERVED_TOPOLOGIES
from statera.api.wire import Wire, fields_of
from statera.model import enums, l7rules
from statera.model.catalog import FlavorData, ZoneData
from statera.model.quota import Limits
from tests.contract.policies import ROLES, TARGETS, evaluate
from tests.contract.tables import list_fields, read_json

CREATED: dict[str, type[Wire]] = {
    "loadbalancer": LoadBalancerCreate,
    "loadbalancer.additional_vips[]": AdditionalVipGiven,
    "listener": ListenerCreate,
    "pool": PoolCreate,
    "pool.session_persistence": PersistenceGiven,
    "member": MemberCreate,
    "healthmonitor": HealthMonitorCreate,
    "l7policy": L7PolicyCreate,
    "rule": L7RuleCreate,
    "flavor": FlavorCreate,
    "flavorprofile": FlavorProfileCreate,
    "availability_zone": AvailabilityZoneCreate,
    "availability_zone_profile": AvailabilityZoneProfileCreate,
}
UPDATED: dict[str, type[Wire]] = {
    "loadbalancer": LoadBalancerUpdate,
    "listener": ListenerUpdate,
    "pool": PoolUpdate,
    "member": MemberUpdate,
    "healthmonitor": HealthMonitorUpdate,
    "l7policy": L7PolicyUpdate,
    "rule": L7RuleUpdate,
    "quota": QuotaUpdate,
    "flavor": FlavorUpdate,
    "flavorprofile": FlavorProfileUpdate,
    "availability_zone": AvailabilityZoneUpdate,
    "availability_zone_profile": AvailabilityZoneProfileUpdate,
}
NESTED: dict[str, type[Wire]] = {
    "listener": ListenerInTree,
    "pool": PoolInTree,
    "member": NewMember,
    "healthmonitor": NewHealthMonitor,
    "l7policy": L7PolicyInTree,
    "rule": NewL7Rule,
}
ONLY_IN_TREES = {"listener": {"default_pool"}, "pool": {"members", "healthmonitor"}, "l7policy": {"redirect_pool"}}
"""The reference service breaks on them elsewhere (rules.md section 11); here they are unknown attributes."""


BEYOND = {"healthmonitor": {"expected_body"}, "loadbalancer": {"topology"}}
"""What is taken beyond the contract, by resource."""
BEYOND_ON_UPDATE = {**BEYOND, "loadbalancer": {"topology", "flavor_id"}}


@pytest.mark.parametrize("resource", CREATED)
def test_create_takes_the_contract_fields(resource: str) -> None:
    wanted = {row["field"] for row in list_fields(resource) if row["in_create"] != "no"}
    taken = set(fields_of(CREATED[resource])) - BEYOND.get(resource, set())
    assert taken == wanted - ONLY_IN_TREES.get(resource, set())


@pytest.mark.parametrize("resource", CREATED)
def test_mandatory_fields(resource: str) -> None:
    wanted = {row["field"] for row in list_fields(resource) if row["in_create"] == "required"}
    # The stored type of a session persistence may stay on update; the handler asks for it on create.
    wanted -= {"type"} if resource == "pool.session_persistence" else set()
    assert _list_mandatory(CREATED[resource]) == wanted


@pytest.mark.parametrize("resource", UPDATED)
def test_update_takes_the_contract_fields(resource: str) -> None:
    assert set(fields_of(UPDATED[resource])) - BEYOND_ON_UPDATE.get(resource, set()) == {
        row["field"] for row in list_fields(resource) if row["in_update"] == "yes"
    }


@pytest.mark.parametrize("resource", NESTED)
def test_trees_take_the_contract_fields(resource: str) -> None:
    rows = [row for row in list_fields(resource) if row["in_lb_single_create"] not in ("no", "n/a")]
    assert set(fields_of(NESTED[resource])) - BEYOND.get(resource, set()) == {row["field"] for row in rows}
    assert _list_mandatory(NESTED[resource]) == {
        row["field"] for row in rows if row["in_lb_single_create"] == "required"
    }


def _list_mandatory(kind: type[Wire]) -> set[str]:
    return {name for name, (_field, mandatory) in fields_of(kind).items() if mandatory}


ENUMS: dict[str, Any] = {
    "listener_protocols": enums.ListenerProtocol,
    "pool_protocols": enums.PoolProtocol,
    "lb_algorithms": enums.Algorithm,
    "session_persistence_types": enums.PersistenceType,
    "healthmonitor_types": enums.MonitorType,
    "healthmonitor_http_methods": enums.HttpMethod,
    "l7policy_actions": enums.L7Action,
    "l7rule_types": enums.L7RuleType,
    "l7rule_compare_types": enums.L7CompareType,
    "healthmonitor_types_with_http_fields": enums.MONITOR_TYPES_WITH_HTTP_FIELDS,
    "provisioning_status": enums.ProvisioningStatus,
    "operating_status": enums.OperatingStatus,
    "client_authentication": enums.ClientAuthentication,
    "topologies": enums.Topology,
}


@pytest.mark.parametrize("name", ENUMS)
def test_enumerations(name: str) -> None:
    assert {str(one) for one in ENUMS[name]} == set(read_json("enums")[name])


def test_matrices() -> None:
    table = read_json("enums")
    of_listener = {str(k): sorted(v) for k, v in enums.POOL_PROTOCOLS_OF_LISTENER.items()}
    assert of_listener == {k: sorted(v) for k, v in table["matrix_listener_to_pool_protocol"].items()}
    of_pool = {str(k): sorted(v) for k, v in enums.MONITOR_TYPES_OF_POOL.items()}
    assert of_pool == {k: sorted(v) for k, v in table["matrix_pool_protocol_to_healthmonitor_types"].items()}
    transports = {str(k): v for k, v in enums.L4_TRANSPORT.items()}
    assert transports == {k: table["l4_transport"][k] for k in transports}
    compares = {str(k): sorted(v) for k, v in enums.COMPARES_OF_L7RULE.items()}
    assert compares == {k: sorted(v["compare"]) for k, v in table["l7rule_matrix"].items()}
    assert list(enums.REDIRECT_HTTP_CODES) == table["l7policy_redirect_http_codes"]
    allowed = table["matrix_l7policy_allowed_listener_protocols"]["amphora_provider"]
    assert sorted(enums.L7_LISTENER_PROTOCOLS) == allowed


def test_l7_patterns() -> None:
    wanted = read_json("enums")["l7rule_patterns"]
    assert wanted == {
        "header_name": l7rules.HEADER_NAME,
        "cookie_value": l7rules.COOKIE_VALUE,
        "header_value": l7rules.HEADER_VALUE,
        "header_value_quoted": l7rules.QUOTED_HEADER_VALUE,
        "dn_field": l7rules.DN_FIELD,
    }


def test_capabilities() -> None:
    table = read_json("enums")
    for kind, key in (
        (FlavorData, "flavor_keys_amphora_provider"),
        (ZoneData, "availability_zone_keys_amphora_provider"),
    ):
        assert {one.name for one in list_capabilities(kind)} <= table[key].keys()
        assert all(one.description for one in list_capabilities(kind))
    assert set(SERVED_TOPOLOGIES) <= set(enums.Topology)


def test_quotas_bound_every_kind() -> None:
    assert set(Limits.__struct_fields__) == set(read_json("enums")["quota_resources"])


def test_inserted_headers() -> None:
    table = read_json("enums")["insert_headers"]
    assert set(listeners.HTTP_HEADERS) == set(table["http"])
    assert set(listeners.CERTIFICATE_HEADERS) == set(table["client_certificate"])


@pytest.mark.parametrize("target", POLICY)
@pytest.mark.parametrize("legacy", [False, True])
def test_policies(target: str, legacy: bool) -> None:
    policy = RolePolicy(legacy=legacy)
    for count in range(3):
        for held in itertools.combinations(ROLES, count):
            for own, is_admin in itertools.product(("mine", "other", None), (False, True)):
                caller = Caller(name="x", project_id=own, roles=frozenset(held), is_admin=is_admin, policy=policy)
                wanted = evaluate(TARGETS[target], caller, "mine", legacy=legacy)
                assert is_allowed(caller, target, "mine") == wanted, (held, own, is_admin)


def test_every_operation_has_a_policy() -> None:
    assert TARGETS.keys() == POLICY.keys()
