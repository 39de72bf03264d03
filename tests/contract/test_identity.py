"""Who may do what: HTTP basic against a file, and the roles (rules.md section 2)."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from statera.base.settings import BadSettings
from tests.contract.client import Api
from tests.contract.conftest import make_settings

MINE, OTHER = "m" * 32, "o" * 32
USERS = {
    "writer": {"project_id": MINE},
    "reader": {"project_id": MINE, "roles": ["reader"]},
    "stranger": {"project_id": OTHER},
    "admin": {"project_id": OTHER, "roles": ["admin"]},
    "roleless": {"project_id": MINE, "roles": []},
    "service": {"project_id": OTHER, "roles": ["service"]},
}
UNKNOWN_PROJECT = "nobody"
"""In the file, but without project and roles."""


def password_of(user: str) -> str:
    return f"{user}: pässword"


@pytest.fixture
def htpasswd(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    lines = [
        f"{user}:{bcrypt.hashpw(password_of(user).encode(), bcrypt.gensalt(4)).decode()}"
        for user in (*USERS, UNKNOWN_PROJECT)
    ]
    file.write_text("\n".join(["# users", "", *lines, "weak:{SHA}x"]), encoding="utf-8")
    return file


@pytest.fixture
def basic(open_api: Callable[..., Api], htpasswd: Path) -> Api:
    return open_api(identity={"mode": "basic", "htpasswd_file": str(htpasswd), "users": USERS})


def as_user(user: str, password: str | None = None) -> dict[str, str]:
    text = f"{user}:{password_of(user) if password is None else password}"
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


async def ask(api: Api, user: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    answer = await api.ask(method, path, body, headers=as_user(user))
    return answer.status_code, answer.json() if answer.content else None


async def make_balancer(api: Api, user: str = "writer") -> dict[str, Any]:
    status, made = await ask(api, user, "POST", "/loadbalancers", {"loadbalancer": {"vip_subnet_id": api.subnet_id()}})
    assert status == 201
    return dict(made["loadbalancer"])


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic bm9jb2xvbg=="},
        {"Authorization": "Bearer x"},
        {"X-Auth-Token": "x"},
        as_user("writer", "wrong"),
        as_user("writer", ""),
        as_user("writer", "\0"),
        as_user("writer", "x" * 5000),
        as_user("mallory"),
        as_user("weak", "x"),
        as_user("", ""),
    ],
)
async def test_unauthenticated(basic: Api, headers: dict[str, str]) -> None:
    for path in ("/pools", "/nowhere", "//v2", "//network/v2.0/ports"):
        answer = await basic.ask("GET", path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic realm=")
        message = "The request you have made requires authentication."
        assert answer.json() == {"error": {"code": 401, "title": "Unauthorized", "message": message}}


async def test_guessing_is_slowed_down_and_who_is_in_stays_in(basic: Api) -> None:
    assert (await ask(basic, "writer", "GET", "/pools"))[0] == 200
    most = basic.settings.identity.failed_logins_per_minute
    guesses = [await basic.ask("GET", "/pools", headers=as_user("writer", f"guess-{n}")) for n in range(most + 1)]
    assert [answer.status_code for answer in guesses] == [401] * most + [429]
    assert 1 <= int(guesses[-1].headers["retry-after"]) <= 60
    assert guesses[-1].json()["error"]["title"] == "Too Many Requests"
    assert (await ask(basic, "writer", "GET", "/pools"))[0] == 200
    assert (await basic.ask("GET", "/pools", headers=as_user("mallory"))).status_code == 401


@pytest.mark.parametrize("path", ["//", "//network", "//openapi.json", "//docs"])
async def test_open_paths(basic: Api, path: str) -> None:
    assert (await basic.ask("GET", path)).status_code == 200


async def test_the_file_is_read_again(basic: Api, htpasswd: Path) -> None:
    assert (await ask(basic, "writer", "GET", "/pools"))[0] == 200
    fresh = bcrypt.hashpw(b"new", bcrypt.gensalt(4)).decode()
    htpasswd.write_text(f"writer:{fresh}\n", encoding="utf-8")
    assert (await ask(basic, "writer", "GET", "/pools"))[0] == 401
    assert (await basic.ask("GET", "/pools", headers=as_user("writer", "new"))).status_code == 200
    htpasswd.unlink()
    answer = await basic.ask("GET", "/pools", headers=as_user("writer", "new"))
    message = "The file of users cannot be read: No such file or directory."
    assert answer.json() == {"error": {"code": 503, "title": "Service Unavailable", "message": message}}
    assert answer.status_code == 503


@pytest.mark.parametrize("options", [{"mode": "basic"}, {"mode": "basic", "htpasswd_file": "/no/such/file"}])
def test_settings_that_cannot_work(open_api: Callable[..., Api], options: dict[str, str]) -> None:
    make_settings(identity=options)
    with pytest.raises(BadSettings, match=r"identity\.htpasswd_file"):
        open_api(identity=options)


READING = {"writer": 200, "reader": 200, "admin": 200, "stranger": 403, "roleless": 403, "nobody": 403, "service": 403}


@pytest.mark.parametrize("user", READING)
async def test_reading(basic: Api, user: str) -> None:
    made = await make_balancer(basic)
    for path in (f"/loadbalancers/{made['id']}", f"/loadbalancers/{made['id']}/status", "/loadbalancers"):
        wanted = READING[user] if path != "/loadbalancers" or user != "stranger" else 200
        status, answer = await ask(basic, user, "GET", path)
        assert status == wanted
        if status == 403:
            assert answer["faultstring"] == "Policy does not allow this request to be performed."
            assert made["id"] not in str(answer)
    missing = "/loadbalancers/00000000-0000-0000-0000-000000000000"
    assert (await ask(basic, user, "GET", missing))[0] == 404


WRITING = {"writer": True, "admin": True, "reader": False, "stranger": False, "nobody": False, "service": False}


@pytest.mark.parametrize("user", WRITING)
async def test_writing(basic: Api, user: str) -> None:
    made = await make_balancer(basic)
    path = f"/loadbalancers/{made['id']}"
    listener = {"loadbalancer_id": made["id"], "protocol": "HTTP", "protocol_port": 80}
    wanted = (200, 201, 204) if WRITING[user] else (403, 403, 403)
    answers = (
        await ask(basic, user, "PUT", path, {"loadbalancer": {"name": "x"}}),
        await ask(basic, user, "POST", "/listeners", {"listener": listener}),
        await ask(basic, user, "DELETE", f"{path}?cascade=1"),
    )
    assert tuple(status for status, _answer in answers) == wanted


async def test_lists_show_the_own_project(basic: Api) -> None:
    mine, other = await make_balancer(basic), await make_balancer(basic, "stranger")

    async def list_ids(user: str, query: str = "") -> tuple[int, set[str]]:
        status, answer = await ask(basic, user, "GET", f"/loadbalancers{query}")
        return status, {one["id"] for one in answer.get("loadbalancers", ())}

    for user, seen, unseen in (("reader", mine, other), ("stranger", other, mine)):
        status, ids = await list_ids(user)
        assert (status, seen["id"] in ids, unseen["id"] in ids) == (200, True, False)
    assert {mine["id"], other["id"]} <= (await list_ids("admin"))[1]
    assert (await list_ids("reader", f"?project_id={OTHER}"))[0] == 403
    status, ids = await list_ids("admin", f"?project_id={MINE}")
    assert (status, mine["id"] in ids, other["id"] in ids) == (200, True, False)
    assert (await list_ids("nobody"))[0] == 403
    marker = await ask(basic, "reader", "GET", f"/loadbalancers?marker={other['id']}")
    assert marker[0] == 400


async def test_creating_for_others(basic: Api) -> None:
    body = {"loadbalancer": {"vip_subnet_id": basic.subnet_id(), "project_id": MINE}}
    assert (await ask(basic, "stranger", "POST", "/loadbalancers", body))[0] == 403
    status, made = await ask(basic, "admin", "POST", "/loadbalancers", body)
    assert (status, made["loadbalancer"]["project_id"]) == (201, MINE)
    del body["loadbalancer"]["project_id"]
    status, answer = await ask(basic, "nobody", "POST", "/loadbalancers", body)
    assert (status, answer["faultstring"][:37]) == (400, "Validation failure: Missing project I")


async def test_a_service_lists_members_of_any_pool(basic: Api) -> None:
    made = await make_balancer(basic)
    pool = {"loadbalancer_id": made["id"], "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN"}
    _status, answer = await ask(basic, "writer", "POST", "/pools", {"pool": pool})
    path = f"/pools/{answer['pool']['id']}"
    assert (await ask(basic, "service", "GET", f"{path}/members"))[0] == 200
    assert (await ask(basic, "service", "GET", path))[0] == 403


async def test_ports_of_others_are_not_shown(basic: Api) -> None:
    made = await make_balancer(basic)
    for user, seen in (("writer", 1), ("stranger", 0), ("admin", 1), ("nobody", 0)):
        _status, answer = await ask(basic, user, "GET", f"//network/v2.0/ports?id={made['vip_port_id']}")
        assert len(answer["ports"]) == seen, user


async def test_the_user_is_in_the_history(basic: Api) -> None:
    made = await make_balancer(basic)
    _status, answer = await ask(basic, "writer", "GET", f"/loadbalancers/{made['id']}/events")
    assert answer["events"][0]["actor"] == "writer"


async def test_without_identity_a_header_chooses_the_project(api: Api) -> None:
    body = {"loadbalancer": {"vip_subnet_id": api.subnet_id()}}
    answer = await api.ask("POST", "/loadbalancers", body, headers={"X-Project-Id": MINE})
    assert answer.json()["loadbalancer"]["project_id"] == MINE
