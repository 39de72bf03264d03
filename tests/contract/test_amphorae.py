"""Amphorae, traffic totals and failover, against the contract's tables."""

import datetime as dt
from typing import Any

import pytest

from statera.base.ids import new_id
from statera.model.amphora import Amphora
from statera.model.enums import AmphoraStatus
from statera.model.heartbeat import ListenerObserved, ListenerState
from statera.model.network import Port, PortAddress
from statera.model.statistics import Counted
from statera.store.amphorae import save_amphora
from statera.store.claims import claim_load_balancer, load_snapshot, mark_due, save_settled
from statera.store.statistics import save_counted
from statera.store.trees import load_tree
from tests.contract.client import Api
from tests.contract.tables import list_fields, read_table

MISSING = "00000000-0000-0000-0000-000000000000"
ROOT = "//v2/octavia/amphorae"
OPERATIONS = [(row["method"], row["path"]) for row in read_table("endpoints") if row["path"].startswith("/v2/octavia/")]


async def add_amphora(api: Api, load_balancer_id: str, **values: Any) -> Amphora:
    """Store an amphora as a worker would."""
    await mark_due(api.store, [load_balancer_id])
    claim = await claim_load_balancer(api.store, owner="test", lease_s=5)
    while claim is not None and claim.load_balancer_id != load_balancer_id:
        claim = await claim_load_balancer(api.store, owner="test", lease_s=5)
    assert claim is not None
    snapshot = await load_snapshot(api.store, claim)
    assert snapshot is not None
    vip = snapshot.tree.load_balancer.vip
    place = PortAddress(subnet_id=api.subnet_id(), address=f"10.9.0.{200 + len(snapshot.amphorae)}")
    port = Port(
        id=new_id(), network_id=vip.network_id, name="", device_id="", mac_address="02:00:00:00:00:01",
        addresses=(place,),
    )  # fmt: skip
    plain = {"id": new_id(), "host": "local", "status": AmphoraStatus.ALLOCATED, "ports": (port,)}
    created = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC) + dt.timedelta(seconds=len(snapshot.amphorae))
    amphora = Amphora(**{**plain, "load_balancer_id": load_balancer_id, "created_at": created, **values})
    await save_amphora(api.store, claim, amphora)
    await save_settled(api.store, claim, snapshot.tree.load_balancer.generation, recheck_s=600)
    return amphora


async def make(api: Api, **values: Any) -> tuple[dict[str, Any], Amphora]:
    balancer = await api.create_balancer(listeners=[{"protocol": "HTTP", "protocol_port": 80}])
    return balancer, await add_amphora(api, balancer["id"], **values)


def count(amphora: Amphora, listener_id: str, number: int, at_s: float = 0) -> Counted:
    listener = ListenerObserved(listener_id, ListenerState.OPEN, 1, number, number * 10, number * 100, 2)
    at = dt.datetime(2026, 1, 2, tzinfo=dt.UTC) + dt.timedelta(seconds=at_s)
    return Counted(amphora_id=amphora.id, process=1, told_at=at, listeners=(listener,))


def fields(resource: str) -> set[str]:
    return {row["field"] for row in list_fields(resource) if row["in_response"] == "yes"}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
async def test_operations_exist(api: Api, method: str, path: str) -> None:
    assert method.lower() in (await api.get("//openapi.json"))["paths"][path]
    path = path.replace("{amphora_id}", MISSING)
    for mounted in (path, path.replace("/v2/", "/v2.0/"), f"{path}.json"):
        answer = await api.ask(method, f"/{mounted}")
        if path.endswith("amphorae"):
            assert answer.status_code == 200
        else:
            assert answer.status_code == 404
            assert answer.json()["faultstring"] == f"Amphora {MISSING} not found."


async def test_an_amphora_shows_the_contracts_fields(api: Api) -> None:
    balancer, amphora = await make(api)
    shown = (await api.get(f"{ROOT}/{amphora.id}"))["amphora"]
    assert fields("amphora") <= shown.keys()
    assert shown.keys() - fields("amphora") == {"has_vips", "host", "last_heartbeat_at", "status_reason"}
    for row in list_fields("amphora"):
        assert shown[row["field"]] is not None or row["nullable_in_response"] == "yes", row["field"]
    assert (shown["loadbalancer_id"], shown["ha_ip"]) == (balancer["id"], balancer["vip_address"])
    assert (shown["ha_port_id"], shown["vrrp_ip"]) == (balancer["vip_port_id"], "10.9.0.200")
    assert (shown["role"], shown["status"], shown["created_at"]) == ("STANDALONE", "ALLOCATED", "2026-01-02T03:04:05")
    assert await api.get(f"{ROOT}/{amphora.id}?fields=role") == {"amphora": {"role": "STANDALONE"}}


async def test_lists_filter_sort_and_page(api: Api) -> None:
    balancer, first = await make(api)
    second = await add_amphora(api, balancer["id"], status=AmphoraStatus.ERROR, host="other")
    await make(api)
    mine = f"{ROOT}?loadbalancer_id={balancer['id']}"

    async def ids(query: str) -> list[str]:
        return [one["id"] for one in (await api.get(f"{mine}&{query}"))["amphorae"]]

    assert await ids("") == [first.id, second.id]
    assert await ids("sort=created_at:desc") == [second.id, first.id]
    assert await ids("status=ERROR") == await ids("host=other") == await ids("vrrp_ip=10.9.0.201") == [second.id]
    assert await ids(f"ha_ip={balancer['vip_address']}") == [first.id, second.id]
    assert await ids(f"project_id={balancer['project_id']}") == [first.id, second.id]
    assert await ids("project_id=other") == await ids(f"compute_id={MISSING}") == []
    assert await ids("role=STANDALONE&limit=1") == [first.id]
    page = await api.get(f"{mine}&limit=1")
    assert [link["rel"] for link in page["amphorae_links"]] == ["next"]
    href = page["amphorae_links"][0]["href"]
    assert [one["id"] for one in (await api.get("/" + href.removeprefix("http://api.test")))["amphorae"]] == [second.id]
    for query in ("shape=round", "tags=a", "marker=x"):
        await api.refuse("GET", f"{ROOT}?{query}", status=400)


async def test_statistics_in_the_contracts_shapes(api: Api) -> None:
    balancer, amphora = await make(api)
    listener_id = balancer["listeners"][0]["id"]
    paths = f"/loadbalancers/{balancer['id']}/stats", f"/listeners/{listener_id}/stats"
    for path, resource in zip(paths, ("loadbalancer.stats", "listener.stats"), strict=True):
        stats = (await api.get(path))["stats"]
        assert stats == dict.fromkeys(fields(resource), 0)
    text = await api.refuse("GET", f"{ROOT}/{amphora.id}/stats", status=404)
    assert text == f"Amphora stats for {amphora.id} not found."
    await save_counted(api.store, [count(amphora, listener_id, 7)])
    for path in paths:
        assert (await api.get(path))["stats"] == {
            "active_connections": 1, "bytes_in": 70, "bytes_out": 700, "request_errors": 2, "total_connections": 7,
        }  # fmt: skip
    [shown] = (await api.get(f"{ROOT}/{amphora.id}/stats"))["amphora_stats"]
    assert shown.keys() == fields("amphora_stats[]")
    assert (shown["id"], shown["listener_id"], shown["bytes_in"]) == (amphora.id, listener_id, 70)
    for path in ("/loadbalancers", "/listeners"):
        await api.refuse("GET", f"{path}/{MISSING}/stats", status=404)


async def test_failovers_are_edits(api: Api) -> None:
    balancer, first = await make(api)
    second = await add_amphora(api, balancer["id"])
    for path in (f"{ROOT}/{second.id}/failover", f"/loadbalancers/{balancer['id']}/failover"):
        answer = await api.ask("PUT", path)
        assert (answer.status_code, answer.content) == (202, b"")
        shown = (await api.get(f"/loadbalancers/{balancer['id']}"))["loadbalancer"]
        assert shown["provisioning_status"] == "PENDING_UPDATE"
        tree = await load_tree(api.store, balancer["id"])
        assert tree is not None
        wanted = [second.id] if "octavia" in path else [first.id, second.id]
        assert list(tree.load_balancer.amphorae_to_replace) == wanted
    await api.ask("DELETE", f"/loadbalancers/{balancer['id']}?cascade=true")
    text = await api.refuse("PUT", f"/loadbalancers/{balancer['id']}/failover", status=409)
    assert text == f"Invalid state PENDING_DELETE of loadbalancer resource {balancer['id']}"
    text = await api.refuse("PUT", f"{ROOT}/{first.id}/failover", status=409)
    assert text == f"Load Balancer {balancer['id']} is immutable and cannot be updated."
    await api.refuse("PUT", f"/loadbalancers/{MISSING}/failover", status=404)


async def test_strictly_a_busy_load_balancer_is_not_failed_over(open_api: Any) -> None:
    strict = open_api(api={"strict_immutable": True})
    balancer, amphora = await make(strict)
    assert (await strict.ask("PUT", f"/loadbalancers/{balancer['id']}/failover")).status_code == 202
    text = await strict.refuse("PUT", f"/loadbalancers/{balancer['id']}/failover", status=409)
    assert text == f"Invalid state PENDING_UPDATE of loadbalancer resource {balancer['id']}"
    text = await strict.refuse("PUT", f"{ROOT}/{amphora.id}/failover", status=409)
    assert text == f"Load Balancer {balancer['id']} is immutable and cannot be updated."


async def test_only_a_failed_amphora_can_be_deleted_and_any_configured(api: Api) -> None:
    _, amphora = await make(api)
    text = await api.refuse("DELETE", f"{ROOT}/{amphora.id}", status=409)
    assert text == f"amphora {amphora.id} is immutable and cannot be updated."
    _, failed = await make(api, status=AmphoraStatus.ERROR)
    assert (await api.ask("DELETE", f"{ROOT}/{failed.id}")).status_code == 204
    answer = await api.ask("PUT", f"{ROOT}/{amphora.id}/config")
    assert (answer.status_code, answer.content) == (202, b"")
    claim = await claim_load_balancer(api.store, owner="test", lease_s=5)
    assert claim is not None, "it is looked at again"
    await api.settle()


async def test_tenants_see_no_amphorae(open_api: Any, tmp_path: Any) -> None:
    import bcrypt

    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    (tmp_path / "htpasswd").write_text(f"tenant:{hashed}\n")
    users = {"tenant": {"project_id": "p" * 32, "roles": ["member", "reader"]}}
    api = open_api(identity={"mode": "basic", "htpasswd_file": str(tmp_path / "htpasswd"), "users": users})
    api.client.auth = ("tenant", "secret")
    assert (await api.ask("GET", ROOT)).status_code == 403
    own = await api.create_balancer()
    await api.refuse("PUT", f"/loadbalancers/{own['id']}/failover", status=403)
    assert (await api.get(f"/loadbalancers/{own['id']}/stats"))["stats"]["bytes_in"] == 0
