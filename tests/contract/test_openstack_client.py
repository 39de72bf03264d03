"""Every `openstack loadbalancer` command against the API over HTTP, found by the `clouds.yaml` that we write."""

import asyncio
import datetime as dt
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import psycopg
import pytest

from statera.api.clouds import render_clouds_yaml
from statera.base.ids import new_id
from statera.model.heartbeat import ListenerObserved, ListenerState
from statera.model.statistics import Counted
from statera.store.engine import Store
from statera.store.statistics import save_counted
from tests.contract.cloud import COMMANDS, Cloud
from tests.contract.conftest import NETWORKS, make_settings
from tests.contract.serving import run_noop, serve

OPENSTACK = Path(sys.executable).parent / "openstack"
USER, PASSWORD = "alice", "a b:c"
MISSING = "11111111-2222-3333-4444-555555555555"
WITHIN_S = 30.0


@pytest.fixture(scope="module")
def url(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_noop(module_database_url, tmp_path_factory.mktemp("noop"), networks=NETWORKS) as url:
        yield url


@pytest.fixture(scope="module")
def cloud(url: str, tmp_path_factory: pytest.TempPathFactory) -> Cloud:
    return Cloud(tmp_path_factory.mktemp("cloud"), render_clouds_yaml(url))


def wait_for(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)
    return found


# Every command once at least, in the order of a life


def test_every_command_succeeds(cloud: Cloud, module_database_url: str) -> None:
    use_providers(cloud)
    use_flavors(cloud)
    use_zones(cloud)
    use_load_balancers(cloud)
    use_pools(cloud)
    use_listeners(cloud)
    use_members(cloud)
    use_health_monitors(cloud)
    use_l7(cloud)
    use_amphorae(cloud, module_database_url)
    use_quotas(cloud)
    remove_everything(cloud)
    assert COMMANDS - cloud.succeeded == set()


def use_providers(cloud: Cloud) -> None:
    assert [row["name"] for row in cloud.ask("provider list")] == ["amphora", "octavia"]
    capabilities = cloud.ask("provider capability list amphora")
    assert {row["name"] for row in capabilities if row["type"] == "flavor"} >= {"loadbalancer_topology"}
    assert {row["name"] for row in capabilities if row["type"] == "availability_zone"} >= {"compute_zone"}
    assert {row["type"] for row in cloud.ask("provider capability list octavia --flavor")} == {"flavor"}


def use_flavors(cloud: Cloud) -> None:
    data = '{"loadbalancer_topology": "SINGLE"}'
    made = cloud.ask(f"flavorprofile create --name plain --provider amphora --flavor-data '{data}'")
    assert (made["name"], made["provider_name"], json.loads(made["flavor_data"])) == (
        "plain", "amphora", json.loads(data),
    )  # fmt: skip
    cloud.do("flavorprofile set plain --name single")
    assert cloud.ask("flavorprofile show single")["id"] == made["id"]
    assert [row["name"] for row in cloud.ask("flavorprofile list --provider amphora")] == ["single"]
    flavor = cloud.ask("flavor create --name small --flavorprofile single --description cheap --enable")
    assert (flavor["flavor_profile_id"], flavor["enabled"], flavor["description"]) == (made["id"], True, "cheap")
    cloud.do("flavor set small --description dear --disable")
    assert cloud.ask("flavor show small")["description"] == "dear"
    assert [row["name"] for row in cloud.ask("flavor list --disable")] == ["small"]
    cloud.do("flavor unset small --description")
    cloud.do("flavor set small --enable")
    shown = cloud.ask("flavor show small")
    assert (shown["description"], shown["enabled"]) == ("", True)


def use_zones(cloud: Cloud) -> None:
    data = '{"compute_zone": "nova"}'
    made = cloud.ask(f"availabilityzoneprofile create --name here --provider amphora --availability-zone-data '{data}'")
    assert json.loads(made["availability_zone_data"]) == json.loads(data)
    cloud.do("availabilityzoneprofile set here --name there")
    assert cloud.ask("availabilityzoneprofile show there")["id"] == made["id"]
    assert [row["name"] for row in cloud.ask("availabilityzoneprofile list")] == ["there"]
    zone = cloud.ask("availabilityzone create --name east --availabilityzoneprofile there --description first")
    assert (zone["name"], zone["availability_zone_profile_id"], zone["enabled"]) == ("east", made["id"], True)
    cloud.do("availabilityzone set east --description second")
    assert cloud.ask("availabilityzone show east")["description"] == "second"
    assert [row["name"] for row in cloud.ask("availabilityzone list --enable")] == ["east"]
    cloud.do("availabilityzone unset east --description")
    assert cloud.ask("availabilityzone show east")["description"] == ""


def use_load_balancers(cloud: Cloud) -> None:
    made = cloud.ask(
        "create --name web --description first --vip-subnet-id front4 --flavor small --availability-zone east "
        "--additional-vip subnet-id=front6 --tag blue --tag new"
    )
    assert (made["name"], made["provisioning_status"], made["provider"]) == ("web", "PENDING_CREATE", "amphora")
    assert (made["availability_zone"], made["vip_vnic_type"]) == ("east", "normal")
    assert made["tags"] == ["blue", "new"]
    assert len(made["additional_vips"]) == 1
    cloud.do("create --name other --vip-network-id front --vip-address 10.9.0.77 --provider octavia --disable")
    for words, names in (
        ("--enable", ["web"]),
        ("--disable", ["other"]),
        ("--name web", ["web"]),
        ("--tags blue,new", ["web"]),
        ("--not-tags blue", ["other"]),
        ("--provider octavia", ["other"]),
        ("--flavor small", ["web"]),
        ("--vip-subnet-id front4 --project 00000000000000000000000000000000", ["web", "other"]),
        ("--operating-status ONLINE", []),
    ):
        assert [row["name"] for row in cloud.ask(f"list {words}")] == names, words
    cloud.do("set web --description more --tag old --name site")
    shown = cloud.ask("show site")
    assert (shown["description"], set(shown["tags"])) == ("more", {"blue", "new", "old"})
    cloud.do("unset site --description --all-tag")
    cloud.do(f"set {made['id']} --name web")
    shown = cloud.ask(f"show {made['id']}")
    assert (shown["name"], shown["description"], shown["tags"]) == ("web", "", [])
    assert set(cloud.ask("stats show web").values()) == {0}
    assert json.loads(cloud.do("status show web"))["loadbalancer"]["name"] == "web"


def use_pools(cloud: Cloud) -> None:
    made = cloud.ask(
        "pool create --name servers --protocol HTTP --lb-algorithm ROUND_ROBIN --loadbalancer web --tag a "
        "--session-persistence type=APP_COOKIE,cookie_name=sid"
    )
    assert made["session_persistence"] == {
        "type": "APP_COOKIE", "cookie_name": "sid", "persistence_timeout": None, "persistence_granularity": None,
    }  # fmt: skip
    cloud.do("pool set servers --lb-algorithm LEAST_CONNECTIONS --description all --tag b")
    shown = cloud.ask("pool show servers")
    assert (shown["lb_algorithm"], set(shown["tags"])) == ("LEAST_CONNECTIONS", {"a", "b"})
    assert shown["healthmonitor_id"] == ""
    cloud.do("pool unset servers --session-persistence --description --tag a")
    shown = cloud.ask("pool show servers")
    assert (shown["session_persistence"], shown["description"], shown["tags"]) == (None, "", ["b"])
    cloud.do("pool create --name spare --protocol HTTP --lb-algorithm SOURCE_IP --loadbalancer web")
    assert [row["name"] for row in cloud.ask("pool list --loadbalancer web")] == ["servers", "spare"]


def use_listeners(cloud: Cloud) -> None:
    made = cloud.ask(
        "listener create --name http --protocol HTTP --protocol-port 80 --default-pool servers "
        "--insert-headers X-Forwarded-For=true --allowed-cidr 10.0.0.0/8 --connection-limit 100 "
        "--timeout-client-data 1000 web"
    )
    assert (made["protocol_port"], made["connection_limit"], made["allowed_cidrs"]) == (80, 100, ["10.0.0.0/8"])
    cloud.do("listener set http --connection-limit 7 --description d --timeout-member-data 99")
    assert cloud.ask("listener show http")["connection_limit"] == 7
    cloud.do(
        "listener unset http --connection-limit --description --timeout-client-data --allowed-cidrs --insert-headers "
        "--timeout-member-data"
    )
    shown = cloud.ask("listener show http")
    assert (shown["connection_limit"], shown["timeout_client_data"], shown["timeout_member_data"]) == (
        -1, 50_000, 50_000,
    )  # fmt: skip
    assert (shown["allowed_cidrs"], shown["insert_headers"], shown["description"]) == (None, {}, "")
    assert [row["name"] for row in cloud.ask("listener list --loadbalancer web")] == ["http"]
    stats = cloud.ask("listener stats show http")
    assert stats["bytes_in"] == 0
    cloud.do("listener create --name second --protocol TCP --protocol-port 81 web")
    cloud.do("listener delete second")


def use_members(cloud: Cloud) -> None:
    made = cloud.ask(
        "member create servers --name one --address 10.7.0.1 --protocol-port 80 --subnet-id back4 --weight 5 "
        "--monitor-port 8080 --monitor-address 10.7.0.9 --enable-backup --tag x"
    )
    assert (made["address"], made["weight"], made["backup"], made["vnic_type"]) == ("10.7.0.1", 5, True, "normal")
    cloud.do(f"member set servers {made['id']} --weight 7 --disable")
    shown = cloud.ask("member show servers one")
    assert (shown["weight"], shown["admin_state_up"], shown["monitor_port"]) == (7, False, 8080)
    cloud.do("member unset servers one --weight --backup --monitor-port --monitor-address")
    shown = cloud.ask(f"member show servers {made['id']}")
    assert (shown["weight"], shown["backup"], shown["monitor_port"], shown["monitor_address"]) == (1, False, None, None)
    assert [row["name"] for row in cloud.ask("member list servers")] == ["one"]


def use_health_monitors(cloud: Cloud) -> None:
    made = cloud.ask(
        "healthmonitor create servers --name check --type HTTP --delay 5 --timeout 4 --max-retries 3 "
        "--url-path /health --expected-codes 200-204 --http-method HEAD --http-version 1.1 --domain-name a.example.org"
    )
    assert (made["url_path"], made["expected_codes"], made["http_version"]) == ("/health", "200-204", 1.1)
    cloud.do("healthmonitor set check --delay 9 --max-retries-down 4")
    assert cloud.ask("healthmonitor show check")["delay"] == 9
    cloud.do("healthmonitor unset check --domain-name --http-version --expected-codes --url-path --max-retries-down")
    shown = cloud.ask(f"healthmonitor show {made['id']}")
    assert (shown["domain_name"], shown["http_version"], shown["expected_codes"]) == (None, None, "200")
    assert (shown["url_path"], shown["max_retries_down"]) == ("/", 3)
    assert [row["name"] for row in cloud.ask("healthmonitor list")] == ["check"]
    assert cloud.ask("pool show servers")["healthmonitor_id"] == made["id"]


def use_l7(cloud: Cloud) -> None:
    made = cloud.ask(
        "l7policy create http --name away --action REDIRECT_TO_URL --redirect-url https://example.org/ "
        "--redirect-http-code 301 --description d"
    )
    assert (made["action"], made["redirect_http_code"], made["position"]) == ("REDIRECT_TO_URL", 301, 1)
    cloud.do("l7policy create http --name pooled --action REDIRECT_TO_POOL --redirect-pool spare --position 1")
    assert [(row["name"], row["position"]) for row in cloud.ask("l7policy list --listener http")] == [
        ("away", 2), ("pooled", 1),
    ]  # fmt: skip
    cloud.do("l7policy set away --action REJECT --position 1")
    cloud.do("l7policy unset away --description --redirect-http-code")
    shown = cloud.ask("l7policy show away")
    assert (shown["action"], shown["redirect_url"], shown["position"], shown["description"]) == ("REJECT", None, 1, "")
    rule = cloud.ask("l7rule create away --type HEADER --key X-A --value b --compare-type EQUAL_TO --invert")
    assert (rule["type"], rule["key"], rule["invert"]) == ("HEADER", "X-A", True)
    cloud.do(f"l7rule set away {rule['id']} --value c")
    cloud.do(f"l7rule unset away {rule['id']} --invert")
    shown = cloud.ask(f"l7rule show away {rule['id']}")
    assert (shown["value"], shown["invert"]) == ("c", False)
    assert [row["id"] for row in cloud.ask("l7rule list away")] == [rule["id"]]
    cloud.do(f"l7rule delete away {rule['id']}")
    cloud.do("l7policy delete away")


def use_amphorae(cloud: Cloud, database_url: str) -> None:
    """Fail over what the worker made; make it count and fail as nothing without an outside does."""
    (amphora,) = wait_for(lambda: cloud.ask("amphora list --loadbalancer web --status ALLOCATED"), "An amphora")
    shown = cloud.ask(f"amphora show {amphora['id']}")
    assert (shown["role"], shown["ha_ip"]) == ("STANDALONE", cloud.ask("show web")["vip_address"])
    assert cloud.ask("amphora list --long --role STANDALONE --loadbalancer web")[0]["id"] == amphora["id"]
    listener_id = cloud.ask("listener show http")["id"]
    asyncio.run(count(database_url, amphora["id"], listener_id))
    assert cloud.ask(f"amphora stats show {amphora['id']} --listener http")["bytes_in"] == 30
    assert cloud.ask("stats show web")["bytes_out"] == 400
    cloud.do(f"amphora configure {amphora['id']}")
    cloud.do(f"amphora failover {amphora['id']}")
    (second,) = wait_for(lambda: list_others(cloud, amphora["id"]), "The amphora's successor")
    cloud.do("failover web")
    (third,) = wait_for(lambda: list_others(cloud, amphora["id"], second["id"]), "The load balancer's next amphora")
    with psycopg.connect(database_url, autocommit=True) as link:
        link.execute("UPDATE amphorae SET status = 'ERROR' WHERE id = %s", [third["id"]])
    cloud.do(f"amphora delete {third['id']}")


def list_others(cloud: Cloud, *gone: str) -> list[Any]:
    """Return the load balancer's amphorae when those that were replaced are gone."""
    rows = cloud.ask("amphora list --loadbalancer web")
    return [] if any(row["id"] in gone or row["status"] != "ALLOCATED" for row in rows) else rows


async def count(database_url: str, amphora_id: str, listener_id: str) -> None:
    store = Store(database_url)
    listener = ListenerObserved(listener_id, ListenerState.OPEN, 1, 2, 30, 400, 5)
    told = Counted(amphora_id=amphora_id, process=1, told_at=dt.datetime.now(dt.UTC), listeners=(listener,))
    try:
        await save_counted(store, [told])
    finally:
        await store.close()


def use_quotas(cloud: Cloud) -> None:
    project_id = new_id().replace("-", "")
    assert set(cloud.ask("quota defaults show").values()) == {-1}
    done = cloud.ask(f"quota set {project_id} --loadbalancer 5 --healthmonitor 6 --l7rule 0")
    assert (done["load_balancer"], done["health_monitor"], done["l7rule"], done["pool"]) == (5, 6, 0, -1)
    assert cloud.ask(f"quota show {project_id}")["load_balancer"] == 5
    cloud.do(f"quota unset {project_id} --l7rule --l7policy")
    assert cloud.ask(f"quota show {project_id}")["l7rule"] == -1
    assert [row["load_balancer"] for row in cloud.ask(f"quota list --project {project_id}")] == [5]
    cloud.do(f"quota reset {project_id}")
    assert cloud.ask(f"quota show {project_id}")["load_balancer"] == -1


def remove_everything(cloud: Cloud) -> None:
    cloud.do("member delete servers one")
    cloud.do("healthmonitor delete check")
    cloud.do("l7policy delete pooled")
    cloud.do("listener delete http")
    cloud.do("pool delete servers")
    assert "it has children" in cloud.refuse("delete web")
    cloud.do("delete --cascade web")
    cloud.do("delete other")
    wait_for(lambda: cloud.ask("list") == [], "The end of the load balancers")
    cloud.do("flavor delete small")
    cloud.do("flavorprofile delete single")
    cloud.do("availabilityzone delete east")
    cloud.do("availabilityzoneprofile delete there")


# Every command refused: by the service where the command asks it at all, else for want of what it names

LONG = "x" * 256
LOST = "Unable to locate nowhere"
NO_NAMES = "One or more arguments are either duplicate or invalid (HTTP 400)"
"""Amphorae and rules have none, which the command does not know."""
HUGE = 2**40
STRANGER = "(HTTP 401)"
"""Commands that take nothing to be wrong about: they are sent with a wrong password."""
REFUSALS: dict[str, tuple[str, str]] = {
    "create": ("--vip-subnet-id front4 --provider nope", "Provider 'nope' is not enabled. (HTTP 400)"),
    "delete": ("full", "it has children (HTTP 400)"),
    "failover": ("nowhere", LOST),
    "list": ("--vip-subnet-id nowhere", LOST),
    "set": (f"full --name {LONG}", "Value should have a maximum character requirement of 255 (HTTP 400)"),
    "show": (MISSING, f"Unable to locate {MISSING}"),
    "unset": ("nowhere --name", LOST),
    "stats show": ("nowhere", LOST),
    "status show": ("nowhere", LOST),
    "amphora configure": ("nowhere", NO_NAMES),
    "amphora delete": (MISSING, f"Amphora {MISSING} not found. (HTTP 404)"),
    "amphora failover": (MISSING, NO_NAMES),
    "amphora list": ("--loadbalancer nowhere", LOST),
    "amphora show": (MISSING, f"{MISSING} not found (HTTP 404)"),
    "amphora stats show": (MISSING, f"Amphora {MISSING} not found. (HTTP 404)"),
    "availabilityzone create": (
        "--name east --availabilityzoneprofile zoned", "A availability zone of east already exists. (HTTP 409)",
    ),
    "availabilityzone delete": ("nowhere", LOST),
    "availabilityzone list": ("--availabilityzoneprofile nowhere", LOST),
    "availabilityzone set": (f"east --description {LONG}", "maximum character requirement of 255 (HTTP 400)"),
    "availabilityzone show": ("nowhere", LOST),
    "availabilityzone unset": ("nowhere --description", LOST),
    "availabilityzoneprofile create": (
        "--name x --provider amphora --availability-zone-data nope",
        "nope is not a valid option for availability_zone_data (HTTP 400)",
    ),
    "availabilityzoneprofile delete": ("zoned", "is in use and cannot be modified. (HTTP 409)"),
    "availabilityzoneprofile list": ("", STRANGER),
    "availabilityzoneprofile set": ("zoned --provider nope", "(HTTP 4"),
    "availabilityzoneprofile show": ("nowhere", LOST),
    "flavor create": ("--name gold --flavorprofile golden", "A flavor of gold already exists. (HTTP 409)"),
    "flavor delete": ("nowhere", LOST),
    "flavor list": ("--flavorprofile nowhere", LOST),
    "flavor set": (f"gold --name {LONG}", "maximum character requirement of 255 (HTTP 400)"),
    "flavor show": ("nowhere", LOST),
    "flavor unset": ("nowhere --description", LOST),
    "flavorprofile create": (
        "--name x --provider amphora --flavor-data nope", "nope is not a valid option for flavor_data (HTTP 400)",
    ),
    "flavorprofile delete": ("golden", "is in use and cannot be modified. (HTTP 409)"),
    "flavorprofile list": ("", STRANGER),
    "flavorprofile set": ("golden --provider nope", "(HTTP 4"),
    "flavorprofile show": ("nowhere", LOST),
    "healthmonitor create": (
        "filled --type TCP --delay 5 --timeout 4 --max-retries 3", "This pool already has a health monitor (HTTP 409)",
    ),
    "healthmonitor delete": ("nowhere", LOST),
    "healthmonitor list": ("", STRANGER),
    "healthmonitor set": ("check --url-path nope", "url_path. Value: 'nope'. Value must be a valid URL Path string"),
    "healthmonitor show": (MISSING, f"Unable to locate {MISSING}"),
    "healthmonitor unset": ("nowhere --url-path", LOST),
    "l7policy create": (
        "taken --action REDIRECT_TO_URL --redirect-url nope", "redirect_url. Value: 'nope'. Value must be a valid URL",
    ),
    "l7policy delete": ("nowhere", LOST),
    "l7policy list": ("--listener nowhere", LOST),
    "l7policy set": ("away --action REDIRECT_PREFIX --redirect-prefix nope", "Value must be a valid URL"),
    "l7policy show": ("nowhere", LOST),
    "l7policy unset": ("nowhere --name", LOST),
    "l7rule create": (
        "away --type PATH --compare-type REGEX --value (", "Unable to parse regular expression",
    ),
    "l7rule delete": (f"away {MISSING}", NO_NAMES),
    "l7rule list": ("nowhere", LOST),
    "l7rule set": ("away {rule} --compare-type REGEX --value (", "Unable to parse regular expression"),
    "l7rule show": (f"away {MISSING}", NO_NAMES),
    "l7rule unset": (f"away {MISSING} --invert", f"L7 Rule {MISSING} not found. (HTTP 404)"),
    "listener create": (
        "full --protocol TCP --protocol-port 80",
        "Another Listener on this Load Balancer is already using protocol HTTP and protocol_port 80 (HTTP 409)",
    ),
    "listener delete": ("nowhere", LOST),
    "listener list": ("--loadbalancer nowhere", LOST),
    "listener set": (f"taken --timeout-client-data {HUGE}", f"timeout_client_data. Value: '{HUGE}'. Value"),
    "listener show": (MISSING, f"Unable to locate {MISSING}"),
    "listener stats show": ("nowhere", LOST),
    "listener unset": ("nowhere --name", LOST),
    "member create": (
        "filled --address 10.7.0.1 --protocol-port 80",
        "Another member on this pool is already using ip 10.7.0.1 on protocol_port 80 (HTTP 409)",
    ),
    "member delete": ("filled nowhere", LOST),
    "member list": ("nowhere", LOST),
    "member set": ("filled one --monitor-address nope", "monitor_address. Value: 'nope'. Value should be IPv4 or IPv6"),
    "member show": (f"filled {MISSING}", f"Unable to locate {MISSING}"),
    "member unset": ("filled nowhere --weight", LOST),
    "pool create": (
        "--protocol HTTP --lb-algorithm ROUND_ROBIN --listener taken",
        "This listener already has a default pool (HTTP 409)",
    ),
    "pool delete": ("aside", "is in use by L7 policy"),
    "pool list": ("--loadbalancer nowhere", LOST),
    "pool set": ("filled --session-persistence type=APP_COOKIE", "cookie_name"),
    "pool show": (MISSING, f"Unable to locate {MISSING}"),
    "pool unset": ("nowhere --name", LOST),
    "provider capability list": ("nope", "Provider 'nope' is not enabled. (HTTP 400)"),
    "provider list": ("", STRANGER),
    "quota defaults show": ("", STRANGER),
    "quota list": (f"--project {LONG}", "No project with a name or ID"),
    "quota reset": ("never", "Quotas never not found. (HTTP 404)"),
    "quota set": (f"some --pool {HUGE}", "Value should be lower or equal to 2000000000 (HTTP 400)"),
    "quota show": (LONG, "No project with a name or ID"),
    "quota unset": (f"{LONG} --pool", "No project with a name or ID"),
}  # fmt: skip


@pytest.fixture(scope="module")
def ground(url: str) -> dict[str, str]:
    """What the refused commands are about."""
    monitor = {"name": "check", "type": "HTTP", "delay": 5, "timeout": 4, "max_retries": 3}
    members = [{"name": "one", "address": "10.7.0.1", "protocol_port": 80}]
    pools = [
        {"name": name, "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members, "healthmonitor": monitor}
        for name in ("filled", "aside")
    ]
    del pools[1]["healthmonitor"]
    rule = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/a"}
    away = {"name": "away", "action": "REDIRECT_TO_POOL", "redirect_pool": {"name": "aside"}, "rules": [rule]}
    listener = {"name": "taken", "protocol": "HTTP", "protocol_port": 80, "default_pool": {"name": "filled"}}
    with httpx.Client(base_url=f"{url}/v2/lbaas") as api:

        def create(plural: str, root: str, **values: Any) -> Any:
            answer = api.post(f"/{plural}", json={root: values})
            assert answer.status_code == 201, answer.text
            return answer.json()[root]

        (subnet,) = httpx.get(f"{url}/network/v2.0/subnets?name=back4").json()["subnets"]
        made = create(
            "loadbalancers", "loadbalancer", name="full", vip_subnet_id=subnet["id"], pools=pools,
            listeners=[listener | {"l7policies": [away]}],
        )  # fmt: skip
        data = json.dumps({"loadbalancer_topology": "SINGLE"})
        profile = create("flavorprofiles", "flavorprofile", name="golden", provider_name="amphora", flavor_data=data)
        create("flavors", "flavor", name="gold", flavor_profile_id=profile["id"])
        zoned = {
            "name": "zoned",
            "provider_name": "amphora",
            "availability_zone_data": json.dumps({"compute_zone": "a"}),
        }
        profile = create("availabilityzoneprofiles", "availability_zone_profile", **zoned)
        create("availabilityzones", "availability_zone", name="east", availability_zone_profile_id=profile["id"])
    return {"rule": made["listeners"][0]["l7policies"][0]["rules"][0]["id"]}


def test_every_command_has_a_refusal() -> None:
    assert {f"loadbalancer {name}" if name else name for name in REFUSALS} == COMMANDS


@pytest.mark.parametrize("name", [name for name, (_words, sentence) in REFUSALS.items() if sentence != STRANGER])
def test_refused(cloud: Cloud, ground: dict[str, str], name: str) -> None:
    words, sentence = REFUSALS[name]
    told = cloud.refuse(f"{name} {words.format(**ground)}")
    assert sentence in told


# With a password


def test_with_a_password(module_database_url: str, tmp_path: Path) -> None:
    htpasswd = tmp_path / "htpasswd"
    stored = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    htpasswd.write_text(f"{USER}:{stored}\n", encoding="utf-8")
    identity = {"mode": "basic", "htpasswd_file": str(htpasswd), "users": {USER: {"project_id": "p" * 32}}}
    with serve(module_database_url, make_settings(identity=identity)) as url:
        text = render_clouds_yaml(url, username=USER, password=PASSWORD)
        cloud = Cloud(tmp_path, text)
        made = cloud.ask("create --name mine --vip-subnet-id front4")
        assert made["project_id"] == "p" * 32
        assert [row["name"] for row in cloud.ask("list")] == ["mine"]
        assert [row["name"] for row in cloud.ask(f"list --project {'p' * 32}")] == ["mine"]
        assert "Policy does not allow this request to be performed. (HTTP 403)" in cloud.refuse("amphora list")
        stranger = Cloud(tmp_path, text.replace("alice", "mallory"))
        for name, (_words, sentence) in REFUSALS.items():
            assert sentence != STRANGER or STRANGER in stranger.refuse(name), name


def test_in_a_process_of_its_own(url: str, cloud: Cloud) -> None:
    """Nothing of this test run is around the command here."""
    words = [str(OPENSTACK), "loadbalancer", "provider", "list", "-f", "value", "-c", "name"]
    done = subprocess.run(words, env=cloud.environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["amphora", "octavia"]), done.stderr
