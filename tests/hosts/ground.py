"""A deployment over several hosts on one machine: hosts with agents, controllers over one PostgreSQL, web servers.

Two bridges stand here in the root namespace. One is the management network: each host has a leg in it, and we are the
control machine. The other one is the provider network, with the web servers on it; each host has a bridge of its own
with an uplink into it. Everything carries the tag, as on a `Playground`, whose means to talk to the API it has.

    with raise_ground("mytag", hosts=2) as ground:
        made = ground.create_load_balancer("one", ground.servers)
        ground.wait_active(made["id"])
        ground.machines["a"].power_off()
"""

import contextlib
import os
import shutil
import signal
import socket
import string
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import tomli_w

from statera.app import ensure_certificates, ensure_sealing_key, open_embedded_postgres, pki_dir, upgrade_database
from statera.base.errors import Lasting
from statera.base.files import locked
from statera.base.settings import Settings, convert_settings
from statera.cli.playground import (
    API_WITHIN_S,
    CANDIDATES,
    FIRST_WEB_NUMBER,
    LOCK_FILE,
    WEB_PORT,
    Playground,
    choose_subnet,
    host_number,
    run_ip,
)
from statera.cli.ports import choose_port
from tests.hosts.machine import Leg, Machine
from tests.hosts.service import STATERA, Service

MANAGEMENT, PROVIDER = "management", "provider"
"""The legs of every host."""
AGENT_PORT, HEALTH_PORT = 9443, 5555
FIRST_HOST_NUMBER = 11
FIRST_HOST_WEB_NUMBER = FIRST_WEB_NUMBER + 30


class Ground(Playground):
    """Hosts are named a, b, c ...; `zones` gives some of them a compute zone; `overrides` are options of all.

    With `disk_mib` each host has a disk of that size. APIs that share a port need `api.processes` above 1. `launch`
    returns how the process of this name is started.
    """

    def __init__(
        self,
        tag: str,
        *,
        hosts: int = 2,
        apis: int = 1,
        workers: int = 1,
        healths: int = 1,
        zones: Mapping[str, str] | None = None,
        overrides: Mapping[str, Any] | None = None,
        disk_mib: int = 0,
        shares_port: bool = False,
        launch: Callable[[str], Sequence[str]] = lambda _: STATERA,
    ) -> None:
        self._disk_mib = disk_mib
        self._launch = launch
        self._zones = zones or {}
        self._names = list(string.ascii_lowercase[:hosts])
        self._counts = {"api": apis, "worker": workers, "health": healths}
        self._api_ports = [choose_port(0, socket.SOCK_STREAM) for _ in range(apis)]
        if shares_port:
            self._api_ports = self._api_ports[:1] * apis
        self.management = f"sm-{tag}"
        self.management_subnet = CANDIDATES[0]
        super().__init__(tag, Path(f"/var/tmp/statera hosts-{tag}"), overrides=overrides)
        self.database = open_embedded_postgres(self.settings)
        self.machines: dict[str, Machine] = {}
        self.agents: dict[str, Service] = {}
        self.controllers: dict[str, Service] = {}
        """By name: api1, worker1, worker2, health1 ..."""
        self.clients: list[httpx.Client] = []
        """One for each API; `client` is the first."""

    # Settings

    def _make_settings(self, subnet: str, subnet6: str) -> Settings:
        values = msgspec.to_builtins(super()._make_settings(subnet, subnet6), enc_hook=lambda secret: secret.reveal())
        values["api"]["port"] = self._api_ports[0]
        values["health"] |= {"host": self._management_address(1), "port": HEALTH_PORT}
        values["agent"]["heartbeat_targets"] = [
            f"{self._management_address(1)}:{HEALTH_PORT + number}" for number in range(self._counts["health"])
        ]
        values["compute"]["hosts"] = [
            {"name": name, "url": f"https://{self._address_of(name)}:{AGENT_PORT}", "zone": self._zones.get(name, "")}
            for name in self._names
        ]
        return convert_settings(values, source="the ground")

    def _management_address(self, number: int) -> str:
        return host_number(self.management_subnet, number)

    def _address_of(self, host: str) -> str:
        return self._management_address(FIRST_HOST_NUMBER + self._names.index(host))

    def _settings_of(self, host: str) -> Settings:
        """Return what the agent of a host reads: its own folders and addresses."""
        values = msgspec.to_builtins(self.settings, enc_hook=lambda secret: secret.reveal())
        values |= {"data_dir": str(self._disk_of(host)), "run_dir": "/run/statera"}
        values["agent"] |= {"name": host, "host": self._address_of(host), "port": AGENT_PORT}
        own = {"create": True, "uplink": PROVIDER, "host_addresses": [f"{self.web_address_of(host)}/24"]}
        values["networks"] = [network | own for network in values["networks"]]
        return convert_settings(values, source=f"host {host}")

    def _disk_of(self, host: str) -> Path:
        return self.data_dir / "hosts" / host

    # Network

    def make_network(self) -> None:
        """Make both bridges on subnets that nothing else uses."""
        super().make_network()
        with locked(LOCK_FILE, waits=True):
            self.management_subnet = choose_subnet()
            run_ip("link", "add", self.management, "type", "bridge")
            run_ip("address", "add", f"{self._management_address(1)}/24", "dev", self.management)
            run_ip("link", "set", self.management, "up")
        self.settings = self._make_settings(self.subnet, self.subnet6)

    # The installation

    def start_installation(self) -> None:
        """Start hosts with agents, PostgreSQL and the controllers; return when every API answers."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir.chmod(0o755)
        _write_settings(self.config_path, self.settings)
        ensure_certificates(self.settings)
        ensure_sealing_key(self.settings)
        for name in self._names:
            self._make_host(name)
        self.start_database()
        upgrade_database(self.settings)
        for role, count in self._counts.items():
            for number in range(count):
                self._start_controller(role, number)
        self.clients = [httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15.0) for port in self._api_ports]
        self.client.base_url = self.clients[0].base_url
        for client in self.clients:
            self.wait_for(partial(_answers, client), "The API", API_WITHIN_S)
        self.wait_for(self._all_agents_answer, "An agent", API_WITHIN_S)

    def start_database(self) -> None:
        self.database = open_embedded_postgres(self.settings)
        self.database.start()
        with psycopg.connect(self.database.url_of("postgres"), autocommit=True) as connection:
            # What is lost with this machine's power no test needs; PostgreSQL itself may be killed all the same.
            for option in ("fsync", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {option} = off")
            connection.execute("SELECT pg_reload_conf()")

    def _make_host(self, name: str) -> None:
        number = self._names.index(name) + 1
        legs = [
            Leg(
                inside=MANAGEMENT,
                outside=f"{self.management}h{number}",
                bridge=self.management,
                addresses=(f"{self._address_of(name)}/24",),
            ),
            Leg(inside=PROVIDER, outside=f"{self.bridge}h{number}", bridge=self.bridge),
        ]
        machine = self.machines[name] = Machine(name, self._disk_of(name), legs, disk_mib=self._disk_mib)
        settings = self._settings_of(name)
        config = machine.disk / "statera.toml"
        log = self.data_dir / f"agent-{name}.log"
        launcher = self._launch(f"agent-{name}")
        self.agents[name] = Service(f"agent-{name}", "agent", config, log, machine=machine, launcher=launcher)
        machine.make_disk()
        _write_settings(config, settings)
        pki = pki_dir(settings)
        pki.mkdir(mode=0o700, exist_ok=True)
        for file in ("ca.pem", f"agent-{name}.pem", f"agent-{name}.key"):
            shutil.copy2(pki_dir(self.settings) / file, pki)
        self.start_host(name)

    def start_host(self, name: str) -> None:
        """Boot a host and start its agent, which makes its bridge with the uplink."""
        self.machines[name].boot()
        self.agents[name].start()

    def stop_host(self, name: str) -> None:
        """Take a host's power away; `start_host` brings it back with what is on its disk."""
        self.machines[name].power_off()
        self.agents[name].kill()

    def web_address_of(self, host: str) -> str:
        """Return the address that a host itself has on the provider network."""
        return host_number(self.subnet, FIRST_HOST_WEB_NUMBER + self._names.index(host))

    def start_web_server_on(self, host: str) -> str:
        """Start a web server on a host itself, which answers with the host's name; return its address."""
        machine, address = self.machines[host], self.web_address_of(host)
        source = Path(sys.modules[Playground.__module__].__file__ or "").with_name("playground_web.py")
        with open(os.devnull, "wb") as log:
            machine.start([sys.executable, "-S", str(source), f"host-{host}", str(WEB_PORT)], log)
        return address

    def _start_controller(self, role: str, number: int) -> None:
        options = {
            "api": {"STATERA_API__PORT": str(self._api_ports[number % len(self._api_ports)])},
            "health": {"STATERA_HEALTH__PORT": str(HEALTH_PORT + number)},
        }
        name = f"{role}{number + 1}"
        log = self.data_dir / f"{name}.log"
        service = Service(name, role, self.config_path, log, options=options.get(role), launcher=self._launch(name))
        self.controllers[name] = service
        service.start()

    def _all_agents_answer(self) -> bool:
        for name in self._names:
            try:
                socket.create_connection((self._address_of(name), AGENT_PORT), timeout=1.0).close()
            except OSError:
                return False
        return True

    def stop_installation(self) -> None:
        """Stop all processes of Statera; sandboxes go on serving on hosts that are on."""
        for service in [*self.controllers.values(), *self.agents.values()]:
            service.kill()
        for client in self.clients:
            client.close()

    def remove(self) -> None:
        """Remove everything, at any point and after a crash of an earlier run with this tag."""
        self.stop_installation()
        for machine in self.machines.values():
            machine.power_off()
        if (self.data_dir / "postgres").exists():
            open_embedded_postgres(self.settings).stop()
        _kill_strays(str(self.data_dir))
        for name in self._names:
            machine = Machine(name, self._disk_of(name), ())
            machine.forget_sandboxes()
            machine.remove_disk()
        super().remove()
        for link in [name for name in os.listdir("/sys/class/net") if name.startswith((self.management, self.bridge))]:
            subprocess.run(["ip", "link", "delete", link], check=False, capture_output=True)

    # What is where

    def list_amphorae(self, load_balancer_id: str = "") -> list[Any]:
        """Return the amphorae, of one load balancer or all, as an admin sees them; `compute_id` is the host."""
        query = f"?loadbalancer_id={load_balancer_id}" if load_balancer_id else ""
        return list(self.request("GET", f"/v2/octavia/amphorae{query}")["amphorae"])

    def find_holders(self, address: str) -> list[tuple[str, str]]:
        """Return (host, amphora) of every sandbox that has this address; two of them for one VIP are one too many."""
        return [
            (name, amphora_id)
            for name, machine in self.machines.items()
            if machine.is_on
            for amphora_id in machine.list_sandboxes()
            if address in machine.list_addresses(amphora_id)
        ]

    def read_logs(self, most_bytes: int = 8_000) -> str:
        """Return the ends of all logs."""
        ends = [
            f"--- {path.name}\n{path.read_text(errors='replace')[-most_bytes:]}"
            for path in sorted(self.data_dir.glob("*.log"))
        ]
        return "\n".join(ends)


def _write_settings(path: Path, settings: Settings) -> None:
    values = msgspec.to_builtins(settings, enc_hook=lambda secret: secret.reveal())
    path.write_text(tomli_w.dumps(values), encoding="utf-8")


def _answers(client: httpx.Client) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return client.get("/v2/lbaas/loadbalancers").status_code == 200
    return False


def _kill_strays(mark: str) -> None:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().decode(errors="replace") and int(path.parent.name) != os.getpid():
                os.kill(int(path.parent.name), signal.SIGKILL)


@contextlib.contextmanager
def raise_ground(tag: str, *, servers: int = 2, **options: Any) -> Iterator[Ground]:
    """Give a running ground with this many web servers and remove it whatever happens; `options` as of `Ground`."""
    ground = Ground(tag, **options)
    ground.remove()
    ground = Ground(tag, **options)
    try:
        ground.make_network()
        for _ in range(servers):
            ground.start_web_server()
        ground.start_installation()
        yield ground
    except BaseException:
        print(ground.read_logs())
        raise
    finally:
        ground.remove()
    if left := list_leftovers(ground):
        raise Lasting("ground-not-removed", f"What the ground left behind: {left}")


def list_leftovers(ground: Ground) -> list[str]:
    """Name whatever of a ground is still on this machine."""
    prefixes = (ground.bridge, ground.management)
    found = [f"link {name}" for name in os.listdir("/sys/class/net") if name.startswith(prefixes)]
    found += [str(path) for path in Path("/run/netns").glob(f"{ground.bridge}*")]
    found += [str(folder) for folder in (ground.data_dir, ground.run_dir) if folder.exists()]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(ground.data_dir) in path.read_bytes().decode(errors="replace"):
                found.append(f"process {path.parent.name}")
    return found
