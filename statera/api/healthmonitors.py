"""Health monitors."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.call import Call, answer_json
from statera.api.errors import Answer
from statera.api.fields import Choice, HttpVersion, Integer, Text, UrlPath, Uuid
from statera.api.listing import COMMON_COLUMNS, Collection, same_columns
from statera.api.loading import find
from statera.api.operations import Operations
from statera.api.places import Place
from statera.api.routing import make_routes
from statera.api.shown import Id, Shown, list_common, view_of_health_monitor
from statera.api.wire import (
    NULLS_ON_CREATE,
    NULLS_ON_UPDATE,
    REFUSE,
    Name,
    OptionalFlag,
    ProjectId,
    Tags,
    Wire,
    list_kept,
)
from statera.base.errors import Refusal, Refused
from statera.base.ids import new_id
from statera.base.settings import ApiSettings
from statera.model.edits import Change, create_health_monitor, delete_health_monitor, update_health_monitor
from statera.model.enums import MONITOR_TYPES_WITH_HTTP_FIELDS, HttpMethod, MonitorType
from statera.model.tree import HealthMonitor, Pool
from statera.model.views import HealthMonitorView

MOST_SECONDS = 2_147_483
"""HAProxy counts milliseconds in 31 bits."""
DOMAIN_NAME_PATTERN = r"^(?=.{1,253}\.?$)(?:(?!-|[^.]+_)[A-Za-z0-9-_]{1,63}(?<!-)(?:\.|$))+$"
CODES_PATTERN = r"^(\d{3}(\s*,\s*\d{3})*)$|^(\d{3}-\d{3})$"
HTTP_FIELDS: dict[str, Any] = {"http_method": HttpMethod.GET, "url_path": "/", "expected_codes": "200"}
"""Only for HTTP and HTTPS, with their defaults."""
BODILESS = (HttpMethod.HEAD, HttpMethod.CONNECT)
"""Their answers have no body."""
MOST_BODY = 255
"""Characters; HAProxy looks for them in what fits into one of its buffers, 16 KiB with the head."""
_REQUIRED = {"delay": REFUSE, "timeout": REFUSE, "max_retries": REFUSE}

Codes = Annotated[str | UnsetType | None, Text(64, pattern=CODES_PATTERN)]
Retries = Integer(1, 10)
Seconds = Integer(0, MOST_SECONDS)


class HealthMonitorUpdate(Wire, frozen=True, kw_only=True):
    name: Name = UNSET
    admin_state_up: OptionalFlag = UNSET
    tags: Tags = UNSET
    delay: Annotated[int | UnsetType | None, Seconds] = UNSET
    timeout: Annotated[int | UnsetType | None, Seconds] = UNSET
    max_retries: Annotated[int | UnsetType | None, Retries] = UNSET
    max_retries_down: Annotated[int | UnsetType | None, Retries] = UNSET
    http_method: Annotated[HttpMethod | UnsetType | None, Choice(HttpMethod)] = UNSET
    url_path: Annotated[str | UnsetType | None, UrlPath()] = UNSET
    expected_codes: Codes = UNSET
    http_version: Annotated[float | UnsetType | None, HttpVersion()] = UNSET
    domain_name: Annotated[str | UnsetType | None, Text(255, least=1, pattern=DOMAIN_NAME_PATTERN)] = UNSET
    expected_body: Annotated[str | UnsetType | None, Text(MOST_BODY, least=1, pattern=r"^[^\r\n]+$")] = UNSET


class NewHealthMonitor(HealthMonitorUpdate, frozen=True, kw_only=True):
    type: Annotated[MonitorType, Choice(MonitorType)]
    delay: Annotated[int, Seconds]
    timeout: Annotated[int, Seconds]
    max_retries: Annotated[int, Retries]


class HealthMonitorCreate(NewHealthMonitor, frozen=True, kw_only=True):
    pool_id: Annotated[str, Uuid()]
    project_id: ProjectId = UNSET
    tenant_id: ProjectId = UNSET


class HealthMonitorShown(Shown, frozen=True, kw_only=True):
    type: str
    delay: int
    timeout: int
    max_retries: int
    max_retries_down: int
    http_method: str | None
    url_path: str | None
    expected_codes: str | None
    http_version: float | None
    domain_name: str | None
    expected_body: str | None
    pools: tuple[Id, ...] | UnsetType


_SAME = (
    "type", "delay", "timeout", "max_retries", "max_retries_down", "http_method", "url_path", "expected_codes",
    "http_version", "domain_name", "expected_body",
)  # fmt: skip


def show_health_monitor(view: HealthMonitorView, *, is_nested: bool = False) -> HealthMonitorShown:
    """Return what the API shows; without the reference to its pool when it is shown inside of it."""
    monitor = view.resource
    own = {name: getattr(monitor, name) for name in _SAME}
    return HealthMonitorShown(**list_common(monitor), **own, pools=UNSET if is_nested else (Id(monitor.pool_id),))


COLLECTION = Collection(
    singular="healthmonitor",
    plural="healthmonitors",
    kind=HealthMonitor,
    target="healthmonitor",
    columns=COMMON_COLUMNS | same_columns(*_SAME, "pool_id"),
    show=show_health_monitor,
)


def build_health_monitor(wire: NewHealthMonitor, pool: Place, settings: ApiSettings, **more: Any) -> HealthMonitor:
    """Return the health monitor that a create request asks for. Raises `Refused`."""
    if wire.type == MonitorType.PING and not settings.allow_ping_health_monitors:
        raise Refused(Refusal.INVALID, "The selected health monitor type is not allowed in this deployment: PING")
    is_http = wire.type in MONITOR_TYPES_WITH_HTTP_FIELDS
    defaults = HTTP_FIELDS if is_http else {}
    nulls = NULLS_ON_CREATE | {"max_retries_down": 3} | defaults
    given = defaults | list_kept(wire, nulls, HealthMonitor.__struct_fields__)
    _check_http_fields(wire, wire.type, null_counts=False)
    owned = {"project_id": pool.project_id, "load_balancer_id": pool.load_balancer_id, "pool_id": pool.id}
    monitor = HealthMonitor(**({"id": new_id()} | given | owned | more))
    _check_domain(monitor)
    _check_body(monitor)
    _check_delay(monitor, settings)
    return monitor


def _check_delay(monitor: HealthMonitor, settings: ApiSettings) -> None:
    least = settings.udp_connect_min_interval_health_monitor
    if monitor.type == MonitorType.UDP_CONNECT and monitor.delay < least:
        least_words = f"should be larger than {least} for UDP-CONNECT health monitor type."
        raise Refused(Refusal.INVALID, f"Validation failure: The request delay value {monitor.delay} {least_words}")


def change_health_monitor(wire: HealthMonitorUpdate, settings: ApiSettings) -> Change[HealthMonitor]:
    """Return what an update request makes of the stored health monitor."""
    given = list_kept(
        wire, NULLS_ON_UPDATE | _REQUIRED | HTTP_FIELDS | {"max_retries_down": 3}, HealthMonitor.__struct_fields__
    )

    def change(monitor: HealthMonitor) -> HealthMonitor:
        _check_http_fields(wire, monitor.type, null_counts=True)
        changed = msgspec.structs.replace(monitor, **given)
        _check_domain(changed)
        _check_body(changed)
        _check_delay(changed, settings)
        return changed

    return change


def _check_http_fields(wire: HealthMonitorUpdate, kind: MonitorType, *, null_counts: bool) -> None:
    if kind in MONITOR_TYPES_WITH_HTTP_FIELDS:
        return
    for name in (*HTTP_FIELDS, "expected_body"):
        value = getattr(wire, name)
        if value is not UNSET and (value is not None or null_counts):
            raise Refused(Refusal.INVALID, f"{name} is not a valid option for health monitors of type {kind}")


def _check_domain(monitor: HealthMonitor) -> None:
    if not monitor.domain_name or monitor.http_version == 1.1:
        return
    if monitor.http_version is None:
        raise Refused(
            Refusal.INVALID, "Validation failure: 'http_version' must be specified when 'domain_name' is provided."
        )
    raise Refused(
        Refusal.INVALID,
        f"http_version {monitor.http_version} is not a valid option for health monitors HTTP 1.1 domain name "
        "health check",
    )


def _check_body(monitor: HealthMonitor) -> None:
    if monitor.expected_body is not None and monitor.http_method in BODILESS:
        raise Refused(
            Refusal.INVALID,
            f"expected_body is not a valid option for health monitors with http_method {monitor.http_method}: "
            "the answer has no body",
        )


# Operations


OPERATIONS = Operations(collection=COLLECTION, delete=delete_health_monitor, word="Health monitor")


async def accept_create(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(HealthMonitorCreate, "health_monitor_", "healthmonitor")
    pool = await find(call, Pool, wire.pool_id, "healthmonitor:post")
    monitor = build_health_monitor(wire, pool, call.room.settings.api, created_at=call.room.clock.now())
    decide = create_health_monitor(monitor, call.terms())
    tree = await call.edit(pool.load_balancer_id, decide, f"Health monitor {monitor.id} created.")
    return answer_json({"healthmonitor": show_health_monitor(view_of_health_monitor(tree, monitor.id))}, 201)


async def accept_update(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(HealthMonitorUpdate, "health_monitor_", "healthmonitor")
    monitor = await OPERATIONS.find(call, "put")
    decide = update_health_monitor(monitor.id, change_health_monitor(wire, call.room.settings.api), call.terms())
    tree = await call.edit(monitor.load_balancer_id, decide, f"Health monitor {monitor.id} updated.")
    return answer_json({"healthmonitor": show_health_monitor(view_of_health_monitor(tree, monitor.id))})


ROUTES = make_routes(
    COLLECTION,
    HealthMonitorShown,
    listed=OPERATIONS.accept_list,
    shown=OPERATIONS.accept_show,
    created=(accept_create, HealthMonitorCreate),
    updated=(accept_update, HealthMonitorUpdate),
    deleted=OPERATIONS.accept_delete,
)
