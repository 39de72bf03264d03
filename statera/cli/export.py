"""`statera host export`: all that another machine needs to take part, as one archive to be unpacked there.

statera host export two two.tar
scp two.tar two: && ssh two tar -xpf two.tar -C /
"""

import io
import ipaddress
import os
import tarfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from statera.app import (
    ensure_certificates,
    ensure_sealing_key,
    list_heartbeat_targets,
    open_authority,
    open_sealing_keys,
)
from statera.base.errors import Lasting
from statera.base.secret import Secret
from statera.base.settings import DEFAULT_PATHS, HostSettings, Settings

AGENT_SECTIONS = ("data_dir", "run_dir", "networks", "compute", "agent", "log", "metrics", "traces")
"""What an agent reads; it knows neither the database nor tenants."""
AGENT_PORT = 9443


def export_host(settings: Settings, name: str, path: Path, *, controller: bool) -> None:
    """Write the archive, readable by its owner only. Raises `Lasting` when the host could not take part."""
    host = next((one for one in settings.compute.hosts if one.name == name), None)
    if host is None:
        known = ", ".join(one.name for one in settings.compute.hosts) or "none"
        raise Lasting("host-unknown", f"Host {name} is not in compute.hosts, where there is: {known}.")
    _check_reachable(settings, controller=controller)
    ensure_certificates(settings)
    files = _list_files(settings, name, controller=controller)
    options = describe_host(settings, host, controller=controller)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w") as archive:
        os.fchmod(descriptor, 0o600)
        _add(archive, DEFAULT_PATHS[0], msgspec.toml.encode(options))
        for one in files:
            _add(archive, one, one.read_bytes())


def _check_reachable(settings: Settings, *, controller: bool) -> None:
    """Refuse what would work on this machine only."""
    for target in list_heartbeat_targets(settings):
        if _is_loopback(target.rpartition(":")[0].strip("[]")):
            sentence = f"Heartbeats would go to {target}, where other machines find nobody: set health.host, or agent."
            raise Lasting("host-out-of-reach", f"{sentence}heartbeat_targets.")
    if controller and settings.database.is_private:
        sentence = "Another controller cannot reach the private PostgreSQL of this machine: set database.url."
        raise Lasting("host-out-of-reach", sentence)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _list_files(settings: Settings, name: str, *, controller: bool) -> list[Path]:
    authority = open_authority(settings)
    agent = authority.find_agent(name)
    files = [agent.authority, agent.certificate, agent.key]
    if controller:
        ensure_sealing_key(settings)
        own = authority.find_controller()
        files += [own.certificate, own.key]
        if settings.secrets.driver == "local":
            files.append(open_sealing_keys(settings).file)
    return files


def describe_host(settings: Settings, host: HostSettings, *, controller: bool) -> dict[str, Any]:
    """Return the options of the host's own file: those of this one, with the host's name and addresses.

    Addresses that this machine has on bridges are left out: the other one has its own, or none.
    """
    values, usual = _show(settings), _show(Settings())
    url, here = urlsplit(host.url), settings.agent.host
    values["agent"] |= {
        "name": host.name,
        "host": url.hostname,
        "port": url.port or 443,
        "heartbeat_targets": list(list_heartbeat_targets(settings)),
    }
    for section in ("api", "health"):
        if values[section]["host"] == here and not _is_loopback(here):
            values[section]["host"] = url.hostname
    values["networks"] = [network | {"host_addresses": []} for network in values["networks"]]
    sections = values if controller else {name: values[name] for name in AGENT_SECTIONS if name in values}
    return _leave_out(sections, usual) or {}


def _show(settings: Settings) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(settings, enc_hook=_reveal))
    return shown


def _reveal(value: Any) -> Any:
    assert isinstance(value, Secret)
    return value.reveal()


def _leave_out(value: Any, usual: Any) -> Any:
    """Return what differs from the defaults, None for nothing: defaults go with the version that reads the file."""
    if value == usual:
        return None
    if not isinstance(value, dict) or not isinstance(usual, dict):
        return value
    kept = {name: _leave_out(one, usual.get(name)) for name, one in value.items()}
    return {name: one for name, one in kept.items() if one is not None}


def _add(archive: tarfile.TarFile, path: Path, content: bytes) -> None:
    entry = tarfile.TarInfo(str(path.absolute()).lstrip("/"))
    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
    archive.addfile(entry, io.BytesIO(content))
