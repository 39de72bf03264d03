"""Quotas: the limits of a project, which only an admin may change. The store enforces them where it writes."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.call import Call, Route, answer_json
from statera.api.errors import Answer
from statera.api.fields import Integer
from statera.api.listing import Collection, answer_list, same_columns
from statera.api.routing import make_list_route
from statera.api.wire import Wire, list_given
from statera.base.errors import Refusal, Refused
from statera.base.settings import Settings
from statera.model.quota import UNLIMITED, Limits, Quota
from statera.model.views import QuotaView
from statera.store.quotas import load_quota, remove_quota, save_quota

MOST = 2_000_000_000
MOST_PROJECT_ID = 36
OLD_NAMES = {"load_balancer": "loadbalancer", "health_monitor": "healthmonitor"}
"""Older spellings, taken and shown beside the present ones, which win."""

Limit = Annotated[int | UnsetType | None, Integer(UNLIMITED, MOST)]


class QuotaUpdate(Wire, frozen=True, kw_only=True):
    loadbalancer: Limit = UNSET
    load_balancer: Limit = UNSET
    listener: Limit = UNSET
    member: Limit = UNSET
    pool: Limit = UNSET
    healthmonitor: Limit = UNSET
    health_monitor: Limit = UNSET
    l7policy: Limit = UNSET
    l7rule: Limit = UNSET


class QuotaShown(msgspec.Struct, frozen=True, kw_only=True):
    """null, in lists: the default holds."""

    project_id: str
    tenant_id: str
    loadbalancer: int | None
    load_balancer: int | None
    listener: int | None
    member: int | None
    pool: int | None
    healthmonitor: int | None
    health_monitor: int | None
    l7policy: int | None
    l7rule: int | None


def default_limits(settings: Settings) -> Limits:
    """Return what a project may have when nothing else is said."""
    return msgspec.convert(settings.quotas, Limits, from_attributes=True)


def enforced_limits(settings: Settings) -> Limits | None:
    """Return the same, None where nobody is known and so nobody has a quota (rules.md section 21)."""
    return None if settings.identity.mode == "none" else default_limits(settings)


def show_quota(project_id: str, limits: Limits | Quota) -> QuotaShown:
    """Return what the API shows of limits."""
    values: dict[str, Any] = {name: getattr(limits, name) for name in Limits.__struct_fields__}
    values |= {old: values[name] for old, name in OLD_NAMES.items()}
    return QuotaShown(project_id=project_id, tenant_id=project_id, **values)


def _show_record(view: QuotaView) -> QuotaShown:
    return show_quota(view.resource.project_id, view.resource)


COLLECTION = Collection(
    singular="quota",
    plural="quotas",
    kind=Quota,
    target="quota",
    key="project_id",
    columns=same_columns("project_id", *Limits.__struct_fields__) | OLD_NAMES,
    show=_show_record,
)


# Operations


async def accept_list(call: Call) -> Answer:
    """List the records. A project without one has the defaults."""
    unfiltered = [(name, value) for name, value in call.query if name != "fields"]
    return await answer_list(msgspec.structs.replace(call, query=unfiltered), COLLECTION)


async def accept_show(call: Call) -> Answer:
    project_id = _read_project(call, "get_one")
    stored = await load_quota(call.room.store, project_id) if _is_project(project_id) else None
    return _answer(call, project_id, stored)


async def accept_show_default(call: Call) -> Answer:
    return _answer(call, _read_project(call, "get_defaults"), None)


async def accept_update(call: Call) -> Answer:
    call.require_arguments()
    wire = await call.read(QuotaUpdate, "quotas", "quota")
    project_id = _read_project(call, "put")
    if not _is_project(project_id):
        why = f"Value should have a maximum character requirement of {MOST_PROJECT_ID}"
        what = f"Invalid input for field/attribute project_id. Value: '{project_id}'. {why}"
        raise Refused(Refusal.INVALID, what)
    given = list_given(wire, {})
    values = {OLD_NAMES[name]: value for name, value in given.items() if name in OLD_NAMES}
    values |= {name: value for name, value in given.items() if name not in OLD_NAMES}
    if values:
        stored: Quota | None = await save_quota(call.room.store, project_id, values)
    else:
        stored = await load_quota(call.room.store, project_id)
    return _answer(call, project_id, stored, 202)


async def accept_delete(call: Call) -> Answer:
    """Let the defaults hold again."""
    call.require_arguments()
    project_id = _read_project(call, "delete")
    if not (_is_project(project_id) and await remove_quota(call.room.store, project_id)):
        raise Refused(Refusal.NOT_FOUND, f"Quotas {project_id} not found.")
    return Answer(status=202)


def _read_project(call: Call, verb: str) -> str:
    project_id = call.path["project_id"]
    call.allow(f"quota:{verb}", project_id)
    return project_id


def _is_project(text: str) -> bool:
    # Anything else no project is called, and some of it no database takes.
    return len(text) <= MOST_PROJECT_ID and text.isprintable()


def _answer(call: Call, project_id: str, stored: Quota | None, status: int = 200) -> Answer:
    defaults = default_limits(call.room.settings)
    limits = defaults if stored is None else stored.effective(defaults)
    return answer_json({"quota": show_quota(project_id, limits)}, status)


_ONE = "/quotas/{project_id}"
_TOLD: dict[str, Any] = {"root": "quota", "shown": QuotaShown}
ROUTES = (
    make_list_route(COLLECTION, QuotaShown, "/quotas", accept_list, "List the quotas of projects"),
    Route(method="GET", path=_ONE, act=accept_show, summary="Show a project's quota", **_TOLD),
    Route(
        method="PUT", path=_ONE, act=accept_update, summary="Set a project's quota", status=202, body=QuotaUpdate,
        **_TOLD,
    ),
    Route(method="DELETE", path=_ONE, act=accept_delete, summary="Give a project the default quota", status=202),
    Route(method="GET", path=f"{_ONE}/default", act=accept_show_default, summary="Show the default quota", **_TOLD),
)  # fmt: skip
