"""A whole installation with real traffic for each module of end-to-end tests, and what is left of it afterwards."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from statera.cli.playground import Playground, WebServer

HAPROXY_WRAPPER = """#!/bin/sh
# The real HAProxy, unless the test wants every check to fail.
if [ "$1" = -c ] && [ -e "{mark}" ]; then echo "[ALERT] (1) : config : refused by the test" >&2; exit 1; fi
exec haproxy "$@"
"""


class Installation:
    """A playground with three web servers, and ways to hurt it."""

    def __init__(self, playground: Playground, mark: Path) -> None:
        self.playground = playground
        self.servers: list[WebServer] = []
        self.mark = mark

    def find_process(self, role: str) -> int:
        """Return the pid of one role's process, once it is there."""
        pid = self.playground.wait_for(lambda: self.look_for(role), f"The process of {role}")
        return int(pid)

    def look_for(self, role: str) -> int | None:
        return next(
            (pid for pid, words in list_processes() if words[1:4] == ["-m", "statera", role] and self._owns(words)),
            None,
        )

    def _owns(self, words: list[str]) -> bool:
        return str(self.playground.config_path) in words

    def kill(self, role: str) -> int:
        """Kill a role's process as a crash would; return the pid it had."""
        pid = self.find_process(role)
        os.kill(pid, signal.SIGKILL)
        return pid

    def find_haproxy(self, namespace: str) -> list[int]:
        """Return HAProxy's processes in a namespace."""
        done = subprocess.run(["ip", "netns", "pids", namespace], check=False, capture_output=True, text=True)
        return [int(pid) for pid in done.stdout.split()]

    def list_namespaces(self) -> list[str]:
        """Name the sandboxes of this installation: those that its agent keeps a folder of."""
        kept = self.playground.data_dir / "amphorae"
        return sorted(f"statera-{path.name}" for path in kept.iterdir()) if kept.is_dir() else []

    def events(self, load_balancer_id: str) -> list[dict[str, Any]]:
        answer = self.playground.request("GET", f"/v2/lbaas/loadbalancers/{load_balancer_id}/events")
        return list(answer["events"])


def list_processes() -> Iterator[tuple[int, list[str]]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        yield int(path.parent.name), words


def list_leftovers(playground: Playground) -> list[str]:
    """Name whatever of the installation is still on this machine."""
    found = [str(path) for path in Path("/run/netns").glob(f"{playground.bridge}*")]
    found += [
        f"process {pid}: {words}" for pid, words in list_processes() if str(playground.data_dir) in " ".join(words)
    ]
    links = subprocess.run(["ip", "-o", "link"], check=True, capture_output=True, text=True).stdout
    found += re.findall(rf"^\d+: ({re.escape(playground.bridge)}\S*?)[:@]", links, re.MULTILINE)
    found += [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(playground.run_dir) in line]
    found += [str(folder) for folder in (playground.data_dir, playground.run_dir) if folder.exists()]
    return found


@contextmanager
def make_installation(tag: str, **overrides: Any) -> Iterator[Installation]:
    """Start an installation, give it, and remove it whatever happens; nothing may be left."""
    data_dir = Path(f"/var/tmp/statera e2e-{tag}")
    Playground(tag, data_dir).remove()
    mark, wrapper = Path(f"/run/lock/statera-{tag}-refuse"), Path(f"/run/lock/statera-{tag}-haproxy")
    wrapper.write_text(HAPROXY_WRAPPER.format(mark=mark))
    wrapper.chmod(0o755)
    agent = {"haproxy": str(wrapper)} | overrides.pop("agent", {})
    playground = Playground(tag, data_dir, overrides={"agent": agent, **overrides})
    installation = Installation(playground, mark)
    sandboxes: list[str] = []
    try:
        playground.make_network()
        installation.servers = [playground.start_web_server() for _ in range(3)]
        playground.start_installation()
        yield installation
        sandboxes = installation.list_namespaces()
    except BaseException:
        print(playground.log_path.read_text(errors="replace")[-20_000:] if playground.log_path.exists() else "no log")
        raise
    finally:
        playground.remove()
        mark.unlink(missing_ok=True)
        wrapper.unlink(missing_ok=True)
    left = list_leftovers(playground) + [name for name in sandboxes if Path("/run/netns", name).exists()]
    assert left == []


@pytest.fixture(scope="session", autouse=True)
def _root_only() -> None:
    if os.geteuid() != 0 and not os.environ.get("CI"):
        pytest.skip("makes network namespaces and runs a whole installation: needs root")


@pytest.fixture(scope="module")
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """One installation for the tests of a module."""
    tag = f"e{os.getpid() % 10_000}"
    overrides: Callable[[], dict[str, Any]] = getattr(request.module, "make_overrides", dict)
    with make_installation(tag, **overrides()) as made:
        yield made
