"""Tokens of a real Keystone: who they stand for, until when, and what is answered when nobody can tell."""

import asyncio
import contextlib
import datetime as dt
import json
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from statera.api.application import create_application
from statera.base.clock import SystemClock
from statera.base.ids import new_id
from statera.base.settings import BadSettings, Settings
from statera.cli.deployment import check_identity
from statera.drivers.identity_keystone import REFUSED_S, KeystoneTokens
from statera.drivers.network_local import LocalNetwork, networks_from_settings
from statera.store.addresses import StoredAddressBook
from statera.store.engine import Store
from tests.contract.client import Api
from tests.contract.cloud import Cloud
from tests.contract.conftest import make_settings
from tests.contract.serving import serve
from tests.fixtures.clock import MovedClock
from tests.fixtures.keystone import Keystone, User

UNAUTHENTICATED = {
    "error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}
}


class People:
    """Users of two projects, and a token of each."""

    def __init__(self, keystone: Keystone) -> None:
        self.keystone = keystone
        self.mine, self.other, service = (keystone.create_project() for _ in range(3))
        self.statera = keystone.create_user(service, "service")
        self.writer = keystone.create_user(self.mine, "member")
        users = {
            "writer": self.writer,
            "reader": keystone.create_user(self.mine, "reader"),
            "stranger": keystone.create_user(self.other, "member"),
            "admin": keystone.create_user(self.other, "admin"),
            "service": self.statera,
            "odd": keystone.create_user(self.mine, "sweeper"),
            "old": keystone.create_user(self.mine, "load-balancer_member"),
        }
        self.tokens = {name: user.ask_token() for name, user in users.items()}
        self.tokens["system"] = keystone.ask_token("admin", keystone.password, {"system": {"all": True}})
        self.tokens["unscoped"] = keystone.ask_token(self.writer.name, self.writer.password)

    def identity(self, **more: Any) -> dict[str, Any]:
        """Return the section of the configuration, with other options of Keystone."""
        keystone = {"auth_url": self.keystone.url, **credentials_of(self.statera)} | more
        return {"mode": "keystone", "keystone": keystone}


def credentials_of(user: User) -> dict[str, str]:
    """Return a user's credentials as options; projects are named in them."""
    project = user.keystone.ask("GET", f"/projects/{user.project_id}")["project"]["name"]
    return {"username": user.name, "password": user.password, "project_name": project}


@pytest.fixture(scope="module")
def people(keystone: Keystone) -> People:
    return People(keystone)


class Opened(Api):
    """An API that checks tokens."""

    clock: MovedClock

    async def ask_as(self, token: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = await self.ask(method, path, body, headers={"X-Auth-Token": token})
        return answer.status_code, answer.json() if answer.content else None

    async def make(self, token: str, **values: Any) -> dict[str, Any]:
        wish = {"vip_subnet_id": self.subnet_id()} | values
        status, made = await self.ask_as(token, "POST", "/loadbalancers", {"loadbalancer": wish})
        assert status == 201, made
        return dict(made["loadbalancer"])


def open_one(store: Store, settings: Settings) -> tuple[Opened, KeystoneTokens]:
    clock = MovedClock()
    tokens = KeystoneTokens(settings.identity.keystone, clock)
    network = LocalNetwork(networks_from_settings(settings.networks), StoredAddressBook(store))
    application = create_application(store=store, network=network, settings=settings, clock=clock, tokens=tokens)
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)  # type: ignore[arg-type]
    opened = Opened(httpx.AsyncClient(transport=transport, base_url="http://api.test"), store, settings)
    opened.clock = clock
    return opened, tokens


@pytest_asyncio.fixture
async def open_keystone(module_database_url: str) -> AsyncIterator[Callable[..., Opened]]:
    """Make APIs with settings of their own."""
    store = Store(module_database_url)
    opened: list[tuple[Opened, KeystoneTokens]] = []

    def open_with(**sections: Any) -> Opened:
        opened.append(open_one(store, make_settings(**sections)))
        return opened[-1][0]

    yield open_with
    for one, tokens in opened:
        await one.close()
        await tokens.close()
    await store.close()


@pytest.fixture
def api(open_keystone: Callable[..., Opened], people: People) -> Opened:
    return open_keystone(identity=people.identity())


# Who gets in


@pytest.mark.parametrize("token", [None, "", "x", "gAAAAABx", "two words", "\t", "é", "x" * 20_000, "../../users"])
async def test_no_valid_token(api: Opened, people: People, token: str | None) -> None:
    headers = {} if token is None else {"X-Auth-Token": token.encode()}
    answer = await api.ask("GET", "/loadbalancers", headers=headers)
    assert (answer.status_code, answer.json()) == (401, UNAUTHENTICATED)
    assert answer.headers["www-authenticate"] == f'Keystone uri="{people.keystone.url}"'
    assert answer.headers["x-openstack-request-id"].startswith("req-")


async def test_a_forged_token(api: Opened, people: People) -> None:
    token = people.tokens["admin"]
    forged = token[:-8] + ("A" * 8 if not token.endswith("A" * 8) else "B" * 8)
    assert (await api.ask_as(forged, "GET", "/loadbalancers"))[0] == 401


async def test_clients_are_told_the_public_url(open_keystone: Callable[..., Opened], people: People) -> None:
    api = open_keystone(identity=people.identity(public_url="https://keystone.example/v3"))
    answer = await api.ask("GET", "/loadbalancers")
    assert answer.headers["www-authenticate"] == 'Keystone uri="https://keystone.example/v3"'


async def test_discovery_needs_no_token(api: Opened) -> None:
    assert (await api.ask("GET", "//")).status_code == 200
    assert (await api.ask("GET", "//load-balancer")).status_code == 200
    assert (await api.ask("GET", "//v2")).status_code == 401


async def test_another_scheme_is_no_way_in(api: Opened, people: People) -> None:
    writer = people.writer
    answer = await api.client.get("/v2/lbaas/loadbalancers", auth=(writer.name, writer.password))
    assert answer.status_code == 401
    service = {"X-Service-Token": people.tokens["service"]}
    assert (await api.ask("GET", "/loadbalancers", headers=service)).status_code == 401


@pytest.mark.parametrize("service_token", ["service", "garbage"])
async def test_service_tokens_change_nothing(api: Opened, people: People, service_token: str) -> None:
    headers = {
        "X-Auth-Token": people.tokens["reader"],
        "X-Service-Token": people.tokens.get(service_token, service_token),
        "X-Roles": "admin",
        "X-Project-Id": people.other,
        "X-Identity-Status": "Confirmed",
    }
    assert (await api.ask("GET", "/loadbalancers", headers=headers)).status_code == 200
    answer = await api.ask("GET", f"/loadbalancers?project_id={people.other}", headers=headers)
    assert answer.status_code == 403


# Who may do what


async def test_roles_of_the_own_project(api: Opened, people: People) -> None:
    tokens = people.tokens
    made = await api.make(tokens["writer"], name="mine")
    assert made["project_id"] == people.mine
    path = f"/loadbalancers/{made['id']}"
    may_read = {name: (await api.ask_as(token, "GET", path))[0] for name, token in tokens.items()}
    assert may_read == {
        "writer": 200, "reader": 200, "stranger": 403, "admin": 200, "service": 403, "odd": 403, "old": 403,
        "system": 200, "unscoped": 403,
    }  # fmt: skip
    change = {"loadbalancer": {"name": "changed"}}
    may_write = {name: (await api.ask_as(token, "PUT", path, change))[0] for name, token in tokens.items()}
    assert may_write == may_read | {"reader": 403}
    _, told = await api.ask_as(tokens["reader"], "PUT", path, change)
    assert told["faultstring"] == "Policy does not allow this request to be performed."


async def test_lists_show_the_own_project(api: Opened, people: People) -> None:
    mine = await api.make(people.tokens["writer"])
    theirs = await api.make(people.tokens["stranger"])

    async def list_ids(name: str, query: str = "") -> set[str]:
        status, told = await api.ask_as(people.tokens[name], "GET", f"/loadbalancers{query}")
        assert status == 200, told
        return {one["id"] for one in told["loadbalancers"]}

    for name in ("writer", "reader"):
        found = await list_ids(name)
        assert mine["id"] in found
        assert theirs["id"] not in found
    for name in ("admin", "system"):
        assert {mine["id"], theirs["id"]} <= await list_ids(name)
        assert theirs["id"] not in await list_ids(name, f"?project_id={people.mine}")
    for name in ("odd", "unscoped", "service", "old"):
        assert (await api.ask_as(people.tokens[name], "GET", "/loadbalancers"))[0] == 403


async def test_creation_for_another_project(api: Opened, people: People) -> None:
    made = await api.make(people.tokens["admin"], project_id=people.mine)
    assert made["project_id"] == people.mine
    wish = {"loadbalancer": {"vip_subnet_id": api.subnet_id(), "project_id": people.other}}
    assert (await api.ask_as(people.tokens["writer"], "POST", "/loadbalancers", wish))[0] == 403
    del wish["loadbalancer"]["project_id"]
    status, told = await api.ask_as(people.tokens["system"], "POST", "/loadbalancers", wish)
    assert status == 400
    assert "Missing project ID in request where one is required." in told["faultstring"]


async def test_a_service_lists_members_of_any_pool(api: Opened, people: People) -> None:
    made = await api.make(people.tokens["writer"])
    wish = {"loadbalancer_id": made["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    _, pool = await api.ask_as(people.tokens["writer"], "POST", "/pools", {"pool": wish})
    path = f"/pools/{pool['pool']['id']}/members"
    for name, status in {"service": 200, "stranger": 403, "reader": 200, "odd": 403}.items():
        assert (await api.ask_as(people.tokens[name], "GET", path))[0] == status, name


async def test_old_roles_where_they_are_let_in(open_keystone: Callable[..., Opened], people: People) -> None:
    api = open_keystone(identity=people.identity() | {"legacy_roles": True})
    made = await api.make(people.tokens["old"])
    assert made["project_id"] == people.mine
    assert (await api.ask_as(people.tokens["old"], "GET", "/loadbalancers"))[0] == 200


async def test_a_policy_file_decides(open_keystone: Callable[..., Opened], people: People, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('"load-balancer:read": "role:sweeper"\n"os_load-balancer_api:loadbalancer:post": "!"\n')
    api = open_keystone(identity=people.identity() | {"policy_file": str(file)})
    assert (await api.ask_as(people.tokens["odd"], "GET", "/loadbalancers"))[0] == 200
    assert (await api.ask_as(people.tokens["writer"], "GET", "/loadbalancers"))[0] == 403
    wish = {"loadbalancer": {"vip_subnet_id": api.subnet_id()}}
    assert (await api.ask_as(people.tokens["admin"], "POST", "/loadbalancers", wish))[0] == 403


async def test_events_name_who_did_it(api: Opened, people: People) -> None:
    made = await api.make(people.tokens["writer"])
    _, told = await api.ask_as(people.tokens["reader"], "GET", f"/loadbalancers/{made['id']}/events")
    assert people.writer.name in json.dumps(told)


async def test_credentials_that_may_only_use_other_services(api: Opened, people: People) -> None:
    """What the access rules of an application credential allow is not looked at: such tokens are refused."""
    owner = people.writer
    rules = [{"service": "compute", "method": "GET", "path": "/v2.1/servers"}]
    with httpx.Client(headers={"X-Auth-Token": owner.ask_token()}, trust_env=False, timeout=30) as client:
        wish = {"application_credential": {"name": new_id(), "access_rules": rules}}
        answer = client.post(f"{people.keystone.url}/users/{owner.id}/application_credentials", json=wish)
    assert answer.status_code == 201, answer.text
    made = answer.json()["application_credential"]
    credential = {"id": made["id"], "secret": made["secret"]}
    token = people.keystone.authenticate({"methods": ["application_credential"], "application_credential": credential})
    status, told = await api.ask_as(token, "GET", "/loadbalancers")
    assert (status, told) == (401, UNAUTHENTICATED)


# Until when


async def test_a_revoked_token_is_noticed_after_the_cache(api: Opened, people: People) -> None:
    token = people.writer.ask_token()
    api.clock.stop()
    assert (await api.ask_as(token, "GET", "/loadbalancers"))[0] == 200
    people.keystone.revoke(token)
    api.clock.ahead_s = 59
    assert (await api.ask_as(token, "GET", "/loadbalancers"))[0] == 200
    api.clock.ahead_s = 61
    assert (await api.ask_as(token, "GET", "/loadbalancers"))[0] == 401


async def test_without_a_cache_a_revocation_counts_at_once(
    open_keystone: Callable[..., Opened], people: People
) -> None:
    api = open_keystone(identity=people.identity(cache_s=0))
    token = people.writer.ask_token()
    assert (await api.ask_as(token, "GET", "/loadbalancers"))[0] == 200
    people.keystone.revoke(token)
    assert (await api.ask_as(token, "GET", "/loadbalancers"))[0] == 401


async def test_a_remembered_token_ends_when_it_expires(open_keystone: Callable[..., Opened], people: People) -> None:
    api = open_keystone(identity=people.identity(cache_s=1e6))
    token = people.writer.ask_token()
    api.clock.stop()
    assert (await api.ask_as(token, "GET", "/loadbalancers"))[0] == 200
    api.clock.ahead_s = 3590
    assert (await api.ask_as(token, "GET", "/loadbalancers"))[0] == 200
    api.clock.ahead_s = 3601
    assert (await api.ask_as(token, "GET", "/loadbalancers"))[0] == 401


async def test_a_token_that_keystone_lets_expire(api: Opened, people: People) -> None:
    """Tokens of an application credential end with it."""
    ends = (dt.datetime.now(dt.UTC) + dt.timedelta(seconds=4)).strftime("%Y-%m-%dT%H:%M:%S")
    owner = people.writer
    with httpx.Client(headers={"X-Auth-Token": owner.ask_token()}, trust_env=False, timeout=30) as client:
        wish = {"application_credential": {"name": new_id(), "expires_at": ends}}
        answer = client.post(f"{people.keystone.url}/users/{owner.id}/application_credentials", json=wish)
    assert answer.status_code == 201, answer.text
    made = answer.json()["application_credential"]
    credential = {"id": made["id"], "secret": made["secret"]}
    token = people.keystone.authenticate({"methods": ["application_credential"], "application_credential": credential})
    assert (await api.ask_as(token, "GET", "/loadbalancers"))[0] == 200
    deadline = asyncio.get_running_loop().time() + 30
    while (await api.ask_as(token, "GET", "/loadbalancers"))[0] != 401:
        assert asyncio.get_running_loop().time() < deadline, "the token did not end"
        await asyncio.sleep(0.1)


async def test_equal_tokens_are_asked_for_once(api: Opened, people: People) -> None:
    token = people.writer.ask_token()
    log = people.keystone.log
    before = log.read_text(encoding="utf-8").count("GET /v3/auth/tokens")
    answers = await asyncio.gather(*(api.ask_as(token, "GET", "/loadbalancers") for _ in range(20)))
    assert {status for status, _ in answers} == {200}
    assert log.read_text(encoding="utf-8").count("GET /v3/auth/tokens") == before + 1


async def test_a_refused_token_is_asked_for_once_in_some_seconds(api: Opened, people: People) -> None:
    log, token = people.keystone.log, f"refused-{new_id()}"

    def count() -> int:
        return log.read_text(encoding="utf-8").count("GET /v3/auth/tokens")

    async def has_asked_once(before: int) -> bool:
        # Keystone may answer before it writes its line.
        deadline = time.monotonic() + 10.0
        while count() == before and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        return count() == before + 1

    api.clock.stop()
    before = count()
    for _ in range(20):
        assert (await api.ask_as(token, "GET", "/loadbalancers"))[0] == 401
    assert await has_asked_once(before)
    # Another one is another question, and one that is valid gets in meanwhile.
    before = count()
    assert (await api.ask_as(people.writer.ask_token(), "GET", "/loadbalancers"))[0] == 200
    assert await has_asked_once(before)
    for ahead_s in (REFUSED_S, -3600.0):
        before = count()
        api.clock.ahead_s = ahead_s
        for _ in range(3):
            assert (await api.ask_as(token, "GET", "/loadbalancers"))[0] == 401
        assert await has_asked_once(before)


async def test_who_invents_tokens_is_asked_to_wait(open_keystone: Callable[..., Opened], people: People) -> None:
    api = open_keystone(identity=people.identity(refused_per_minute=3))
    assert (await api.ask_as(people.tokens["writer"], "GET", "/loadbalancers"))[0] == 200
    for number in range(5):
        answer = await api.ask("GET", "/loadbalancers", headers={"X-Auth-Token": f"made-up-{number}"})
        assert answer.status_code == (401 if number < 3 else 429)
    assert 0 < int(answer.headers["retry-after"]) <= 60
    message = "Too many failed log-ins from this address: wait before the next one."
    assert answer.json() == {"error": {"code": 429, "title": "Too Many Requests", "message": message}}
    assert (await api.ask_as(people.tokens["writer"], "GET", "/loadbalancers"))[0] == 200


# When nobody can tell


def check_unavailable(answer: httpx.Response) -> None:
    message = "The Keystone service is temporarily unavailable."
    body = {"error": {"code": 503, "title": "Service Unavailable", "message": message}}
    assert (answer.status_code, answer.json()) == (503, body)
    assert int(answer.headers["retry-after"]) >= 1


async def test_keystone_is_down(open_keystone: Callable[..., Opened], people: People) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v3"
        api = open_keystone(identity=people.identity(auth_url=url))
        check_unavailable(await api.ask("GET", "/loadbalancers", headers={"X-Auth-Token": people.tokens["admin"]}))


async def test_keystone_hangs(open_keystone: Callable[..., Opened], people: People) -> None:
    api = open_keystone(identity=people.identity(timeout_s=1.0))
    known, fresh = people.tokens["writer"], people.writer.ask_token()
    await get_in(api, known)
    people.keystone.process.send_signal(signal.SIGSTOP)
    try:
        check_unavailable(await api.ask("GET", "/loadbalancers", headers={"X-Auth-Token": fresh}))
        # Who was let in before is not locked out meanwhile.
        assert (await api.ask_as(known, "GET", "/loadbalancers"))[0] == 200
    finally:
        people.keystone.process.send_signal(signal.SIGCONT)
    await get_in(api, fresh)


async def get_in(api: Opened, token: str) -> None:
    """Ask until a token is let in: a Keystone on a busy machine may need longer than it is waited for."""
    deadline = time.monotonic() + 60.0
    while (answer := await api.ask_as(token, "GET", "/loadbalancers"))[0] != 200:
        assert answer[0] == 503, answer
        assert time.monotonic() < deadline, "Keystone does not answer in time"


@pytest.mark.parametrize("wrong", ["password", "right to validate"])
async def test_our_own_credentials_do_not_do(
    open_keystone: Callable[..., Opened], people: People, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    caplog.set_level(logging.DEBUG)
    options = {"password": "not-the-password"} if wrong == "password" else credentials_of(people.writer)
    api = open_keystone(identity=people.identity(**options))
    token = people.tokens["reader"]
    check_unavailable(await api.ask("GET", "/loadbalancers", headers={"X-Auth-Token": token}))
    assert token not in caplog.text
    assert options["password"] not in caplog.text


async def test_an_application_credential_of_ours(open_keystone: Callable[..., Opened], people: People) -> None:
    owner = people.statera
    with httpx.Client(headers={"X-Auth-Token": owner.ask_token()}, trust_env=False, timeout=30) as client:
        wish = {"application_credential": {"name": new_id()}}
        answer = client.post(f"{people.keystone.url}/users/{owner.id}/application_credentials", json=wish)
    made = answer.json()["application_credential"]
    keystone = {
        "auth_url": people.keystone.url.removesuffix("/v3"),
        "application_credential_id": made["id"],
        "application_credential_secret": made["secret"],
    }
    api = open_keystone(identity={"mode": "keystone", "keystone": keystone})
    assert (await api.ask_as(people.tokens["reader"], "GET", "/loadbalancers"))[0] == 200


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"auth_url": ""}, "auth_url"),
        ({"auth_url": "keystone:5000"}, "auth_url"),
        ({"username": ""}, "username"),
        ({"password": ""}, "password"),
        ({"application_credential_id": "x"}, "application_credential_secret"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file"),
    ],
)
def test_wrong_options_stop_the_start(options: dict[str, str], named: str) -> None:
    keystone = {"auth_url": "http://127.0.0.1:5000/v3", "username": "u", "password": "p"} | options
    settings = make_settings(identity={"mode": "keystone", "keystone": keystone})
    with pytest.raises(BadSettings, match=named):
        KeystoneTokens(settings.identity.keystone, SystemClock())


async def test_doctor_asks_keystone(people: People) -> None:
    for options, is_well in (({}, True), ({"password": "wrong"}, False)):
        [(what, found, mend)] = await check_identity(make_settings(identity=people.identity(**options)))
        assert (what, not mend) == ("identity", is_well), found
    assert await check_identity(make_settings()) == []


# Through the catalogue


@pytest.fixture(scope="module")
def clouds_yaml(module_database_url: str, people: People) -> Iterator[str]:
    """The usual file of somebody with a password; the service stands behind a prefix, as catalogues have it."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(serve(module_database_url, make_settings(identity=people.identity())))
        region = f"region-{urlsplit(url).port}"
        people.keystone.publish(region, load_balancer=f"{url}/load-balancer", network=f"{url}/network")
        auth = {
            "auth_url": people.keystone.url,
            "username": people.writer.name,
            "password": people.writer.password,
            "project_id": people.mine,
            "user_domain_id": "default",
        }
        yield json.dumps({"clouds": {"statera": {"region_name": region, "auth": auth}}})


def test_the_openstack_command(clouds_yaml: str, people: People, tmp_path: Path) -> None:
    cloud = Cloud(tmp_path, clouds_yaml)
    made = cloud.ask("create --name through-keystone --vip-subnet-id front4")
    assert (made["project_id"], made["provisioning_status"]) == (people.mine, "PENDING_CREATE")
    assert made["id"] in {row["id"] for row in cloud.ask("list")}
    cloud.do("delete --cascade through-keystone")
    assert "401" in Cloud(tmp_path, clouds_yaml.replace(people.writer.password, "wrong")).refuse("list")


def test_links_keep_the_prefix(clouds_yaml: str, people: People) -> None:
    told = json.loads(clouds_yaml)["clouds"]["statera"]
    base = f"http://127.0.0.1:{told['region_name'].removeprefix('region-')}/load-balancer"
    headers = {"X-Auth-Token": people.tokens["admin"]}
    with httpx.Client(headers=headers, trust_env=False, timeout=30) as client:
        versions = client.get(base).json()["versions"]
        assert {version["links"][0]["href"] for version in versions} == {f"{base}/v2"}
        page = client.get(f"{base}/v2/lbaas/loadbalancers?limit=1").json()
        assert len(page["loadbalancers"]) == 1
        assert page["loadbalancers_links"][0]["href"].startswith(f"{base}/v2/lbaas/loadbalancers?")
        assert client.get(page["loadbalancers_links"][0]["href"]).status_code == 200
        assert client.get(f"{base}/v2").json() == "v2"
        assert client.get(f"{base}/healthcheck").status_code == 404
        assert client.get(f"{base}er/v2").status_code == 404
