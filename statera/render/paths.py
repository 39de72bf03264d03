"""Where HAProxy finds its files and sockets: the same path in every sandbox.

Each HAProxy has a mount namespace of its own, in which the agent binds the amphora's folder to this place. So a
document is the same on every host, and socket paths stay short (107 bytes at most, unix(7)) wherever the data directory
is. HAProxy's user may write in `live` only; what root reads or runs stands beside it.
"""

import msgspec


class HaproxyPaths(msgspec.Struct, frozen=True, kw_only=True):
    """Paths that stand in a document or on HAProxy's command line."""

    folder: str = "/run/statera-amphora"

    @property
    def stats_socket(self) -> str:
        return f"{self.folder}/live/stats"

    @property
    def master_socket(self) -> str:
        return f"{self.folder}/live/master"

    @property
    def peer_socket(self) -> str:
        """Over which an old worker hands its stick tables to the new one."""
        return f"{self.folder}/live/peer"

    @property
    def exporter_socket(self) -> str:
        """On which HAProxy tells its own metrics, to root and to itself."""
        return f"{self.folder}/live/exporter"

    @property
    def metrics_socket(self) -> str:
        """On which the agent tells the metrics of the load balancer."""
        return f"{self.folder}/metrics"

    @property
    def server_state(self) -> str:
        """Where the servers' health is kept over a reload."""
        return f"{self.folder}/state"

    @property
    def configuration(self) -> str:
        return f"{self.folder}/haproxy.cfg"

    @property
    def nginx_configuration(self) -> str:
        return f"{self.folder}/nginx.conf"

    @property
    def nginx_pid(self) -> str:
        """Where nginx wants to write its own pid, which the agent knows."""
        return f"{self.folder}/live/nginx.pid"

    @property
    def keepalived_configuration(self) -> str:
        """Of the keepalived that fills IPVS."""
        return f"{self.folder}/lvs.conf"

    def list_file(self, name: str) -> str:
        """Return where a list of values stands that a rule reads."""
        return f"{self.folder}/lists/{name}"

    def tls_file(self, name: str) -> str:
        """Return where a file of certificates or keys stands, or a folder of them."""
        return f"{self.folder}/tls/{name}"

    @property
    def ping_command(self) -> str:
        return f"{self.folder}/ping"


SANDBOX_PATHS = HaproxyPaths()
