"""A database full of load balancers: one is planted, the others are copies of it that PostgreSQL makes itself.

Each has its own ids; they are spread over projects, hosts and time, settled, and due much later.
"""

import asyncio
from typing import Any

import msgspec
import psycopg
import sqlalchemy as sa
from psycopg import sql

from statera.base.ids import new_id
from statera.model.amphora import Amphora
from statera.model.drafts import Decide
from statera.model.enums import L7Action, L7CompareType, L7RuleType
from statera.model.heartbeat import ListenerObserved, ListenerState
from statera.model.network import PortAddress
from statera.model.statistics import Counted
from statera.model.tree import L7Policy, L7Rule, Tree
from statera.store.amphorae import save_amphora
from statera.store.claims import claim_load_balancer, save_settled
from statera.store.engine import Store
from statera.store.statistics import save_counted
from statera.store.tables import metadata
from statera.store.trees import insert_tree
from tests.db.trees import NOW, edit_rename, make_amphora, make_tree

HOSTS = 20
PROJECTS = 50
_TABLES = (
    "load_balancers", "pools", "listeners", "members", "health_monitors", "l7policies", "l7rules", "amphorae", "events",
    "listener_statistics", "generations", "ports", "port_addresses",
)  # fmt: skip
"""Parents first."""
CROWDED = frozenset(_TABLES)
"""Tables that grow with the number of load balancers."""
_SHARED = ("flavor_id", "vip_qos_policy_id", "subnet_id", "network_id")
"""UUIDs that copies have in common with the first one."""
_SPREAD = {
    "project_id": f"'project-' || mod(n, {PROJECTS})",
    "host": f"'host-' || mod(n, {HOSTS})",
    "created_at": "created_at + make_interval(secs => n)",
    "due_at": "now() + interval '1 day' + make_interval(secs => n)",
    "device_id": "'device-' || n",
}
_ADDRESS = {"address": "address + n"}


def plant_many(url: str, count: int, *, members: int = 2) -> None:
    """Fill a database with so many load balancers, each with an amphora. See `plant`."""

    async def plant_first() -> None:
        store = Store(url)
        try:
            await plant(store, members=members)
        finally:
            await store.close()

    asyncio.run(plant_first())
    multiply(url, count - 1)


async def plant(store: Store, *, members: int = 2) -> tuple[Tree, Amphora]:
    """Store a load balancer of every kind of object, settled, with an amphora that has counted."""
    tree = _add_policy(make_tree(members, project_id="project-1"))
    vip = tree.load_balancer.vip
    amphora = make_amphora(tree.load_balancer.id, host="host-1")
    address = PortAddress(subnet_id=vip.subnet_id or "", address="198.18.200.1")
    port = msgspec.structs.replace(amphora.ports[0], network_id=vip.network_id, addresses=(address,))
    amphora = msgspec.structs.replace(amphora, ports=(port,))
    await insert_tree(store, tree, actor="bench", what="created")
    claim = await claim_load_balancer(store, owner="bench", lease_s=60)
    assert claim is not None
    await save_amphora(store, claim, amphora)
    await save_settled(store, claim, 1, recheck_s=86_400, tree=tree)
    listener = ListenerObserved(id=tree.listeners[0].id, status=ListenerState.OPEN, bytes_in=1)
    await save_counted(store, [Counted(amphora_id=amphora.id, process=1, told_at=NOW, listeners=(listener,))])
    return tree, amphora


def _add_policy(tree: Tree) -> Tree:
    shared: dict[str, Any] = {
        "project_id": tree.load_balancer.project_id,
        "created_at": NOW,
        "changed_at_generation": 1,
    }
    shared |= {"load_balancer_id": tree.load_balancer.id}
    policy = L7Policy(id=new_id(), listener_id=tree.listeners[0].id, action=L7Action.REJECT, **shared)
    rule = L7Rule(
        id=new_id(),
        l7policy_id=policy.id,
        type=L7RuleType.PATH,
        compare_type=L7CompareType.STARTS_WITH,
        value="/",
        **shared,
    )
    return msgspec.structs.replace(tree, l7policies=(policy,), l7rules=(rule,))


def edit_everything(name: str) -> Decide:
    """Return an edit that changes an object of each kind."""

    def decide(tree: Tree) -> Tree:
        raised = edit_rename(name)(tree)
        kinds = ("listeners", "pools", "members", "health_monitors", "l7policies", "l7rules")
        renamed = {
            kind: tuple(msgspec.structs.replace(one, name=name) for one in getattr(tree, kind)) for kind in kinds
        }
        return msgspec.structs.replace(raised, **renamed)

    return decide


def multiply(url: str, copies: int) -> None:
    """Add so many copies of every load balancer there is. Then the statistics of the planner are up to date."""
    with psycopg.connect(url) as connection:
        # Foreign keys would be looked up row by row.
        connection.execute("SET session_replication_role = replica")
        for name in _TABLES:
            connection.execute(_copy_statement(metadata.tables[name]), {"copies": copies})
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _copy_statement(table: sa.Table) -> sql.Composed:
    kept = [column for column in table.columns if column.computed is None and column.identity is None]
    values = [sql.SQL(_value(table, column)) for column in kept]
    return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}, generate_series(1, %(copies)s) AS n").format(
        sql.Identifier(table.name),
        sql.SQL(", ").join(sql.Identifier(column.name) for column in kept),
        sql.SQL(", ").join(values),
        sql.Identifier(table.name),
    )


def _value(table: sa.Table, column: "sa.Column[object]") -> str:
    name = column.name
    if table.name == "port_addresses" and name in _ADDRESS:
        return _ADDRESS[name]
    if name in _SPREAD:
        return _SPREAD[name]
    if isinstance(column.type, sa.Uuid) and name not in _SHARED:
        return f"CAST(md5({name}::text || n) AS uuid)"
    return f'"{name}"'
