"""Whole trees planned, applied and rolled back: a real database, the real control room, hosts in memory."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from statera.api.application import create_application
from statera.base.clock import SystemClock
from statera.control.forecast import Forecaster
from statera.control.reconcile import Reconciler
from statera.control.surroundings import Surroundings
from statera.drivers.fakes import FakeCompute
from statera.drivers.network_local import LocalNetwork, networks_from_settings
from statera.store.addresses import StoredAddressBook
from statera.store.claims import claim_load_balancer
from statera.store.engine import Store
from tests.contract.client import Api
from tests.contract.conftest import make_settings

MISSING = "00000000-0000-0000-0000-000000000000"
MONITOR = {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1}


class Planned(Api):
    """An API that can ask hosts, and a worker to carry out what it accepts."""

    compute: FakeCompute
    forecaster: Forecaster
    reconciler: Reconciler

    async def work(self) -> None:
        """Carry out all that is due."""
        while claim := await claim_load_balancer(self.store, owner="test", lease_s=30):
            await self.reconciler.run_pass(claim)

    async def make(self) -> dict[str, Any]:
        made = await self.create_balancer(**tree())
        await self.work()
        return made

    async def post(self, balancer: dict[str, Any], what: str, body: Any) -> Any:
        answer = await self.ask("POST", f"/loadbalancers/{balancer['id']}/{what}", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def plan(self, balancer: dict[str, Any], wanted: Any) -> Any:
        return (await self.post(balancer, "plan", {"loadbalancer": wanted}))["plan"]

    async def apply(self, balancer: dict[str, Any], wanted: Any) -> Any:
        return (await self.post(balancer, "apply", {"loadbalancer": wanted}))["loadbalancer"]

    def texts(self, balancer: dict[str, Any]) -> list[str]:
        """Return the live configuration files of a load balancer."""
        found = self.compute.list_sandboxes().values()
        return [one.text for one in found if one.spec.load_balancer_id == balancer["id"]]


@pytest_asyncio.fixture
async def api(module_database_url: str) -> AsyncIterator[Planned]:
    store, settings, clock = (
        Store(module_database_url),
        make_settings(reconcile={"generations_per_load_balancer": 3}),
        SystemClock(),
    )
    network = LocalNetwork(networks_from_settings(settings.networks), StoredAddressBook(store))
    compute = FakeCompute("one")
    around = Surroundings(store=store, network=network, compute=compute, settings=settings, clock=clock)
    forecaster = Forecaster(around)
    application = create_application(
        store=store, network=network, settings=settings, clock=clock, forecaster=forecaster
    )
    transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)  # type: ignore[arg-type]
    opened = Planned(httpx.AsyncClient(transport=transport, base_url="http://api.test"), store, settings)
    opened.compute, opened.forecaster = compute, forecaster
    opened.reconciler = Reconciler(around)
    yield opened
    await opened.close()
    await store.close()


def tree(*last: int, **more: Any) -> dict[str, Any]:
    """Return a whole tree with a member for each last number of an address."""
    members = [{"address": f"10.7.0.{number}", "protocol_port": 80} for number in last or (1, 2)]
    pool = {
        "name": "web", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN", "members": members, "healthmonitor": MONITOR,
    }  # fmt: skip
    listener = {"name": "front", "protocol": "HTTP", "protocol_port": 80, "default_pool": {"name": "web"}}
    return {"listeners": [listener | more.pop("listener", {})], "pools": [pool | more.pop("pool", {})], **more}


async def test_the_same_tree_changes_nothing(api: Planned) -> None:
    balancer = await api.make()
    told = await api.plan(balancer, tree())
    assert (told["means"], told["changes"], told["steps"]) == ("nothing", [], [])
    (amphora,) = told["amphorae"]
    assert (amphora["difference"], amphora["verdict"]["accepted"]) == ("", True)
    after = await api.apply(balancer, tree())
    assert (after["generation"], after["provisioning_status"]) == (1, "ACTIVE")


async def test_members_by_their_places_at_run_time(api: Planned) -> None:
    balancer = await api.make()
    before, wanted = api.texts(balancer), tree(2, 3)
    told = await api.plan(balancer, wanted)
    assert told["means"] == "runtime"
    assert [(one["kind"], one["action"], one["means"]) for one in told["changes"]] == [
        ("member", "delete", "runtime"),
        ("member", "create", "runtime"),
    ]
    (amphora,) = told["amphorae"]
    lines = [line for line in amphora["difference"].splitlines() if line[:2] in ("- ", "+ ")]
    assert [line[:1] + line.split()[3] for line in lines] == ["-10.7.0.1:80", "+10.7.0.3:80"]
    # Nothing has changed.
    assert api.texts(balancer) == before
    shown = (await api.get(f"/loadbalancers/{balancer['id']}"))["loadbalancer"]
    assert (shown["generation"], shown["provisioning_status"]) == (1, "ACTIVE")
    after = await api.apply(balancer, wanted)
    assert (after["generation"], after["provisioning_status"]) == (2, "PENDING_UPDATE")
    await api.work()
    (text,) = api.texts(balancer)
    assert "10.7.0.3:80" in text
    assert "10.7.0.1:80" not in text
    assert (await api.plan(balancer, wanted))["means"] == "nothing"


async def test_every_kind_of_change_and_its_means(api: Planned) -> None:
    balancer = await api.make()
    wanted = tree(
        1,
        2,
        name="named",
        pool={"healthmonitor": MONITOR | {"admin_state_up": False}},
        listener={"timeout_client_data": 9000},
    )
    wanted["listeners"].append({"protocol": "TCP", "protocol_port": 81})
    wanted["pools"][0]["members"][0] |= {"weight": 7, "name": "one"}
    told = await api.plan(balancer, wanted)
    found = {(one["kind"], one["action"]): one for one in told["changes"]}
    assert {key: one["means"] for key, one in found.items()} == {
        ("loadbalancer", "update"): "nothing",
        ("listener", "update"): "reload",
        ("listener", "create"): "reload",
        ("member", "update"): "runtime",
        ("healthmonitor", "update"): "runtime",
    }
    assert told["means"] == "reload"
    assert found["member", "update"]["attributes"] == [
        {"name": "name", "before": "", "after": "one"},
        {"name": "weight", "before": 1, "after": 7},
    ]
    assert found["listener", "update"]["why"].startswith("Settings of a listener")
    await api.apply(balancer, wanted)
    await api.work()
    assert (await api.plan(balancer, wanted))["changes"] == []


async def test_new_interfaces_and_new_amphorae(api: Planned) -> None:
    balancer = await api.make()
    far = {"address": "10.7.9.9", "protocol_port": 80, "subnet_id": api.subnet_id("back4")}
    told = await api.plan(balancer, tree(pool={"members": [far]}))
    assert told["means"] == "new-interfaces"
    fresh = await api.create_balancer()
    told = await api.plan(fresh, tree())
    assert told["means"] == "new-amphora"
    assert "Add amphora" in told["steps"][0]
    (amphora,) = told["amphorae"]
    assert amphora["verdict"]["accepted"]
    assert "+frontend" in amphora["difference"]
    await api.work()


async def test_haproxys_verdict_and_a_silent_host(api: Planned) -> None:
    balancer = await api.make()
    api.compute.rejected_words = "9999ms"
    (amphora,) = (await api.plan(balancer, tree(listener={"timeout_client_data": 9999})))["amphorae"]
    assert amphora["verdict"] == {"accepted": False, "words": "unknown keyword '9999ms'."}
    assert amphora["status_reason"] is None
    api.compute.hosts["one"].reachable = False
    told = await api.plan(balancer, tree(1))
    (amphora,) = told["amphorae"]
    assert amphora["verdict"] is None
    assert amphora["status_reason"]["slug"] == "agent-unreachable"
    assert "10.7.0.2:80" in amphora["difference"]
    assert amphora["means"] == "runtime"


async def test_objects_by_id_and_what_refers_to_them(api: Planned) -> None:
    balancer = await api.make()
    (listener,), (pool,) = balancer["listeners"], balancer["pools"]
    front = {"id": listener["id"], "name": "renamed", "protocol": "HTTP", "protocol_port": 80}
    member = {"id": pool["members"][0]["id"], "address": "10.7.0.77", "protocol_port": 80}
    back = {"id": pool["id"], "protocol": "HTTP", "lb_algorithm": "SOURCE_IP", "healthmonitor": MONITOR}
    wanted = {"listeners": [front | {"default_pool_id": pool["id"]}], "pools": [back | {"members": [member]}]}
    await api.apply(balancer, wanted)
    await api.work()
    (text,) = api.texts(balancer)
    assert f"server {pool['members'][0]['id']} 10.7.0.77:80" in text
    shown = (await api.get(f"/pools/{pool['id']}"))["pool"]
    assert (shown["lb_algorithm"], shown["name"], len(shown["members"])) == ("SOURCE_IP", "", 1)


async def test_policies_are_matched_by_name(api: Planned) -> None:
    balancer = await api.make()
    rule = {"type": "PATH", "compare_type": "STARTS_WITH", "value": "/a"}
    policy = {"name": "a", "action": "REDIRECT_TO_POOL", "redirect_pool": {"name": "web"}, "rules": [rule]}
    await api.apply(balancer, tree(listener={"l7policies": [policy]}))
    await api.work()
    (before,) = (await api.get("/l7policies?name=a"))["l7policies"]
    more = {"name": "b", "action": "REJECT", "rules": [rule | {"value": "/b"}]}
    told = await api.plan(balancer, tree(listener={"l7policies": [more, policy]}))
    assert [(one["kind"], one["action"], one["name"]) for one in told["changes"]] == [
        ("l7policy", "update", "a"),
        ("l7policy", "create", "b"),
        ("l7rule", "create", ""),
    ]
    await api.apply(balancer, tree(listener={"l7policies": [more, policy]}))
    after = (await api.get("/l7policies?name=a"))["l7policies"][0]
    assert (after["id"], after["position"]) == (before["id"], 2)
    assert after["rules"] == before["rules"]
    await api.work()


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"vip_address": "10.9.0.99"}, 400, "Validation failure: vip_address of a load balancer cannot be changed."),
        (
            {"listeners": [{"id": MISSING, "protocol": "HTTP", "protocol_port": 1}]},
            404,
            f"Listener {MISSING} not found.",
        ),
        (
            {"listeners": [{"id": None, "protocol": "HTTP", "protocol_port": 1}]},
            400,
            "None is not a valid option for id",
        ),
        (
            {"pools": [{"name": "web", "protocol": "HTTP"}]},
            400,
            "Validation failure: Pool definition for 'web' missing",
        ),
        (
            {"listeners": [{"protocol": "HTTP", "protocol_port": 1}, {"protocol": "TCP", "protocol_port": 1}]},
            409,
            "Another Listener on this Load Balancer",
        ),
        ({"bogus": 1}, 400, "Unknown attribute for argument load_balancer.loadbalancer: bogus"),
    ],
)
async def test_refusals(api: Planned, change: dict[str, Any], status: int, words: str) -> None:
    balancer = await api.make()
    for what in ("plan", "apply"):
        path = f"/loadbalancers/{balancer['id']}/{what}"
        assert (await api.refuse("POST", path, {"loadbalancer": change}, status=status)).startswith(words)
        assert "not found" in await api.refuse(
            "POST", f"/loadbalancers/{MISSING}/{what}", {"loadbalancer": {}}, status=404
        )
    assert (await api.get(f"/loadbalancers/{balancer['id']}"))["loadbalancer"]["generation"] == 1


async def test_generations_are_kept_shown_and_brought_back(api: Planned) -> None:
    balancer = await api.make()
    first = api.texts(balancer)
    path = f"/loadbalancers/{balancer['id']}/generations"
    assert [one["generation"] for one in (await api.get(path))["generations"]] == [1]
    shown = (await api.get(f"{path}/1"))["generation"]["loadbalancer"]
    # What is shown is a body that changes nothing.
    assert (await api.plan(balancer, shown))["changes"] == []
    await api.apply(balancer, {"listeners": [{"protocol": "TCP", "protocol_port": 5000}]})
    await api.work()
    assert api.texts(balancer) != first
    after = await api.post(balancer, "rollback", {"generation": 1})
    assert after["loadbalancer"]["generation"] == 3
    await api.work()
    assert api.texts(balancer) == first
    members = (await api.get(f"/pools/{balancer['pools'][0]['id']}/members"))["members"]
    assert [one["id"] for one in members] == [one["id"] for one in balancer["pools"][0]["members"]]
    # Before anything of the edit was done, too.
    await api.apply(balancer, {})
    await api.post(balancer, "rollback", {"generation": 3})
    await api.work()
    assert api.texts(balancer) == first
    assert [one["generation"] for one in (await api.get(path))["generations"]] == [5, 3, 2]
    sentence = await api.refuse("POST", f"/loadbalancers/{balancer['id']}/rollback", {"generation": 1}, status=404)
    assert sentence == "Generation 1 not found."
    assert await api.refuse("GET", f"{path}/1", status=404) == "Generation 1 not found."
    events = (await api.get(f"/loadbalancers/{balancer['id']}/events"))["events"]
    assert f"Load balancer {balancer['id']} rolled back to generation 3." in [one["what"] for one in events]


async def test_without_a_way_to_the_hosts_there_are_no_plans(open_api: Any) -> None:
    api = open_api()
    balancer = await api.create_balancer()
    sentence = await api.refuse("POST", f"/loadbalancers/{balancer['id']}/plan", {"loadbalancer": {}}, status=501)
    assert "plans" in sentence
