"""TLS of listeners and pools over the API: defaults, what goes with what, and certificates that are refused by name."""

import base64
from typing import Any

import bcrypt
import pytest
import sqlalchemy as sa

from tests.contract.client import Api
from tests.fixtures.certificates import DAY, make_authority

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


@pytest.mark.parametrize(
    ("values", "status", "words"),
    [
        ({}, 400, "An SNI or default certificate container reference must be provided for TERMINATED_HTTPS protocol"),
        ({"default_tls_container_ref": "nothing"}, 400, "Could not retrieve certificate: ['nothing']"),
        (
            {"sni_container_refs": ["http://h/v1/secrets/00000000-0000-0000-0000-000000000000", "y"]},
            400,
            "Could not retrieve certificate: ['http://h/v1/secrets/00000000-0000-0000-0000-000000000000', 'y']",
        ),
        ({"tls_versions": []}, 400, "Empty TLS version list."),
        ({"tls_versions": ["TLSv9"]}, 400, "Invalid TLS versions: TLSv9"),
        ({"tls_versions": ["TLSv1.1", "TLSv1.2"]}, 400, "less than the minimum: TLSv1.1 < TLSv1.2"),
        ({"tls_ciphers": "AES\n"}, 400, "Invalid characters in cipher string. Only alphanumeric, -, +, !, :, @, =, _"),
        ({"tls_ciphers": "NO-SUCH-CIPHER"}, 400, "NO-SUCH-CIPHER is not a valid option for tls_ciphers"),
        ({"tls_ciphers": "TLS_NONE"}, 400, "TLS_NONE is not a valid option for tls_ciphers"),
        ({"alpn_protocols": []}, 400, "Empty ALPN protocol list."),
        ({"alpn_protocols": ["h3"]}, 501, "does not support a requested option: alpn_protocols ['h3']"),
        ({"client_authentication": "MANDATORY"}, 400, "Client authentication setting MANDATORY requires a client CA"),
        ({"client_authentication": None}, 400, "None is not a valid option for client_authentication"),
        ({"client_crl_container_ref": "x"}, 400, "A client authentication CA reference is required to specify"),
        ({"hsts_include_subdomains": True}, 400, "HSTS configuration options hsts_include_subdomains and hsts_preload"),
        ({"insert_headers": {"X-SSL-Nothing": "true"}}, 400, "is not a valid option for insert_headers"),
    ],
)
async def test_listeners_that_are_refused(api: Api, values: dict[str, Any], status: int, words: str) -> None:
    given = {"default_tls_container_ref": await store(api, WWW.pkcs12())} if values else {}
    assert words in await refuse_listener(api, status=status, **(given | values))


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"rubbish", "The PKCS12 bundle is unreadable."),
        (WWW.pem + ROOT.issue("other").key_pem(), "the private key does not belong to the certificate"),
        (WWW.pem, "there is no private key"),
        (WWW.bundle_pem + make_authority("Other").pem, "the certificate is issued by CN=Test Root, and no certificate"),
        (ROOT.issue("old", begins=-9 * DAY, ends=-DAY).bundle_pem, "expired at"),
    ],
)
async def test_certificates_that_are_refused(api: Api, payload: bytes, words: str) -> None:
    ref = await store(api, payload)
    for given in ({"default_tls_container_ref": ref}, {"sni_container_refs": [ref]}):
        (field,) = given
        sentence = await refuse_listener(api, **dict[str, Any](given))
        assert words in sentence
        assert field in sentence


async def test_containers(api: Api) -> None:
    ref = await store_container(
        api, certificate=WWW.pem, private_key=WWW.key_pem(b"word"), private_key_passphrase=b"word"
    )
    listener = await make_listener(api, default_tls_container_ref=None, sni_container_refs=[ref])
    assert (listener["default_tls_container_ref"], listener["sni_container_refs"]) == (None, [ref])


async def test_client_authentication(api: Api) -> None:
    authority, revocations = await store(api, ROOT.pem), await store(api, ROOT.revoke())
    listener = await make_listener(
        api,
        client_authentication="MANDATORY",
        client_ca_tls_container_ref=authority,
        client_crl_container_ref=revocations,
    )
    assert listener["client_authentication"] == "MANDATORY"
    path = f"/listeners/{listener['id']}"
    other = make_authority("Other")
    for field, payload, words in (
        ("client_ca_tls_container_ref", other.pem, "The CRL specified is not valid for client certificate authority"),
        ("client_crl_container_ref", other.revoke(), "The CRL specified is not valid for client certificate authority"),
        ("client_ca_tls_container_ref", b"rubbish", "The client authentication CA certificate is invalid."),
        ("client_crl_container_ref", b"rubbish", "The client authentication certificate revocation list is invalid."),
        (
            "client_crl_container_ref",
            ROOT.revoke(ends=-DAY),
            "client_crl_container_ref: the list of revocations expired",
        ),
    ):
        assert words in await api.refuse("PUT", path, {"listener": {field: await store(api, payload)}}, status=400)
    body: dict[str, Any] = {"listener": {"client_ca_tls_container_ref": None, "client_crl_container_ref": None}}
    assert "requires a client CA" in await api.refuse("PUT", path, body, status=400)
    body["listener"] |= {"client_authentication": "NONE"}
    assert (await api.ask("PUT", path, body)).status_code == 200


async def test_the_last_certificate_stays(api: Api) -> None:
    listener = await make_listener(api)
    body = {"listener": {"default_tls_container_ref": None}}
    sentence = await api.refuse("PUT", f"/listeners/{listener['id']}", body, status=400)
    assert sentence.startswith("Validation failure: An SNI or default certificate container reference must be provided")


async def test_hsts(api: Api) -> None:
    listener = await make_listener(api, hsts_max_age=60, hsts_preload=True)
    assert (listener["hsts_max_age"], listener["hsts_preload"]) == (60, True)
    path = f"/listeners/{listener['id']}"
    changed = (await api.ask("PUT", path, {"listener": {"hsts_max_age": None}})).json()["listener"]
    assert changed["hsts_max_age"] is None
    sentence = await api.refuse("PUT", path, {"listener": {"hsts_preload": True}}, status=400)
    assert "Cannot enable hsts_include_subdomains or hsts_preload" in sentence


async def test_pools(api: Api) -> None:
    plain = await api.create_pool()
    assert (plain["tls_enabled"], plain["tls_versions"], plain["alpn_protocols"]) == (False, None, None)
    authority, client = await store(api, ROOT.pem), await store(api, ROOT.issue("", names=()).pkcs12())
    pool = await api.create_pool(tls_enabled=True, tls_container_ref=client, ca_tls_container_ref=authority)
    assert (pool["tls_container_ref"], pool["ca_tls_container_ref"]) == (client, authority)
    assert (pool["tls_versions"], pool["alpn_protocols"]) == (["TLSv1.2", "TLSv1.3"], ["h2", "http/1.1", "http/1.0"])
    path = f"/pools/{pool['id']}"
    revoked = await store(api, ROOT.revoke())
    changed = (await api.ask("PUT", path, {"pool": {"crl_container_ref": revoked, "alpn_protocols": None}})).json()
    assert (changed["pool"]["crl_container_ref"], changed["pool"]["alpn_protocols"]) == (revoked, None)
    for values, words in (
        ({"ca_tls_container_ref": None}, "A CA reference cannot be removed when a certificate revocation list is"),
        ({"crl_container_ref": await store(api, make_authority().revoke())}, "is not signed by the authority"),
        ({"tls_container_ref": authority}, "tls_container_ref"),
        ({"crl_container_ref": await store(api, ROOT.revoke(ends=-DAY))}, "crl_container_ref: the list of revocations"),
        ({"tls_versions": ["TLSv1"]}, "less than the minimum"),
        ({"tls_enabled": None}, "None is not a valid option for tls_enabled"),
    ):
        assert words in await api.refuse("PUT", path, {"pool": values}, status=400)
    body: dict[str, Any] = {"pool": {"crl_container_ref": None, "ca_tls_container_ref": None}}
    assert (await api.ask("PUT", path, body)).status_code == 200
    body = {"pool": {"protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "crl_container_ref": revoked}}
    body["pool"] |= {"loadbalancer_id": pool["loadbalancers"][0]["id"]}
    assert "CA certificate reference is required" in await api.refuse("POST", "/pools", body, status=400)


async def test_prohibited_ciphers_come_by_no_other_name(open_api: Any) -> None:
    prohibited, usual = (
        ["AES128-SHA", "TLS_CHACHA20_POLY1305_SHA256"],
        "TLS_AES_256_GCM_SHA384:ECDHE-RSA-AES256-GCM-SHA384",
    )
    api = open_api(api={"tls": {"cipher_prohibit_list": prohibited, "pool_ciphers": usual}})
    pool = await api.create_pool(tls_enabled=True)
    path = f"/pools/{pool['id']}"
    for ciphers, versions, named in (
        ("AES128-SHA:AES256-SHA", ["TLSv1.2"], "AES128-SHA"),
        ("AES128", ["TLSv1.2"], "AES128-SHA"),
        ("DEFAULT:!ECDHE", ["TLSv1.2"], "AES128-SHA"),
        ("TLS_CHACHA20_POLY1305_SHA256", ["TLSv1.3"], "TLS_CHACHA20_POLY1305_SHA256"),
        # OpenSSL has its own list for a version of which none is named.
        ("ECDHE-RSA-AES256-GCM-SHA384", ["TLSv1.2", "TLSv1.3"], "TLS_CHACHA20_POLY1305_SHA256"),
    ):
        wanted = {"pool": {"tls_ciphers": ciphers, "tls_versions": versions}}
        sentence = await api.refuse("PUT", path, wanted, status=400)
        assert f"The following ciphers have been prohibited by an administrator: {named}" in sentence
    for ciphers in ("ECDHE-RSA-AES256-GCM-SHA384", "HIGH:!AES128-SHA:!aNULL"):
        wanted = {"pool": {"tls_ciphers": ciphers, "tls_versions": ["TLSv1.2"]}}
        assert (await api.ask("PUT", path, wanted)).status_code == 200


async def test_a_whole_tree(api: Api) -> None:
    ref = await store(api, WWW.pkcs12())
    wanted: dict[str, Any] = {
        "vip_subnet_id": api.subnet_id(),
        "listeners": [
            {
                "protocol": "TERMINATED_HTTPS",
                "protocol_port": 443,
                "default_tls_container_ref": ref,
                "default_pool": {
                    "name": "p", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": True,
                },
            }
        ],
    }  # fmt: skip
    made = await api.create("loadbalancers", **wanted)
    assert made["listeners"][0]["tls_versions"] == ["TLSv1.2", "TLSv1.3"]
    assert made["pools"][0]["tls_ciphers"] == api.settings.api.tls.pool_ciphers
    wanted["listeners"][0]["default_tls_container_ref"] = "nothing"
    sentence = await api.refuse("POST", "/loadbalancers", {"loadbalancer": wanted}, status=400)
    assert sentence == "Could not retrieve certificate: ['nothing']"


async def test_what_is_used_is_not_deleted(api: Api) -> None:
    ref = await store(api, WWW.pkcs12())
    listener = await make_listener(api, default_tls_container_ref=ref)
    path = "/" + ref.removeprefix("http://api.test")
    refused = await api.ask("DELETE", path)
    assert refused.status_code == 409
    assert listener["id"] in refused.json()["description"]


async def test_one_project_cannot_use_the_certificate_of_another(open_api: Any, tmp_path: Any) -> None:
    stored = bcrypt.hashpw(b"word", bcrypt.gensalt(4)).decode()
    file = tmp_path / "htpasswd"
    file.write_text(f"ann:{stored}\nbob:{stored}\n", encoding="utf-8")
    users = {"ann": {"project_id": "a"}, "bob": {"project_id": "b"}}
    api = open_api(identity={"mode": "basic", "htpasswd_file": str(file), "users": users})
    body = {"payload": WWW.bundle_pem.decode(), "payload_content_type": "text/plain"}
    ref = (await api.ask("POST", SECRETS, body, auth=("ann", "word"))).json()["secret_ref"]
    wanted = {"vip_subnet_id": api.subnet_id()}
    made = await api.ask("POST", "/loadbalancers", {"loadbalancer": wanted}, auth=("bob", "word"))
    listener = {
        "loadbalancer_id": made.json()["loadbalancer"]["id"],
        "protocol": "TERMINATED_HTTPS",
        "protocol_port": 443,
        "default_tls_container_ref": ref,
    }
    sentence = await api.refuse("POST", "/listeners", {"listener": listener}, status=400, auth=("bob", "word"))
    assert sentence == f"Could not retrieve certificate: ['{ref}']"


async def test_a_payload_written_again_makes_its_users_due(api: Api) -> None:
    ref = await store(api, WWW.pkcs12())
    await make_listener(api, default_tls_container_ref=ref)
    await api.settle()
    assert await count_due(api) == 0
    renewed = await api.client.put(
        ref, content=ROOT.issue("www.example.test").pkcs12(), headers={"Content-Type": "application/octet-stream"}
    )
    assert renewed.status_code == 204
    assert await count_due(api) == 1


async def count_due(api: Api) -> int:
    rows = await api.store.execute(sa.text("SELECT count(*) FROM load_balancers WHERE due_at <= now()"))
    return int(rows[0][0])
