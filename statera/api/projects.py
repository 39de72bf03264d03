"""Projects in the shape of the Identity v3 API, read-only, where a client asks who has no identity service to ask.

The unmodified `openstack loadbalancer` command looks a project up before it sends its quota, or lists what belongs to
it. Without Keystone nobody keeps projects: each is what it is called, and its id is its name.
"""

import msgspec

from statera.api.call import Call, Route, answer_json, not_found
from statera.api.errors import Answer

MOST_CHARACTERS = 36
"""As in the field `project_id` of every resource."""


class ProjectShown(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    enabled: bool = True


async def accept_show(call: Call) -> Answer:
    project_id = call.path["project_id"]
    if not _is_one(project_id):
        raise not_found("Project", project_id)
    return answer_json({"project": _show(project_id)})


async def accept_list(call: Call) -> Answer:
    """Return the project that is asked for by name; the others are not known."""
    name = call.argument("name") or ""
    return answer_json({"projects": [_show(name)] if _is_one(name) else []})


def _is_one(project_id: str) -> bool:
    return 0 < len(project_id) <= MOST_CHARACTERS and project_id.isprintable()


def _show(project_id: str) -> ProjectShown:
    return ProjectShown(id=project_id, name=project_id)


def _routes(path: str) -> tuple[Route, ...]:
    return (
        Route(
            method="GET", path=path, act=accept_list, summary="Project lookup: list projects", arguments=("name",),
            root="projects", shown=ProjectShown, is_list=True,
        ),
        Route(
            method="GET", path=f"{path}/{{project_id}}", act=accept_show, summary="Project lookup: show a project",
            root="project", shown=ProjectShown,
        ),
    )  # fmt: skip


ROUTES: tuple[Route, ...] = (*_routes("//projects"), *_routes("//key-manager/v1/projects"))
"""Without an identity service, clients look below `auth.endpoint`: the root, or what our `clouds.yaml` names there."""
