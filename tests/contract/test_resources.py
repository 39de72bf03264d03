"""Rules of single resources: listeners, pools, members as a set, health monitors (rules.md sections 13 to 17)."""

from typing import Any

import pytest

from tests.contract.client import Api
from tests.contract.tables import read_json

ENUMS = read_json("enums")
SERVED = ("HTTP", "HTTPS", "TCP")
SERVED_POOLS = ("HTTP", "HTTPS", "TCP", "PROXY", "PROXYV2")


@pytest.mark.parametrize("listener", SERVED)
@pytest.mark.parametrize("pool", SERVED_POOLS)
async def test_listener_and_pool_protocols(api: Api, listener: str, pool: str) -> None:
    balancer = await api.create_balancer()
    made = await api.create_pool(loadbalancer_id=balancer["id"], protocol=pool)
    body = {
        "loadbalancer_id": balancer["id"], "protocol": listener, "protocol_port": 80, "default_pool_id": made["id"],
    }  # fmt: skip
    if pool in ENUMS["matrix_listener_to_pool_protocol"][listener]:
        await api.create("listeners", **body)
        return
    sentence = await api.refuse("POST", "/listeners", {"listener": body}, status=400)
    wanted = f"Validation failure: The pool protocol '{pool}' is invalid while the listener protocol is '{listener}'."
    assert sentence == wanted
    plain = await api.create("listeners", **{**body, "default_pool_id": None})
    body = {"listener": {"default_pool_id": made["id"]}}
    assert await api.refuse("PUT", f"/listeners/{plain['id']}", body, status=400) == wanted
    both = {"listener_id": plain["id"], "loadbalancer_id": balancer["id"], "protocol": pool}
    for body in (both, {k: v for k, v in both.items() if k != "loadbalancer_id"}):
        refused = await api.refuse("POST", "/pools", {"pool": body | {"lb_algorithm": "SOURCE_IP"}}, status=400)
        assert refused == wanted


@pytest.mark.parametrize("protocol", SERVED_POOLS)
@pytest.mark.parametrize("kind", ENUMS["healthmonitor_types"])
async def test_pool_protocols_and_monitor_types(api: Api, protocol: str, kind: str) -> None:
    pool = await api.create_pool(protocol=protocol)
    body = {"pool_id": pool["id"], "type": kind, "delay": 3, "timeout": 1, "max_retries": 1}
    if kind in ENUMS["matrix_pool_protocol_to_healthmonitor_types"][protocol]:
        monitor = await api.create("healthmonitors", **body)
        is_http = kind in ENUMS["healthmonitor_types_with_http_fields"]
        assert (monitor["http_method"], monitor["url_path"]) == (("GET", "/") if is_http else (None, None))
    else:
        sentence = await api.refuse("POST", "/healthmonitors", {"healthmonitor": body}, status=400)
        assert sentence == f"Validation failure: The {kind} type is only supported for pools of type UDP/SCTP."


@pytest.mark.parametrize("algorithm", ENUMS["lb_algorithms"])
async def test_algorithms(api: Api, algorithm: str) -> None:
    pool = await api.create_pool(lb_algorithm=algorithm)
    assert pool["lb_algorithm"] == algorithm


@pytest.mark.parametrize(
    ("values", "status", "words"),
    [
        ({"protocol": "SCTP"}, 501, "Provider 'amphora' does not support a requested option: listener protocol SCTP"),
        (
            {"protocol": "PROMETHEUS", "client_ca_tls_container_ref": "x"},
            400,
            "Validation failure: An SNI or default certificate container reference must be provided with a client CA",
        ),
        (
            {"protocol": "PROMETHEUS", "client_authentication": "OPTIONAL"},
            400,
            "Validation failure: An SNI or default certificate container reference must be provided for PROMETHEUS "
            "with TLS protocol listeners.",
        ),
        ({"protocol": "PROMETHEUS", "hsts_max_age": 5}, 400, "Validation failure: The HSTS feature can only be used"),
        (
            {"protocol": "PROMETHEUS", "insert_headers": {"X-Forwarded-For": "true"}},
            400,
            "insert-headers is not a valid option for a PROMETHEUS protocol listener.",
        ),
        ({"protocol": "PROMETHEUS", "l7policies": [{"action": "REJECT"}]}, 400, "Protocol PROMETHEUS listeners cannot"),
        ({"protocol": "TCP", "l7policies": [{"action": "REJECT"}]}, 501, "Provider 'amphora' does not support a requ"),
        ({"l7policies": [{"action": "REDIRECT_TO_POOL"}]}, 400, "Invalid L7 Policy arguments: redirect_pool_id or re"),
        ({"sni_container_refs": ["x"]}, 400, "Validation failure: Certificate container references are not allowed on"),
        ({"client_authentication": "MANDATORY"}, 400, "Validation failure: Client authentication setting MANDATORY"),
        ({"hsts_max_age": 5}, 400, "Validation failure: The HSTS feature can only be used for listeners using the"),
        ({"insert_headers": {"X-Bad": "true"}}, 400, "dict_keys(['X-Bad']) is not a valid option for insert_headers"),
        (
            {"insert_headers": {"X-SSL-Client-CN": "true"}},
            400,
            "['X-SSL-Client-CN'] is not a valid option for HTTP protocol listener.",
        ),
        (
            {"protocol": "TCP", "insert_headers": {"X-Forwarded-For": "true"}},
            400,
            "insert-headers is not a valid option for a TCP protocol listener.",
        ),
        (
            {"allowed_cidrs": ["fd00::/8"]},
            400,
            "Validation failure: CIDR fd00::/8 IP version incompatible with all VIP",
        ),
        ({"default_pool_id": "00000000-0000-0000-0000-000000000000"}, 404, "Pool 00000000-"),
        ({"default_pool": {"name": "x"}}, 400, "Unknown attribute for argument listener_.listener: default_pool"),
    ],
)
async def test_listener_refusals(api: Api, values: dict[str, Any], status: int, words: str) -> None:
    balancer = await api.create_balancer()
    body = {"loadbalancer_id": balancer["id"], "protocol": "HTTP", "protocol_port": 80} | values
    assert (await api.refuse("POST", "/listeners", {"listener": body}, status=status)).startswith(words)
    assert (await api.get(f"/loadbalancers/{balancer['id']}"))["loadbalancer"]["generation"] == 1


async def test_a_listener_of_metrics_has_no_children(open_api) -> None:
    api = open_api()
    balancer = await api.create_balancer()
    listener = await api.create(
        "listeners",
        loadbalancer_id=balancer["id"],
        protocol="PROMETHEUS",
        protocol_port=9090,
        allowed_cidrs=["10.0.0.0/8"],
    )
    assert (listener["protocol"], listener["default_pool_id"], listener["tls_versions"]) == ("PROMETHEUS", None, None)
    body = {"listener_id": listener["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    sentence = await api.refuse("POST", "/pools", {"pool": body}, status=400)
    assert sentence == "Protocol PROMETHEUS listeners cannot have child objects."
    strict = open_api(api={"allow_prometheus_listeners": False})
    body = {"loadbalancer_id": (await strict.create_balancer())["id"], "protocol": "PROMETHEUS", "protocol_port": 9090}
    sentence = await strict.refuse("POST", "/listeners", {"listener": body}, status=400)
    assert sentence == "The selected protocol is not allowed in this deployment: PROMETHEUS"


async def test_options_that_are_not_wanted_are_accepted(api: Api) -> None:
    balancer = await api.create_balancer()
    off: dict[str, Any] = {
        "default_tls_container_ref": None, "sni_container_refs": [], "client_authentication": "NONE",
        "tls_ciphers": None, "hsts_preload": False, "l7policies": [],
    }  # fmt: skip
    await api.create("listeners", loadbalancer_id=balancer["id"], protocol="HTTP", protocol_port=80, **off)
    await api.create_pool(loadbalancer_id=balancer["id"], tls_enabled="false", tls_ciphers=None)


async def test_allowed_cidrs(api: Api) -> None:
    balancer = await api.create_balancer(additional_vips=[{"subnet_id": api.subnet_id("front6")}])
    cidrs = ["10.1.2.3/8", "10.9.9.9/8", "192.0.2.1", "FD00::1/64"]
    listener = await api.create(
        "listeners", loadbalancer_id=balancer["id"], protocol="HTTP", protocol_port=80, allowed_cidrs=cidrs
    )
    assert listener["allowed_cidrs"] == ["10.0.0.0/8", "192.0.2.1/32", "fd00::/64"]
    answer = await api.ask("PUT", f"/listeners/{listener['id']}", {"listener": {"allowed_cidrs": []}})
    assert answer.json()["listener"]["allowed_cidrs"] is None


@pytest.mark.parametrize(
    ("persistence", "words"),
    [
        ({"cookie_name": "a"}, "Invalid session_persistence provided."),
        ({"type": "APP_COOKIE"}, 'Field "cookie_name" must be specified when using the "APP_COOKIE" session'),
        ({"type": "SOURCE_IP", "cookie_name": "a"}, 'Field "cookie_name" can only be specified with session persi'),
        ({"type": "APP_COOKIE", "cookie_name": "a=b"}, 'Supplied "cookie_name" is invalid.'),
        ({"type": "APP_COOKIE", "cookie_name": 'a"b'}, 'Supplied "cookie_name" is invalid.'),
        ({"type": "SOURCE_IP", "persistence_timeout": 5}, "persistence_timeout and persistence_granularity is only"),
    ],
)
async def test_persistence_refusals(api: Api, persistence: dict[str, Any], words: str) -> None:
    balancer = await api.create_balancer()
    body = {
        "loadbalancer_id": balancer["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
        "session_persistence": persistence,
    }  # fmt: skip
    sentence = await api.refuse("POST", "/pools", {"pool": body}, status=400)
    assert sentence.startswith(f"Validation failure: {words}")


async def test_persistence_keeps_its_type(api: Api) -> None:
    pool = await api.create_pool(session_persistence={"type": "APP_COOKIE", "cookie_name": "SID"})
    assert pool["session_persistence"]["cookie_name"] == "SID"
    path = f"/pools/{pool['id']}"
    body: dict[str, Any] = {"pool": {"session_persistence": {"cookie_name": "OTHER"}}}
    changed = (await api.ask("PUT", path, body)).json()["pool"]
    assert changed["session_persistence"]["type"] == "APP_COOKIE"
    assert changed["session_persistence"]["cookie_name"] == "OTHER"
    body = {"pool": {"session_persistence": None}}
    assert (await api.ask("PUT", path, body)).json()["pool"]["session_persistence"] is None


@pytest.mark.parametrize("values", [{"protocol": "SCTP"}])
async def test_pool_options_that_are_not_there_yet(api: Api, values: dict[str, Any]) -> None:
    balancer = await api.create_balancer()
    body = {"loadbalancer_id": balancer["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"} | values
    sentence = await api.refuse("POST", "/pools", {"pool": body}, status=501)
    assert sentence.startswith("Provider 'amphora' does not support a requested option: pool ")


@pytest.mark.parametrize(
    ("persistence", "words"),
    [
        (
            {"type": "HTTP_COOKIE"},
            "Session persistence of type HTTP_COOKIE is not supported for UDP/SCTP protocol pools.",
        ),
        ({"type": "APP_COOKIE", "cookie_name": "a"}, "Cookie names are not supported for UDP/SCTP pools."),
        (
            {"type": "SOURCE_IP", "cookie_name": "a"},
            "session_persistence SOURCE_IP type for UDP and SCTP protocols only accepts: type, persistence_timeout, "
            "persistence_granularity.",
        ),
    ],
)
async def test_persistence_refusals_of_datagrams(api: Api, persistence: dict[str, Any], words: str) -> None:
    balancer = await api.create_balancer()
    body = {
        "loadbalancer_id": balancer["id"], "protocol": "UDP", "lb_algorithm": "ROUND_ROBIN",
        "session_persistence": persistence,
    }  # fmt: skip
    sentence = await api.refuse("POST", "/pools", {"pool": body}, status=400)
    assert sentence == f"Validation failure: {words}"


async def test_persistence_of_datagrams(api: Api) -> None:
    kept = {
        "type": "SOURCE_IP", "cookie_name": None, "persistence_timeout": 60, "persistence_granularity": "255.255.0.0",
    }  # fmt: skip
    pool = await api.create_pool(protocol="UDP", session_persistence=kept)
    assert pool["session_persistence"] == kept


async def test_members_of_datagrams_have_the_family_of_a_vip(api: Api) -> None:
    balancer = await api.create_balancer()
    listener = await api.create("listeners", loadbalancer_id=balancer["id"], protocol="UDP", protocol_port=53)
    pool = await api.create("pools", listener_id=listener["id"], protocol="UDP", lb_algorithm="ROUND_ROBIN")
    path = f"/pools/{pool['id']}/members"
    await api.ask("POST", path, {"member": {"address": "192.0.2.7", "protocol_port": 53}})
    wanted = {"address": "2001:db8::7", "protocol_port": 53}
    sentence = await api.refuse("POST", path, {"member": wanted}, status=501)
    assert "no VIP has the IP version of member 2001:db8::7" in sentence
    # Nobody serves by this pool.
    alone = await api.create("pools", loadbalancer_id=balancer["id"], protocol="UDP", lb_algorithm="ROUND_ROBIN")
    await api.ask("POST", f"/pools/{alone['id']}/members", {"member": wanted})


async def test_udp_connect_monitors_have_a_least_delay(api: Api) -> None:
    pool = await api.create_pool(protocol="UDP")
    body = {"pool_id": pool["id"], "type": "UDP-CONNECT", "delay": 2, "timeout": 1, "max_retries": 1}
    sentence = await api.refuse("POST", "/healthmonitors", {"healthmonitor": body}, status=400)
    words = "The request delay value 2 should be larger than 3 for UDP-CONNECT health monitor type."
    assert sentence == f"Validation failure: {words}"
    monitor = await api.create("healthmonitors", **(body | {"delay": 3}))
    path = f"/healthmonitors/{monitor['id']}"
    sentence = await api.refuse("PUT", path, {"healthmonitor": {"delay": 1}}, status=400)
    assert "The request delay value 1 should be larger than 3" in sentence


async def test_a_pool_needs_an_owner(api: Api) -> None:
    body = {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    sentence = await api.refuse("POST", "/pools", {"pool": body}, status=400)
    assert sentence == "Validation failure: Must provide at least one of: loadbalancer_id, listener_id"


async def test_a_listener_of_another_load_balancer(api: Api) -> None:
    one, other = await api.create_balancer(), await api.create_balancer()
    listener = await api.create("listeners", loadbalancer_id=one["id"], protocol="HTTP", protocol_port=80)
    body = {
        "loadbalancer_id": other["id"], "listener_id": listener["id"], "protocol": "HTTP", "lb_algorithm": "SOURCE_IP",
    }  # fmt: skip
    sentence = await api.refuse("POST", "/pools", {"pool": body}, status=404)
    assert sentence == f"Listener {listener['id']} not found."


# Members


async def list_members(api: Api, pool_id: str) -> dict[str, dict[str, Any]]:
    listed = await api.get(f"/pools/{pool_id}/members")
    return {one["address"]: one for one in listed["members"]}


async def set_members(api: Api, pool_id: str, *members: dict[str, Any], query: str = "") -> None:
    body = {"members": [{"protocol_port": 80} | member for member in members]}
    answer = await api.ask("PUT", f"/pools/{pool_id}/members{query}", body)
    assert (answer.status_code, answer.content) == (202, b""), answer.text


async def test_a_whole_set(api: Api) -> None:
    pool = await api.create_pool()
    first = {"address": "10.7.0.1", "name": "one", "weight": 5, "backup": True, "monitor_port": 9, "tags": ["t"]}
    await set_members(api, pool["id"], first, {"address": "10.7.0.2"}, {"address": "10.7.0.3", "admin_state_up": False})
    before = await list_members(api, pool["id"])
    assert list(before) == ["10.7.0.1", "10.7.0.2", "10.7.0.3"]
    await api.settle()
    await set_members(api, pool["id"], {"address": "10.7.0.1"}, {"address": "10.7.0.4"})
    after = await list_members(api, pool["id"])
    status = {address: one["provisioning_status"] for address, one in after.items()}
    assert status == {
        "10.7.0.1": "PENDING_UPDATE", "10.7.0.2": "PENDING_DELETE", "10.7.0.3": "PENDING_DELETE",
        "10.7.0.4": "PENDING_CREATE",
    }  # fmt: skip
    kept = after["10.7.0.1"]
    assert kept["id"] == before["10.7.0.1"]["id"]
    assert (kept["name"], kept["tags"]) == ("one", ["t"])
    assert (kept["weight"], kept["backup"], kept["monitor_port"]) == (1, False, None)
    await api.settle()
    assert list(await list_members(api, pool["id"])) == ["10.7.0.1", "10.7.0.4"]
    await set_members(api, pool["id"])
    await api.settle()
    assert await list_members(api, pool["id"]) == {}


@pytest.mark.parametrize(
    ("word", "is_additive"), [("true", True), ("YES", True), ("1", True), ("no", False), ("x", False)]
)
async def test_additive_only(api: Api, word: str, is_additive: bool) -> None:
    pool = await api.create_pool()
    await set_members(api, pool["id"], {"address": "10.7.0.1"})
    await set_members(api, pool["id"], {"address": "10.7.0.2"}, query=f"?additive_only={word}")
    await api.settle()
    assert len(await list_members(api, pool["id"])) == (2 if is_additive else 1)


async def test_an_empty_set_of_an_empty_pool_changes_nothing(api: Api) -> None:
    pool = await api.create_pool()
    await set_members(api, pool["id"])
    balancer_id = pool["loadbalancers"][0]["id"]
    assert (await api.get(f"/loadbalancers/{balancer_id}"))["loadbalancer"]["generation"] == 2


async def test_sets_that_are_refused(api: Api) -> None:
    pool = await api.create_pool()
    path = f"/pools/{pool['id']}/members"
    one = {"address": "fd00::1", "protocol_port": 80}
    same = {"address": "FD00:0::1", "protocol_port": "80"}
    sentence = await api.refuse("PUT", path, {"members": [one, same]}, status=409)
    assert sentence == "Another member on this pool is already using ip fd00::1 on protocol_port 80"
    assert await list_members(api, pool["id"]) == {}
    await set_members(api, pool["id"], one)
    sentence = await api.refuse("PUT", path, {"members": [one, same]}, status=400)
    assert sentence == "Validation failure: Member must be updated only once in the same request."
    body: Any
    for body in ({"members": None}, {}, {"members": {}}, {"members": [5]}, {"members": [{"address": "10.7.0.1"}]}):
        await api.refuse("PUT", path, body, status=400)
    sentence = await api.refuse(
        "PUT", path, {"members": [{"address": "169.254.169.254", "protocol_port": 1}]}, status=400
    )
    assert sentence == "169.254.169.254 is not a valid option for member address"
    unknown = {"address": "10.7.0.1", "protocol_port": 1, "subnet_id": "0" * 32}
    sentence = await api.refuse("PUT", path, {"members": [unknown]}, status=400)
    assert sentence == "Subnet 00000000-0000-0000-0000-000000000000 not found."
    assert len(await list_members(api, pool["id"])) == 1


async def test_two_spellings_are_one_member(api: Api) -> None:
    pool = await api.create_pool()
    made = await api.create(f"pools/{pool['id']}/members", address="FD00:0:0::1", protocol_port=80)
    assert made["address"] == "fd00::1"
    body = {"member": {"address": "fd00::1", "protocol_port": 80}}
    await api.refuse("POST", f"/pools/{pool['id']}/members", body, status=409)


async def test_first_statuses_of_members(api: Api) -> None:
    pool = await api.create_pool()
    plain = await api.create(f"pools/{pool['id']}/members", address="10.7.0.1", protocol_port=80)
    await api.create("healthmonitors", pool_id=pool["id"], type="TCP", delay=1, timeout=1, max_retries=1)
    checked = await api.create(f"pools/{pool['id']}/members", address="10.7.0.2", protocol_port=80)
    assert (plain["operating_status"], checked["operating_status"]) == ("NO_MONITOR", "OFFLINE")


# Health monitors


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"type": "TCP", "url_path": "/"}, "url_path is not a valid option for health monitors of type TCP"),
        ({"type": "PING", "expected_codes": "200"}, "expected_codes is not a valid option for health monitors of type"),
        ({"domain_name": "a.example"}, "Validation failure: 'http_version' must be specified when 'domain_name' is"),
        ({"domain_name": "a.example", "http_version": 1.0}, "http_version 1.0 is not a valid option for health monito"),
        ({"type": "TCP", "expected_body": "up"}, "expected_body is not a valid option for health monitors of type TCP"),
        (
            {"http_method": "HEAD", "expected_body": "up"},
            "expected_body is not a valid option for health monitors with",
        ),
        ({"expected_body": "two\nlines"}, "Invalid input for field/attribute expected_body."),
    ],
)
async def test_monitor_refusals(api: Api, values: dict[str, Any], words: str) -> None:
    pool = await api.create_pool()
    body = {"pool_id": pool["id"], "type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1} | values
    sentence = await api.refuse("POST", "/healthmonitors", {"healthmonitor": body}, status=400)
    assert sentence.startswith(words)


async def test_monitor_rules_across_stored_and_new_values(api: Api) -> None:
    pool = await api.create_pool()
    made = await api.create(
        "healthmonitors", pool_id=pool["id"], type="HTTP", delay=0, timeout=0, max_retries=1, http_version="1.1",
        domain_name="a.example",
    )  # fmt: skip
    assert (made["http_version"], made["delay"]) == (1.1, 0)
    path = f"/healthmonitors/{made['id']}"
    await api.refuse("PUT", path, {"healthmonitor": {"http_version": 1.0}}, status=400)
    await api.refuse("PUT", path, {"healthmonitor": {"http_version": None}}, status=400)
    both = {"http_version": 1.0, "domain_name": None}
    assert (await api.ask("PUT", path, {"healthmonitor": both})).status_code == 200
    changed = await api.ask("PUT", path, {"healthmonitor": {"expected_body": "all is well ☀"}})
    assert changed.json()["healthmonitor"]["expected_body"] == "all is well ☀"
    sentence = await api.refuse("PUT", path, {"healthmonitor": {"http_method": "HEAD"}}, status=400)
    assert sentence.startswith("expected_body is not a valid option for health monitors with http_method HEAD")
    cleared = await api.ask("PUT", path, {"healthmonitor": {"http_method": "HEAD", "expected_body": None}})
    assert cleared.json()["healthmonitor"]["expected_body"] is None
    tcp = await api.create_pool()
    plain = await api.create("healthmonitors", pool_id=tcp["id"], type="TCP", delay=1, timeout=1, max_retries=1)
    sentence = await api.refuse(
        "PUT", f"/healthmonitors/{plain['id']}", {"healthmonitor": {"url_path": None}}, status=400
    )
    assert sentence == "url_path is not a valid option for health monitors of type TCP"


async def test_ping_may_be_forbidden(open_api) -> None:
    api = open_api(api={"allow_ping_health_monitors": False})
    pool = await api.create_pool()
    body = {"pool_id": pool["id"], "type": "PING", "delay": 1, "timeout": 1, "max_retries": 1}
    sentence = await api.refuse("POST", "/healthmonitors", {"healthmonitor": body}, status=400)
    assert sentence == "The selected health monitor type is not allowed in this deployment: PING"


async def test_defaults_of_the_deployment(open_api) -> None:
    api = open_api(api={"timeout_client_data": 7000})
    balancer = await api.create_balancer()
    values = {"loadbalancer_id": balancer["id"], "protocol": "HTTP", "timeout_client_data": None}
    made = await api.create("listeners", protocol_port=80, **values)
    assert made["timeout_client_data"] == 7000
