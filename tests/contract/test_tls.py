"""TLS of listeners and pools over the API: defaults, what goes with what, and certificates that are refused by name."""

import base64
import datetime as dt
from typing import Any

import pytest

from tests.contract.client import Api
from tests.contract.keeper import make_keeper
from tests.fixtures.certificates import Issued, make_authority

SECRETS, CONTAINERS = "//key-manager/v1/secrets", "//key-manager/v1/containers"
ROOT = make_authority()
WWW = ROOT.issue("www.example.test")


async def store(api: Api, payload: bytes) -> str:
    """Store a payload and return the reference."""
    body = {
        "payload": base64.b64encode(payload).decode(),
        "payload_content_type": "application/octet-stream",
        "payload_content_encoding": "base64",
    }
    answer = await api.ask("POST", SECRETS, body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret_ref"])


async def store_container(api: Api, **parts: bytes) -> str:
    refs = [{"name": name, "secret_ref": await store(api, payload)} for name, payload in parts.items()]
    answer = await api.ask("POST", CONTAINERS, {"type": "certificate", "secret_refs": refs})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["container_ref"])


async def make_listener(api: Api, **values: Any) -> dict[str, Any]:
    """Create a listener that ends TLS, on a load balancer of its own."""
    if "default_tls_container_ref" not in values:
        values["default_tls_container_ref"] = await store(api, WWW.pkcs12())
    balancer = await api.create_balancer()
    given = {"loadbalancer_id": balancer["id"], "protocol": "TERMINATED_HTTPS", "protocol_port": 443}
    return await api.create("listeners", **(given | values))


async def refuse_listener(api: Api, *, status: int = 400, **values: Any) -> str:
    balancer = await api.create_balancer()
    given = {"loadbalancer_id": balancer["id"], "protocol": "TERMINATED_HTTPS", "protocol_port": 443}
    return await api.refuse("POST", "/listeners", {"listener": given | values}, status=status)


async def test_defaults(api: Api) -> None:
    ref = await store(api, WWW.pkcs12())
    listener = await make_listener(api, default_tls_container_ref=ref)
    defaults = api.settings.api.tls
    assert listener["default_tls_container_ref"] == ref
    assert listener["tls_versions"] == ["TLSv1.2", "TLSv1.3"]
    assert listener["alpn_protocols"] == ["h2", "http/1.1", "http/1.0"]
    assert listener["tls_ciphers"] == defaults.listener_ciphers
    assert (listener["client_authentication"], listener["sni_container_refs"]) == ("NONE", [])
    path = f"/listeners/{listener['id']}"
    body = {"tls_versions": ["TLSv1.3"], "alpn_protocols": ["http/1.1"], "tls_ciphers": "TLS_AES_128_GCM_SHA256"}
    changed = (await api.ask("PUT", path, {"listener": body})).json()["listener"]
    assert {name: changed[name] for name in body} == body
    changed = (await api.ask("PUT", path, {"listener": dict.fromkeys(body)})).json()["listener"]
    assert {name: changed[name] for name in body} == {name: listener[name] for name in body}
    assert (await api.get(path))["listener"]["tls_ciphers"] == listener["tls_ciphers"]
    listed = await api.get(f"/listeners?default_tls_container_ref={ref}")
    assert [one["id"] for one in listed["listeners"]] == [listener["id"]]
