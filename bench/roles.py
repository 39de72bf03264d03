"""Processes of Statera that a scenario starts one by one, over a database of its own and without an outside."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import psycopg

from bench.client import connect_api
from bench.engines import list_pids, read_cpu_s
from bench.ground import ONE, append_log
from bench.spent import Counted, read_counted
from statera.base.errors import Lasting
from statera.base.ids import new_id
from statera.base.settings import Settings
from statera.cli.ports import choose_port
from statera.drivers.postgres_embedded import EmbeddedPostgres
from statera.store.migrate import upgrade

HOST = "127.0.0.1"
"""Where they listen."""
AGENT = "bench"
"""The only host that they know."""
STARTS_WITHIN_S = 120.0
STOPS_WITHIN_S = 30.0
Used = Mapping[tuple[str, int], float]
"""Seconds of a core that each process has used so far, by role and pid."""


class Roles(msgspec.Struct, frozen=True, kw_only=True):
    """Processes that run: where the API and the health process listen, and the pids by role and number."""

    api_port: int
    health_port: int
    run_dir: str
    pids: Mapping[str, int]

    def read_metrics(self) -> dict[str, Counted]:
        """Return what each process has counted, by its name."""
        return read_counted(Settings(run_dir=self.run_dir))


@contextlib.contextmanager
def own_cluster() -> Iterator[EmbeddedPostgres]:
    """Give a PostgreSQL that nobody else uses."""
    with _own_folder() as folder:
        cluster = EmbeddedPostgres(folder / "data", folder / "run")
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@contextlib.contextmanager
def make_database(cluster: EmbeddedPostgres) -> Iterator[str]:
    """Give the URL of an empty database with our schema; it is dropped at the end of the block."""
    name = f"bench_{new_id().replace('-', '')}"
    with psycopg.connect(cluster.url, autocommit=True) as link:
        link.execute(f'CREATE DATABASE "{name}"')
    try:
        upgrade(cluster.url_of(name))
        yield cluster.url_of(name)
    finally:
        with psycopg.connect(cluster.url, autocommit=True) as link:
            link.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def running(roles: Sequence[str], database: Mapping[str, str]) -> Iterator[Roles]:
    """Run a process of each of these roles with these settings of the database. When one breaks, their log is kept.

    Raises `Lasting` when one ends, or does not answer within two minutes.
    """
    with _own_folder() as folder:
        api_port, metrics_port = (choose_port(0, socket.SOCK_STREAM) for _ in range(2))
        health_port = choose_port(0, socket.SOCK_DGRAM)
        environment = os.environ | {
            "STATERA_DATA_DIR": str(folder / "data"),
            "STATERA_RUN_DIR": str(folder / "run"),
            "STATERA_COMPUTE__DRIVER": "noop",
            "STATERA_NETWORK__DRIVER": "noop",
            "STATERA_AGENT__NAME": AGENT,
            "STATERA_API__PORT": str(api_port),
            "STATERA_API__PROCESSES": str(max(1, roles.count("api"))),
            "STATERA_METRICS__PORT": str(metrics_port),
            "STATERA_HEALTH__PORT": str(health_port),
        }
        environment |= {f"STATERA_DATABASE__{name.upper()}": value for name, value in database.items()}
        processes: dict[str, subprocess.Popen[bytes]] = {}
        log_path = folder / "log"
        try:
            with log_path.open("ab") as log:
                for number, role in enumerate(roles):
                    words = [sys.executable, "-m", "statera", role]
                    processes[f"{role} {number}"] = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
            pids = {name: process.pid for name, process in processes.items()}
            started = Roles(api_port=api_port, health_port=health_port, run_dir=str(folder / "run"), pids=pids)
            _wait_until_they_answer(started, processes.values())
            yield started
        except Exception:
            append_log(log_path)
            raise
        finally:
            _stop(processes.values())


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="statera-bench-"))
    # PostgreSQL has a user of its own.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _wait_until_they_answer(roles: Roles, processes: Collection["subprocess.Popen[bytes]"]) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        with contextlib.suppress(OSError):
            if len(roles.read_metrics()) == len(processes) and _has_api(roles):
                return
        time.sleep(0.05)
    raise Lasting("bench-failed", f"Of {', '.join(roles.pids)} not all answer.")


def _has_api(roles: Roles) -> bool:
    """Say whether the API answers, if there is one. Raises `OSError` when nobody listens."""
    if any(name.startswith("api") for name in roles.pids):
        with connect_api(HOST, roles.api_port) as api:
            api.request("GET", ONE)
    return True


def _stop(processes: Collection["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOPS_WITHIN_S
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        process.kill()
        process.wait()


def read_used(cluster: EmbeddedPostgres, pids: Mapping[str, int]) -> Used:
    """Return what these processes and those of PostgreSQL have used; some of PostgreSQL's come and go."""
    postmaster = int((cluster.data_dir / "postmaster.pid").read_text(encoding="ascii").split()[0])
    owned = [(name.partition(" ")[0], pid) for name, pid in pids.items()]
    used = {}
    for role, pid in [*owned, *(("PostgreSQL", pid) for pid in list_pids(postmaster))]:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            used[role, pid] = read_cpu_s([pid])
    return used


def sum_used(before: Used, after: Used) -> dict[str, float]:
    """Return the seconds that each role has used in between; what those did who have ended is not known."""
    summed = dict.fromkeys((role for role, _ in after), 0.0)
    for (role, pid), used_s in after.items():
        summed[role] += used_s - before.get((role, pid), 0.0)
    return summed
