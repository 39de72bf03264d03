"""All load balancers at a glance, with their totals, in one statement."""

import msgspec
import sqlalchemy as sa

from statera.model.rates import Glance
from statera.store.engine import Store
from statera.store.tables import COUNTERS

_SUMS = ", ".join(f"'{name}', coalesce(sum(s.{name}), 0)::bigint" for name in COUNTERS)
_GLANCES = sa.text(f"""
    WITH traffic AS (
        SELECT i.load_balancer_id AS id, max(s.told_at) AS told_at, json_build_object({_SUMS}, 'active_connections',
            coalesce(sum(s.active_connections) FILTER (WHERE a.status = 'ALLOCATED'), 0)::bigint) AS sums
        FROM listener_statistics AS s JOIN listeners AS i ON i.id = s.listener_id
        LEFT JOIN amphorae AS a ON a.id = s.amphora_id
        GROUP BY i.load_balancer_id
    ), people AS (
        SELECT load_balancer_id AS id, count(*) AS members,
            count(*) FILTER (WHERE operating_status IN ('ONLINE', 'NO_MONITOR')) AS members_online
        FROM members GROUP BY load_balancer_id
    ), holding AS (
        SELECT load_balancer_id AS id, json_agg(host ORDER BY host) AS hosts
        FROM amphorae WHERE has_vips GROUP BY load_balancer_id
    )
    SELECT coalesce(json_agg(json_build_object(
        'id', l.id, 'name', l.name, 'project_id', l.project_id, 'vip_address', l.vip ->> 'address',
        'provisioning_status', l.provisioning_status, 'operating_status', l.operating_status,
        'reason', coalesce(coalesce(l.reason, l.operating_reason) ->> 'sentence', ''),
        'members', coalesce(people.members, 0), 'members_online', coalesce(people.members_online, 0),
        'vip_on', coalesce(holding.hosts, '[]'), 'told_at', traffic.told_at, 'traffic', coalesce(traffic.sums, '{{}}')
    )), '[]')::text
    FROM load_balancers AS l LEFT JOIN traffic ON traffic.id = l.id LEFT JOIN people ON people.id = l.id
        LEFT JOIN holding ON holding.id = l.id
""")


async def list_glances(store: Store) -> tuple[Glance, ...]:
    """Return every load balancer as it is now."""
    rows = await store.execute(_GLANCES)
    return msgspec.json.decode(rows[0][0], type=tuple[Glance, ...])
