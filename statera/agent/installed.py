"""Which engines this host has, and what they and its kernel can do."""

import contextlib
import os
import re
import shutil
import socket
import subprocess

from statera.agent import keepalived
from statera.agent.ipvs import find_version
from statera.agent.nginx import find_stream_module
from statera.base.settings import Settings
from statera.model.engines import EXPORTER, SCTP, EngineName


def find_engine_versions(settings: Settings) -> dict[str, str]:
    """Return the versions of the engines that are installed here."""
    programs = {"haproxy": [settings.agent.haproxy, "-v"], keepalived.PROGRAM: [keepalived.PROGRAM, "--version"]}
    versions = {}
    if find_stream_module(settings.agent.nginx) is not None:
        programs[EngineName.NGINX] = [settings.agent.nginx, "-v"]
    for name, command in programs.items():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10.0)
            if found := read_version(done.stdout + done.stderr):
                versions[name] = found
    if EngineName.HAPROXY in versions and _has_exporter(settings.agent.haproxy):
        versions[EXPORTER] = versions[EngineName.HAPROXY]
    if _speaks_sctp():
        versions[SCTP] = os.uname().release
    # Nothing is loaded for it: whoever loads the module decides that it is used.
    has_tools = keepalived.PROGRAM in versions and shutil.which("nft") is not None
    if settings.agent.ipvs and has_tools and (version := find_version()):
        versions[EngineName.LVS] = version
    return versions


def _speaks_sctp() -> bool:
    """Try it: the kernel may load what it needs for it (sctp(7))."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP):
        return True
    return False


def read_version(told: str) -> str:
    """Return the version that a program tells first, "" when it tells none."""
    found = re.search(r"([0-9]{1,4}\.[0-9]{1,4}(?:\.[0-9]{1,4})?)", told)
    return found[1] if found else ""


def _has_exporter(haproxy: str) -> bool:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run([haproxy, "-vv"], check=False, capture_output=True, text=True, timeout=10.0)
        return EXPORTER in done.stdout
    return False
