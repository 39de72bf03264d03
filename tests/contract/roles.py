"""Users with every role in two projects, known to the API by name and password."""

import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import msgspec

from statera.base.ids import new_id
from tests.contract.client import Api
from tests.contract.policies import ROLES

NOBODY = "nobody"
"""In a project, but without a role."""
_PASSWORD = "p"


class Roles(msgspec.Struct, frozen=True, kw_only=True):
    """An API and the two projects, new ones."""

    api: Api
    project: str
    other: str

    async def ask(self, role: str, method: str, path: str, body: Any = None, *, other: bool = False) -> httpx.Response:
        """Send a request as who has this role in the project, or in the other one."""
        name = f"{role}@{'other' if other else 'own'}"
        token = base64.b64encode(f"{name}:{_PASSWORD}".encode()).decode()
        return await self.api.ask(method, path, body, headers={"Authorization": f"Basic {token}"})


def open_roles(open_api: Callable[..., Api], folder: Path, *, legacy: bool = False, **sections: Any) -> Roles:
    """Return an API that knows its users."""
    projects = {"own": new_id(), "other": new_id()}
    users = {
        f"{role}@{where}": {"project_id": project, "roles": [] if role == NOBODY else [role]}
        for where, project in projects.items()
        for role in (*ROLES, NOBODY)
    }
    identity = {"mode": "basic", "htpasswd_file": str(_write(folder, list(users))), "users": users}
    api = open_api(identity=identity | {"legacy_roles": legacy}, **sections)
    return Roles(api=api, project=projects["own"], other=projects["other"])


def _write(folder: Path, users: Sequence[str]) -> Path:
    file = folder / "users"
    stored = bcrypt.hashpw(_PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    file.write_text("".join(f"{user}:{stored}\n" for user in users), encoding="utf-8")
    return file
