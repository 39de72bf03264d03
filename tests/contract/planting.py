"""One object of each kind, planted over HTTP, for tests that walk all operations."""

from typing import Any

import httpx

ZONE_DATA = {"name": "z", "provider_name": "amphora", "availability_zone_data": "{}"}


def plant(api: httpx.Client) -> dict[str, str]:
    """Return the objects' ids by the names that they have in paths."""

    def create(path: str, root: str, **values: Any) -> dict[str, Any]:
        answer = api.post(f"/v2/lbaas/{path}", json={root: values})
        assert answer.status_code == 201, answer.text
        return dict(answer.json()[root])

    (subnet,) = api.get("/network/v2.0/subnets?name=back4").json()["subnets"]
    balancer = create("loadbalancers", "loadbalancer", vip_subnet_id=subnet["id"])
    own = {"loadbalancer_id": balancer["id"]}
    pool = create("pools", "pool", protocol="HTTP", lb_algorithm="ROUND_ROBIN", **own)
    listener = create("listeners", "listener", protocol="HTTP", protocol_port=80, **own)
    member = create(f"pools/{pool['id']}/members", "member", address="10.7.0.1", protocol_port=80)
    monitor = {"pool_id": pool["id"], "type": "HTTP", "delay": 5, "timeout": 4, "max_retries": 3}
    policy = create("l7policies", "l7policy", listener_id=listener["id"], action="REJECT")
    rules = f"l7policies/{policy['id']}/rules"
    rule = create(rules, "rule", type="PATH", compare_type="EQUAL_TO", value="/a")
    profile = create("flavorprofiles", "flavorprofile", name="p", provider_name="amphora", flavor_data="{}")
    zone_profile = create("availabilityzoneprofiles", "availability_zone_profile", **ZONE_DATA)
    linked = {"availability_zone_profile_id": zone_profile["id"]}
    return {
        "loadbalancer_id": balancer["id"],
        "pool_id": pool["id"],
        "listener_id": listener["id"],
        "member_id": member["id"],
        "healthmonitor_id": create("healthmonitors", "healthmonitor", **monitor)["id"],
        "l7policy_id": policy["id"],
        "l7rule_id": rule["id"],
        "rule_id": rule["id"],
        "flavorprofile_id": profile["id"],
        "flavor_id": create("flavors", "flavor", name="f", flavor_profile_id=profile["id"])["id"],
        "availability_zone_profile_id": zone_profile["id"],
        "name": create("availabilityzones", "availability_zone", name="z", **linked)["name"],
        "project_id": balancer["project_id"],
        "provider": "amphora",
        "id": subnet["id"],
        "subnet_id": subnet["id"],
    }
