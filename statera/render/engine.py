"""What the engines that are installed on a host can do, from their versions."""

from collections.abc import Iterable, Mapping

import msgspec

from statera.base.errors import Lasting
from statera.model.amphora import Host
from statera.model.engines import COMMON_ENGINES, EngineName
from statera.model.features import Installed, find_lack, read_installed, read_version
from statera.model.tree import Tree


class EngineCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Features that decide what is rendered and what needs a reload."""

    version: tuple[int, int, int]
    dynamic_servers: bool
    """`add server` with health checks over the runtime socket, out of experimental mode (HAProxy 2.6)."""
    engines: tuple[str, ...] = COMMON_ENGINES
    """All that the host has."""

    def check(self, tree: Tree) -> None:
        """Raise `Lasting` (slug `feature-missing`) for a tree that this HAProxy cannot serve."""
        lack = find_lack(tree, Installed(version=self.version, engines=self.engines))
        if lack is not None:
            raise Lasting(lack.slug, lack.sentence)

    @property
    def has_http_client(self) -> bool:
        """Say whether it has an HTTP client of its own (HAProxy 2.6)."""
        return self.version >= (2, 6, 0)


def haproxy_capabilities(version: str) -> EngineCapabilities:
    """Return the capabilities of a version text such as `2.6.12-1+deb12u1`; an unknown one counts as 2.6.0."""
    found = read_version(version)
    return EngineCapabilities(version=found, dynamic_servers=found >= (2, 6, 0))


def list_installed(hosts: Iterable[Host]) -> tuple[Installed, ...]:
    """Return the HAProxy of each host; nothing while a host has not told of its own: it may be the newest."""
    told = {host.name: host.engine_versions for host in hosts}
    if not all(EngineName.HAPROXY in versions for versions in told.values()):
        return ()
    return tuple(read_installed(name, versions) for name, versions in told.items())


def read_capabilities(versions: Mapping[str, str]) -> EngineCapabilities:
    """Return the capabilities of a host from its versions by engine."""
    return msgspec.structs.replace(haproxy_capabilities(versions.get("haproxy", "")), engines=tuple(sorted(versions)))
