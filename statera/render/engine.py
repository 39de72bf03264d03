"""What the engines that are installed on a host can do, from their versions."""

import re
from collections.abc import Mapping

import msgspec

from statera.model.engines import COMMON_ENGINES


class EngineCapabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Features that decide what is rendered and what needs a reload."""

    version: tuple[int, int, int]
    dynamic_servers: bool
    """`add server` with health checks over the runtime socket, out of experimental mode (HAProxy 2.6)."""
    engines: tuple[str, ...] = COMMON_ENGINES
    """All that the host has."""

    @property
    def has_http_client(self) -> bool:
        """Say whether it has an HTTP client of its own (HAProxy 2.6)."""
        return self.version >= (2, 6, 0)


def haproxy_capabilities(version: str) -> EngineCapabilities:
    """Return the capabilities of a version text such as `2.6.12-1+deb12u1`; an unknown one counts as 2.6.0."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    major, minor, patch = (int(part or 0) for part in found.groups()) if found else (2, 6, 0)
    return EngineCapabilities(version=(major, minor, patch), dynamic_servers=(major, minor) >= (2, 6))


def read_capabilities(versions: Mapping[str, str]) -> EngineCapabilities:
    """Return the capabilities of a host from its versions by engine."""
    return msgspec.structs.replace(haproxy_capabilities(versions.get("haproxy", "")), engines=tuple(sorted(versions)))
