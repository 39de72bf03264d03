"""What this host remembers of the databases that it has worked for: the highest mark of each."""

from pathlib import Path

import msgspec

from statera.agent.host import AmphoraHost
from statera.base.files import write_whole
from statera.base.ids import is_uuid
from statera.base.settings import Settings
from statera.model.deployment import DeploymentMark


class Deployments:
    """Marks by deployment; they outlive a reboot."""

    def __init__(self, settings: Settings, host: AmphoraHost) -> None:
        self._folder = Path(settings.data_dir) / "deployments"
        self._host = host

    async def remember(self, wanted: DeploymentMark) -> DeploymentMark:
        """Remember a mark if it is higher, and return the one that was remembered before.

        Sandboxes of a version that did not tell whose they are belong to whoever asks first.
        """
        before = self._load(wanted.deployment_id)
        if wanted.mark > before and is_uuid(wanted.deployment_id):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._folder / wanted.deployment_id, str(wanted.mark).encode(), 0o600)
        for sandbox in list(self._host.sandboxes.values()):
            await sandbox.adopt(wanted.deployment_id)
        return msgspec.structs.replace(wanted, mark=before)

    def _load(self, deployment_id: str) -> int:
        try:
            return int((self._folder / deployment_id).read_text(encoding="ascii")) if is_uuid(deployment_id) else 0
        except (OSError, ValueError):
            return 0
