"""The installation that the scenarios share: made when the first one needs it, removed whatever happens."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.client import ApiConnection, connect_api
from statera.agent.folders import AmphoraFolders, HostFolders
from statera.base.errors import Lasting
from statera.cli.playground import Playground, WebServer

TAG = "bench"
DATA_DIR = Path("/var/tmp/statera-bench")
KEPT_LOG = Path("/var/tmp/statera-bench.log")
WEB_SERVERS = 3
ONE = "/v2/lbaas/loadbalancers"


class Ground:
    """Gives scenarios what they need: the playground, load balancers, and where their sandboxes are."""

    def __init__(self, *, tag: str = TAG, data_dir: Path = DATA_DIR, **overrides: Any) -> None:
        self._tag, self._data_dir, self._overrides = tag, data_dir, overrides
        self._playground: Playground | None = None

    @property
    def playground(self) -> Playground:
        """The installation with its web servers, started when first asked for."""
        if self._playground is None:
            Playground(self._tag, self._data_dir).remove()
            self._playground = Playground(self._tag, self._data_dir, overrides=self._overrides)
            try:
                self._start(self._playground)
            except Exception:
                self.remove(keep_log=True)
                raise
        return self._playground

    @staticmethod
    def _start(playground: Playground) -> None:
        playground.make_network()
        for _ in range(WEB_SERVERS):
            playground.start_web_server()
        playground.start_installation()

    @property
    def servers(self) -> list[WebServer]:
        return self.playground.servers[:WEB_SERVERS]

    def remove(self, *, keep_log: bool) -> None:
        """Remove all of it; the log of its processes is kept when asked for."""
        if self._playground is not None:
            if keep_log and self._playground.log_path.exists():
                append_log(self._playground.log_path)
            self._playground.remove()
            self._playground = None

    @contextmanager
    def api(self) -> Iterator[ApiConnection]:
        """Give a kept connection to the API."""
        settings = self.playground.settings.api
        with connect_api(settings.host, settings.port) as connection:
            yield connection

    @contextmanager
    def load_balancer(self, name: str, servers: list[WebServer] | None = None, **wanted: Any) -> Iterator[Any]:
        """Give a load balancer that serves; it is deleted at the end of the block."""
        playground = self.playground
        chosen = self.servers if servers is None else servers
        made = playground.create_load_balancer(name, chosen, **wanted)
        try:
            yield playground.wait_active(made["id"])
        finally:
            self.delete(made["id"])

    def delete(self, load_balancer_id: str) -> None:
        """Delete with all below it and wait until it is gone."""
        self.playground.request("DELETE", f"{ONE}/{load_balancer_id}?cascade=true")
        self.playground.wait_gone(load_balancer_id)

    def find_amphora(self, load_balancer_id: str) -> tuple[str, AmphoraFolders]:
        """Return the amphora of a load balancer and its folders on this host."""
        host = HostFolders(self.playground.settings)
        for amphora_id in host.list_ids():
            known = host.of(amphora_id).load()
            if known is not None and known[0].sandbox.load_balancer_id == load_balancer_id:
                return amphora_id, host.of(amphora_id)
        raise Lasting("bench-failed", f"Load balancer {load_balancer_id} has no amphora on this host.")

    def find_master(self, folders: AmphoraFolders) -> int:
        """Return the pid of an amphora's HAProxy."""
        return int(folders.pid.read_text(encoding="ascii"))


def append_log(log_path: Path) -> None:
    """Put a log of processes behind those that are kept, for whoever looks into what broke."""
    with log_path.open("rb") as log, KEPT_LOG.open("ab") as kept:
        shutil.copyfileobj(log, kept)
