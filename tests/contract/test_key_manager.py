"""The built-in key manager: by plain requests, and by the unmodified `openstack secret` and its library."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import sqlalchemy as sa

from statera.api.clouds import render_clouds_yaml
from statera.store.tables import secrets
from tests.contract.client import Api
from tests.contract.cloud import Cloud
from tests.contract.conftest import make_settings
from tests.contract.serving import serve

SECRETS, CONTAINERS = "//key-manager/v1/secrets", "//key-manager/v1/containers"


async def store_text(api: Api, payload: str = "a text", **more: Any) -> str:
    """Store a text and return the reference."""
    body = {"name": "one", "payload": payload, "payload_content_type": "text/plain"} | more
    answer = await api.ask("POST", SECRETS, body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["secret_ref"])


def path_of(ref: str) -> str:
    return "/" + ref.removeprefix("http://api.test")


async def test_a_secret_comes_back_as_it_was_stored(api: Api) -> None:
    ref = await store_text(api)
    shown = await api.get(path_of(ref))
    assert (shown["secret_ref"], shown["name"], shown["status"]) == (ref, "one", "ACTIVE")
    assert shown["content_types"] == {"default": "text/plain"}
    assert "payload" not in shown
    payload = await api.ask("GET", f"{path_of(ref)}/payload", headers={"Accept": "text/plain"})
    assert (payload.status_code, payload.text) == (200, "a text")
    assert payload.headers["content-type"].startswith("text/plain")
    listed = await api.get(f"{SECRETS}?limit=100&name=one")
    assert ref in [one["secret_ref"] for one in listed["secrets"]]
    assert (await api.ask("DELETE", path_of(ref))).status_code == 204
    gone = await api.ask("GET", path_of(ref))
    assert (gone.status_code, gone.json()["title"]) == (404, "Not Found")


async def test_bytes_and_a_payload_in_a_second_step(api: Api) -> None:
    raw = bytes(range(256))
    given = {
        "payload": base64.b64encode(raw).decode(),
        "payload_content_type": "application/octet-stream",
        "payload_content_encoding": "base64",
    }
    ref = await store_text(api, **given)
    assert (await api.client.get(ref + "/payload", headers={"Accept": "application/octet-stream"})).content == raw
    refused = await api.client.get(ref + "/payload", headers={"Accept": "text/plain"})
    assert refused.status_code == 406
    assert "The payload is application/octet-stream" in refused.json()["description"]
    empty = (await api.ask("POST", SECRETS, {"name": "later"})).json()["secret_ref"]
    assert (await api.client.get(empty + "/payload")).status_code == 404
    written = await api.client.put(empty, content=b"now", headers={"Content-Type": "text/plain"})
    assert written.status_code == 204
    assert (await api.client.get(empty + "/payload")).text == "now"


async def test_lists_are_narrowed_by_what_the_openstack_command_offers(api: Api) -> None:
    kinds: list[dict[str, Any]] = [
        {"secret_type": "certificate", "algorithm": "rsa", "bit_length": 2048, "mode": "none"},
        {"secret_type": "opaque", "algorithm": "aes", "bit_length": 256, "mode": "cbc"},
    ]
    first, second = [await store_text(api, name="narrow", **kind) for kind in kinds]
    for words in ("secret_type=certificate", "alg=rsa", "bits=2048", "mode=none"):
        listed = await api.get(f"{SECRETS}?name=narrow&{words}")
        assert [one["secret_ref"] for one in listed["secrets"]] == [first], words
    page = await api.get(f"{SECRETS}?name=narrow&limit=1")
    assert (page["total"], "name=narrow" in page["next"]) == (2, True)
    following = await api.client.get(page["next"])
    assert [one["secret_ref"] for one in following.json()["secrets"]] == [second]
    assert (await api.ask("GET", f"{SECRETS}?bits=many")).status_code == 400
    made = await api.ask("POST", CONTAINERS, {"type": "generic", "name": "narrow", "secret_refs": []})
    assert made.status_code == 201
    counts = [(await api.get(f"{CONTAINERS}?name=narrow&type={kind}"))["total"] for kind in ("generic", "rsa")]
    assert counts == [1, 0]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"payload": "x"}, "payload_content_type"),
        ({"payload": "x", "payload_content_type": "application/octet-stream"}, "payload_content_encoding"),
        ({"payload": "", "payload_content_type": "text/plain"}, "empty"),
        (
            {
                "payload": "%%",
                "payload_content_type": "application/octet-stream",
                "payload_content_encoding": "base64",
            },
            "base64",
        ),
        ({"payload": 7, "payload_content_type": "text/plain"}, "payload"),
        ({"payload": "x" * 70_000, "payload_content_type": "text/plain"}, "bytes"),
        ([], "body"),
    ],
)
async def test_what_cannot_be_stored(api: Api, body: Any, word: str) -> None:
    answer = await api.ask("POST", SECRETS, body)
    assert answer.status_code == 400
    assert word in answer.json()["description"]


async def test_containers_hold_secrets(api: Api) -> None:
    parts = {name: await store_text(api, name=name) for name in ("certificate", "private_key")}
    refs = [{"name": name, "secret_ref": ref} for name, ref in parts.items()]
    made = await api.ask("POST", CONTAINERS, {"type": "certificate", "name": "tls", "secret_refs": refs})
    assert made.status_code == 201, made.text
    ref = made.json()["container_ref"]
    shown = await api.get(path_of(ref))
    assert (shown["type"], shown["secret_refs"]) == ("certificate", refs)
    assert ref in [one["container_ref"] for one in (await api.get(f"{CONTAINERS}?limit=100"))["containers"]]
    held = await api.ask("DELETE", path_of(parts["certificate"]))
    assert (held.status_code, held.json()["title"]) == (409, "Conflict")
    assert (await api.ask("DELETE", path_of(ref))).status_code == 204
    assert (await api.ask("DELETE", path_of(parts["certificate"]))).status_code == 204


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"type": "certificate", "secret_refs": []}, 400),
        ({"type": "other"}, 400),
        ({"type": "generic", "secret_refs": [{"name": "a", "secret_ref": "http://x/v1/secrets/nothing"}]}, 404),
    ],
)
async def test_containers_that_cannot_be(api: Api, body: Any, status: int) -> None:
    assert (await api.ask("POST", CONTAINERS, body)).status_code == status


async def test_another_project_sees_nothing(open_api: Callable[..., Api], tmp_path: Path) -> None:
    stored = bcrypt.hashpw(b"word", bcrypt.gensalt(4)).decode()
    file = tmp_path / "htpasswd"
    file.write_text("".join(f"{user}:{stored}\n" for user in ("ann", "bob", "eve")), encoding="utf-8")
    users = {"ann": {"project_id": "a"}, "bob": {"project_id": "b"}, "eve": {"project_id": "a", "roles": ["reader"]}}
    api = open_api(identity={"mode": "basic", "htpasswd_file": str(file), "users": users})
    body = {"payload": "mine", "payload_content_type": "text/plain"}
    made = await api.ask("POST", SECRETS, body, auth=("ann", "word"))
    path = path_of(made.json()["secret_ref"])
    assert (await api.ask("GET", path, auth=("bob", "word"))).status_code == 404
    assert (await api.ask("GET", f"{path}/payload", auth=("bob", "word"))).status_code == 404
    assert (await api.ask("DELETE", path, auth=("bob", "word"))).status_code == 404
    assert (await api.ask("GET", SECRETS, auth=("bob", "word"))).json()["secrets"] == []
    assert (await api.ask("GET", path, auth=("eve", "word"))).status_code == 200
    assert (await api.ask("GET", f"{path}/payload", auth=("eve", "word"))).status_code == 403
    assert (await api.ask("POST", SECRETS, body, auth=("eve", "word"))).status_code == 403
    assert (await api.ask("GET", f"{path}/payload", auth=("ann", "word"))).text == "mine"
    assert (await api.ask("GET", path)).status_code == 401


async def test_the_database_holds_nothing_readable(api: Api) -> None:
    await store_text(api, "the very words")
    rows = await api.store.execute(sa.select(secrets.c.sealed).where(secrets.c.sealed.is_not(None)))
    assert rows
    assert not any(b"very words" in row.sealed for row in rows)


# The clients


@pytest.fixture(scope="module")
def url(module_database_url: str) -> Iterator[str]:
    with serve(module_database_url, make_settings()) as url:
        yield url


def test_the_openstack_command(url: str, tmp_path: Path) -> None:
    cloud = Cloud(tmp_path, render_clouds_yaml(url), "secret")
    bundle = tmp_path / "bundle.p12"
    bundle.write_bytes(bytes(range(200)))
    encoded = base64.b64encode(bundle.read_bytes()).decode()
    stored = cloud.ask(f"store --name tls -t application/octet-stream -e base64 --payload {encoded}")
    ref = stored["Secret href"]
    assert ref.startswith(f"{url}/key-manager/v1/secrets/")
    assert cloud.ask(f"get {ref}")["Name"] == "tls"
    out = tmp_path / "out"
    cloud.do(f"get -t application/octet-stream --file '{out}' {ref}")
    assert out.read_bytes() == bundle.read_bytes()
    assert [row["Name"] for row in cloud.ask("list --name tls")] == ["tls"]
    made = cloud.ask(f"container create --name box --type certificate --secret certificate={ref}")
    container = made["Container href"]
    assert "box" in cloud.do(f"container get {container}")
    cloud.do(f"container delete {container}")
    cloud.do(f"delete {ref}")
    assert cloud.ask("list --name tls") == []


def test_with_a_password(module_database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "htpasswd"
    file.write_text(f"alice:{bcrypt.hashpw(b'word', bcrypt.gensalt(4)).decode()}\n", encoding="utf-8")
    identity = {"mode": "basic", "htpasswd_file": str(file), "users": {"alice": {"project_id": "p" * 32}}}
    with serve(module_database_url, make_settings(identity=identity)) as url:
        cloud = Cloud(tmp_path, render_clouds_yaml(url, username="alice", password="word"), "secret")
        ref = cloud.ask("store --name hers -t text/plain --payload text")["Secret href"]
        assert cloud.ask(f"get --payload {ref}")["Payload"] == "text"
