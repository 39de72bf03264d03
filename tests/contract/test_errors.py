"""What is refused, with which status and in which words (rules.md sections 4 to 6)."""

from typing import Any

import pytest

from tests.contract.client import Api

MISSING = "00000000-0000-0000-0000-000000000000"
WHOLE: dict[str, dict[str, Any]] = {
    "pool": {"loadbalancer_id": MISSING, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"},
    "healthmonitor": {"pool_id": MISSING, "type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1},
}
"""Bodies with nothing missing."""


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"{", "Request is not in valid JSON format"),
        (b"[" * 100_000, "Request is not in valid JSON format"),
        (b"", 'Missing argument: "load_balancer"'),
        (b"  ", 'Missing argument: "load_balancer"'),
        (b"{}", "Invalid input for field/attribute loadbalancer. Value: 'None'. Mandatory field missing."),
        (
            b'{"loadbalancer": null}',
            "Invalid input for field/attribute loadbalancer. Value: 'None'. Mandatory field missing.",
        ),
        (b"[]", "Invalid input for field/attribute load_balancer. Value: '[]'. Value should be an object"),
        (
            b'{"loadbalancer": 5}',
            "Invalid input for field/attribute loadbalancer. Value: '5'. Value should be an object",
        ),
        (b'{"balancer": {}}', "Unknown attribute for argument load_balancer: balancer"),
        (b'{"loadbalancer": {"colour": 1}}', "Unknown attribute for argument load_balancer.loadbalancer: colour"),
        (
            b'{"loadbalancer": {"id": 1, "colour": 1}}',
            "Unknown attributes for argument load_balancer.loadbalancer: colour, id",
        ),
        (
            b'{"loadbalancer": {"pools": [{"members": [{"x": 1}]}]}}',
            "Unknown attribute for argument load_balancer.loadbalancer.pools.members: x",
        ),
        (
            b'{"loadbalancer": {"admin_state_up": "maybe"}}',
            "Invalid input for field/attribute load_balancer. Value: '{'loadbalancer': {'admin_state_up': 'maybe'}}'. "
            "Value not an unambiguous boolean: maybe",
        ),
        (
            b'{"loadbalancer": {"tags": "x"}}',
            "Invalid input for field/attribute load_balancer. Value: '{'loadbalancer': {'tags': 'x'}}'. "
            "Value not a valid list: x",
        ),
        (
            b'{"loadbalancer": {"name": 5}}',
            "Invalid input for field/attribute name. Value: '5'. Value should be string",
        ),
        (
            b'{"loadbalancer": {}}',
            "Validation failure: VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id.",
        ),
    ],
)
async def test_bodies(api: Api, body: bytes, sentence: str) -> None:
    headers = {"Content-Type": "application/json"}
    assert await api.refuse("POST", "/loadbalancers", status=400, content=body, headers=headers) == sentence


@pytest.mark.parametrize(
    ("resource", "values", "sentence"),
    [
        (
            "listener",
            {"protocol": "HTTP", "loadbalancer_id": MISSING},
            "protocol_port. Value: 'None'. Mandatory field missing.",
        ),
        (
            "listener",
            {"protocol": "HTTP", "loadbalancer_id": MISSING, "protocol_port": None},
            "protocol_port. Value: 'None'. Mandatory field missing.",
        ),
        ("listener", {"protocol": "QUIC"}, "protocol. Value: 'QUIC'. Value should be one of: "),
        (
            "listener",
            {"allowed_cidrs": ["10.0.0.0/33"]},
            "allowed_cidrs. Value: '['10.0.0.0/33']'. Value should be IPv4 or IPv6 CIDR format",
        ),
        ("pool", {"lb_algorithm": "FASTEST"}, "lb_algorithm. Value: 'FASTEST'. Value should be one of: "),
        (
            "pool",
            {"session_persistence": {"type": "APP_COOKIE", "cookie_name": "a b"}},
            "cookie_name. Value: 'a b'. Value should match the pattern ",
        ),
        (
            "healthmonitor",
            {"url_path": "http://x/"},
            "url_path. Value: 'http://x/'. Value must be a valid URL Path string",
        ),
        ("healthmonitor", {"url_path": "/a b"}, "url_path. Value: '/a b'. Value must be a valid URL Path string"),
        ("healthmonitor", {"url_path": "/a\nb"}, "url_path. Value: '/a\nb'. Value must be a valid URL Path string"),
        (
            "healthmonitor",
            {"expected_codes": "200\n"},
            "expected_codes. Value: '200\n'. Value should match the pattern ",
        ),
        (
            "healthmonitor",
            {"expected_codes": "200-204,301"},
            "expected_codes. Value: '200-204,301'. Value should match",
        ),
        ("healthmonitor", {"domain_name": "a b"}, "domain_name. Value: 'a b'. Value should match the pattern "),
        ("healthmonitor", {"http_version": 2}, "http_version. Value: '2'. Value should be one of: 1.0, 1.1"),
    ],
)
async def test_fields(api: Api, resource: str, values: dict[str, Any], sentence: str) -> None:
    body = {resource: WHOLE.get(resource, {}) | values}
    refused = await api.refuse("POST", f"/{resource}s", body, status=400)
    assert refused.startswith(f"Invalid input for field/attribute {sentence}")


async def test_integers_and_booleans_as_text(api: Api) -> None:
    pool = await api.create_pool(admin_state_up="off")
    assert pool["admin_state_up"] is False
    values = {"address": "10.7.0.1", "protocol_port": "80", "weight": " 7 ", "backup": "T"}
    member = await api.create(f"pools/{pool['id']}/members", **values)
    assert (member["protocol_port"], member["weight"], member["backup"]) == (80, 7, True)
    for wrong in (True, 1.5, "0x50", "", "x"):
        body = {"member": {"address": "10.7.0.2", "protocol_port": wrong}}
        sentence = await api.refuse("POST", f"/pools/{pool['id']}/members", body, status=400)
        assert sentence.startswith("Invalid input for field/attribute member_. Value: '{'member': ")
        assert "invalid literal for int() with base 10: " in sentence


@pytest.mark.parametrize("text", ["fe80::1%eth0", "fe80::1%a\nb", "10.0.0.1\n", "010.0.0.1", " 10.0.0.1", "", 5])
async def test_addresses_hold_nothing_else(api: Api, text: Any) -> None:
    pool = await api.create_pool()
    body = {"member": {"address": text, "protocol_port": 80}}
    sentence = await api.refuse("POST", f"/pools/{pool['id']}/members", body, status=400)
    assert (
        sentence == f"Invalid input for field/attribute address. Value: '{text}'. Value should be IPv4 or IPv6 format"
    )


@pytest.mark.parametrize("field", ["name", "description"])
async def test_text_that_cannot_be_stored(api: Api, field: str) -> None:
    body = {"loadbalancer": {"vip_subnet_id": api.subnet_id(), field: "a\x00b"}}
    assert "NUL" in await api.refuse("POST", "/loadbalancers", body, status=400)
    made = await api.create_balancer(**{field: "ütf-8 ✓ 𝄞 <&>'\""})
    assert made[field] == "ütf-8 ✓ 𝄞 <&>'\""


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/loadbalancers", "Load Balancer"),
        ("/listeners", "Listener"),
        ("/pools", "Pool"),
        ("/healthmonitors", "Health Monitor"),
        ("/l7policies", "L7 Policy"),
        ("/flavors", "Flavor"),
    ],
)
@pytest.mark.parametrize("object_id", [MISSING, "not-an-id", "a%20b"])
async def test_missing_objects(api: Api, path: str, word: str, object_id: str) -> None:
    sentence = await api.refuse("GET", f"{path}/{object_id}", status=404)
    assert sentence == f"{word} {object_id.replace('%20', ' ')} not found."


async def test_missing_parents(api: Api) -> None:
    answer = await api.ask("GET", f"/pools/{MISSING}/members")
    assert answer.status_code == 404
    assert answer.json() == {"code": 404, "title": "Bad Request", "description": f"Pool {MISSING} not found."}
    in_listener = {"loadbalancer_id": MISSING, "protocol": "HTTP", "protocol_port": 1}
    in_pool = {"listener_id": MISSING, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    for path, body, word in (
        ("/listeners", {"listener": in_listener}, "Load Balancer"),
        ("/pools", {"pool": WHOLE["pool"]}, "Load Balancer"),
        ("/pools", {"pool": in_pool}, "Listener"),
        ("/healthmonitors", {"healthmonitor": WHOLE["healthmonitor"]}, "Pool"),
    ):
        assert await api.refuse("POST", path, body, status=404) == f"{word} {MISSING} not found."


async def test_a_member_of_another_pool_is_missing(api: Api) -> None:
    one, other = await api.create_pool(), await api.create_pool()
    member = await api.create(f"pools/{one['id']}/members", address="10.7.0.1", protocol_port=80)
    sentence = await api.refuse("GET", f"/pools/{other['id']}/members/{member['id']}", status=404)
    assert sentence == f"Member {member['id']} not found."


@pytest.mark.parametrize(
    ("method", "path", "status", "title"),
    [
        ("GET", "/nowhere", 404, "Not Found"),
        ("GET", "//v3/lbaas/pools", 404, "Not Found"),
        ("PATCH", "/pools", 405, "Method Not Allowed"),
        ("DELETE", "/pools", 405, "Method Not Allowed"),
        ("POST", f"/pools/{MISSING}", 405, "Method Not Allowed"),
    ],
)
async def test_routing(api: Api, method: str, path: str, status: int, title: str) -> None:
    answer = await api.ask(method, path)
    assert answer.status_code == status
    assert answer.json() == {"code": status, "title": title, "description": ""}
    assert (status == 405) == ("allow" in answer.headers)


async def test_head_is_not_allowed(api: Api) -> None:
    assert (await api.ask("HEAD", "/pools")).status_code == 405


@pytest.mark.parametrize(
    ("accept", "status"), [("*/*", 200), ("", 200), ("application/json;q=0.5", 200), ("text/html", 406)]
)
async def test_accept(api: Api, accept: str, status: int) -> None:
    answer = await api.ask("GET", "/pools", headers={"Accept": accept})
    assert answer.status_code == status
    if status == 406:
        assert answer.json() == {"code": 406, "title": "Not Acceptable", "description": ""}


async def test_other_media_types(api: Api) -> None:
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    sentence = await api.refuse("POST", "/pools", status=415, content=b"x", headers=headers)
    assert sentence == "Unknown mimetype: text/plain"


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large(api: Api, chunked: bool) -> None:
    async def pieces():
        for _ in range(8):
            yield b" " * 32768

    content = pieces() if chunked else b" " * 262144
    answer = await api.ask("POST", "/pools", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.text.startswith("Request is too large.") or answer.json()["title"] == "Request Entity Too Large"
    told = {"Content-Type": "application/json", "Accept": "application/json"}
    answer = await api.ask("POST", "/pools", content=b" " * 262144, headers=told)
    assert answer.json()["code"] == "413 Request Entity Too Large"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_unknown_arguments(api: Api, method: str) -> None:
    pool = await api.create_pool()
    path = "/pools" if method == "POST" else f"/pools/{pool['id']}"
    body: Any = None if method == "DELETE" else {"pool": {}}
    assert await api.refuse(method, f"{path}?force=1", body, status=400) == 'Unknown argument: "force"'


async def test_create_only_attributes_are_unknown_on_update(api: Api) -> None:
    pool = await api.create_pool()
    sentence = await api.refuse("PUT", f"/pools/{pool['id']}", {"pool": {"protocol": "TCP"}}, status=400)
    assert sentence == "Unknown attribute for argument pool_.pool: protocol"
