"""What HAProxy serves, by its file and by its own words, beside what the API shows of the same load balancers.

The file is what the agent last brought live; what HAProxy says of itself is what clients get.
"""

import csv
from collections.abc import Iterator

import msgspec

from statera.base.errors import StateraError
from tests.fixtures.runtime import ask_haproxy
from tests.hosts.ground import Ground

BALANCE = {"ROUND_ROBIN": "roundrobin", "LEAST_CONNECTIONS": "leastconn", "SOURCE_IP": "source"}
LEAVING = ("MAINT", "DRAIN")
"""How a server shows that was removed and finishes its connections."""


class Served(msgspec.Struct, kw_only=True):
    """Of one HAProxy. A backend is named `<pool>:<listener>`, a server by its member."""

    limits: dict[str, int] = {}
    """Most connections by listener, and of all under `global`."""
    algorithms: dict[str, str] = {}
    """By backend."""
    members: dict[str, dict[str, int]] = {}
    """Weights by backend and member."""
    leaving: set[str] = set()
    """Members that may be there and need not."""


class Wanted(msgspec.Struct, kw_only=True):
    """Of one listener with a default pool, as the API shows it."""

    listener_id: str
    connection_limit: int
    pool_id: str
    algorithm: str
    members: dict[str, int]


def list_unserved(ground: Ground) -> list[str]:
    """Return where a HAProxy serves something else than the API shows, in words. Raises `Lasting` as the API does."""
    wanted = list_wanted(ground)
    told = []
    for amphora in ground.list_amphorae():
        # By the host's own view of its files.
        folder = ground.machines[amphora["host"]].root / "run/statera/amphorae" / amphora["id"]
        try:
            served = parse_file((folder / "haproxy.cfg").read_text(encoding="utf-8"))
            running = parse_statistics(ask_haproxy(folder / "live/stats", "show stat"))
        except (OSError, StateraError) as error:
            told.append(f"HAProxy of amphora {amphora['id']} on {amphora['host']}: {error}")
            continue
        running.limits["global"] = served.limits["global"]
        for one in wanted.get(amphora["loadbalancer_id"], ()):
            for source, found in (("file", served), ("process", running)):
                about = f"{source} of amphora {amphora['id']} on {amphora['host']}"
                told += [f"{about}: {difference}" for difference in list_differences(one, found)]
    return told


def list_wanted(ground: Ground) -> dict[str, list[Wanted]]:
    """Return what the API shows of what is to be served, by load balancer."""
    pools = {pool["id"]: pool for pool in ground.request("GET", "/v2/lbaas/pools")["pools"]}
    wanted: dict[str, list[Wanted]] = {}
    for listener in ground.request("GET", "/v2/lbaas/listeners")["listeners"]:
        if not listener["admin_state_up"]:
            continue
        pool = pools[listener["default_pool_id"]]
        members = ground.request("GET", f"/v2/lbaas/pools/{pool['id']}/members")["members"]
        one = Wanted(
            listener_id=listener["id"],
            connection_limit=listener["connection_limit"],
            pool_id=pool["id"],
            algorithm=pool["lb_algorithm"],
            members={member["id"]: member["weight"] for member in members},
        )
        wanted.setdefault(listener["loadbalancers"][0]["id"], []).append(one)
    return wanted


def list_differences(wanted: Wanted, served: Served) -> Iterator[str]:
    """Give each thing that is served otherwise than wanted, in words. Pure."""
    backend, most = f"{wanted.pool_id}:{wanted.listener_id}", served.limits["global"]
    limit = min(wanted.connection_limit, most) if wanted.connection_limit >= 0 else most
    if served.limits.get(wanted.listener_id) != limit:
        yield f"listener {wanted.listener_id} takes {served.limits.get(wanted.listener_id)} connections, not {limit}"
    if served.algorithms.get(backend) != BALANCE[wanted.algorithm]:
        yield f"pool {wanted.pool_id} balances by {served.algorithms.get(backend)}, not {wanted.algorithm}"
    members = served.members.get(backend, {})
    kept = {name: weight for name, weight in members.items() if name in wanted.members or name not in served.leaving}
    if kept != wanted.members:
        yield f"pool {wanted.pool_id} has weights {kept}, not {wanted.members}"


def parse_file(text: str) -> Served:
    """Read what a `haproxy.cfg` of ours says."""
    served = Served()
    name = ""
    for line in text.splitlines():
        match line.split():
            case [*section] if section and line[0] not in " #":
                name = section[-1]
            case ["maxconn", number]:
                served.limits[name] = int(number)
            case ["balance", algorithm, *_]:
                served.algorithms[name] = algorithm
            case ["server", member, _, "weight", weight, *_] if ":" in name:
                served.members.setdefault(name, {})[member] = int(weight)
    return served


def parse_statistics(text: str) -> Served:
    """Read HAProxy's answer to `show stat` (HAProxy 2.6 management guide, 9.1)."""
    served = Served()
    for row in csv.DictReader(text.removeprefix("# ").splitlines()):
        proxy, server = row["pxname"], row["svname"]
        if server == "FRONTEND":
            served.limits[proxy] = int(row["slim"] or 0)
        elif server == "BACKEND":
            served.algorithms[proxy] = row["algo"]
        elif ":" in proxy:
            served.members.setdefault(proxy, {})[server] = int(row["weight"])
            if row["status"].startswith(LEAVING):
                served.leaving.add(server)
    return served
