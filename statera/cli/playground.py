"""A whole installation of its own beside a bridge with small web servers: the demonstration, the benchmarks and the
end-to-end tests run on it.

Everything carries the playground's tag, so that what a crash left behind is found and removed at the next start.
"""

import contextlib
import http.client
import ipaddress
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import tomli_w

from statera.app import open_embedded_postgres, purge_host, render_client_configuration
from statera.base.errors import Lasting, StateraError
from statera.base.files import locked
from statera.base.processes import is_alive
from statera.base.settings import Settings, convert_settings
from statera.cli.ports import choose_port
from statera.cli.preflight import find_program

CANDIDATES = tuple(f"10.{second}.{third}.0/24" for second in (213, 214, 215) for third in range(64, 96))
SUBNET_NAME, SUBNET6_NAME = "demo-subnet", "demo-subnet6"
HOST_NUMBER = 1
FIRST_ALLOCATED, LAST_ALLOCATED = 10, 199
FIRST_WEB_NUMBER = 200
FIRST_ALLOCATED6, LAST_ALLOCATED6 = 0x1000, 0xFFFF
"""Beyond the web servers' own: a load balancer that has a member's address answers in its place."""
WEB_PORT = 8080
API_WITHIN_S = 60.0
WITHIN_S = 30.0
STOP_WITHIN_S = 30.0
POLL_S, POLL_MOST_S, POLL_SHARE = 0.02, 0.1, 0.05
"""Between two looks at what is awaited: a share of the time waited so far, and these at least and at most."""
LOCK_FILE = Path("/run/lock/statera-playground")


class WebServer(msgspec.Struct, kw_only=True):
    """One small web server that answers every request with its own name."""

    name: str
    namespace: str
    address: str
    address6: str
    process: subprocess.Popen[bytes] | None = None


class Playground:
    """One installation; `start` makes it, `remove` leaves nothing.

    `tag` is at most 6 letters or digits, and no other playground on the machine has it. With `usual_ports` it listens
    where an installation does by default, as far as those ports are free; else on any, so that many can start at once.
    """

    def __init__(
        self,
        tag: str,
        data_dir: Path,
        *,
        overrides: Mapping[str, Any] | None = None,
        usual_ports: bool = False,
    ) -> None:
        self._usual_ports = usual_ports
        self.tag = tag
        self.bridge = f"st-{tag}"
        self.data_dir = data_dir
        self.run_dir = Path(f"/run/statera-{tag}")
        self.overrides = overrides or {}
        self.config_path = data_dir / "statera.toml"
        self.clouds_path = data_dir / "clouds.yaml"
        self.log_path = data_dir / "statera.log"
        self.servers: list[WebServer] = []
        self.up: subprocess.Popen[bytes] | None = None
        self.subnet = self.subnet6 = ""
        self.settings = self._make_settings(CANDIDATES[0], "fd5a::/64")
        self.client = httpx.Client(timeout=15.0)

    @property
    def api_url(self) -> str:
        return f"http://{self.settings.api.host}:{self.settings.api.port}"

    # The installation

    def start(self) -> None:
        """Make the bridge, write the configuration, start `statera up` and wait for its API. Raises `Lasting`."""
        self.make_network()
        self.start_installation()

    def start_installation(self) -> None:
        """Start `statera up` on the network that is there, and wait for its API."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir.chmod(0o755)
        values = msgspec.to_builtins(self.settings, enc_hook=lambda secret: secret.reveal())
        self.config_path.write_text(tomli_w.dumps(_plain(values)), encoding="utf-8")
        self.clouds_path.write_text(render_client_configuration(self.settings), encoding="utf-8")
        words = [sys.executable, "-m", "statera", "up", "--config", str(self.config_path)]
        with self.log_path.open("ab") as log:
            self.up = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True)
        self.client.base_url = httpx.URL(self.api_url)
        self.wait_for(self._is_api_up, "The API", API_WITHIN_S)

    def _is_api_up(self) -> bool:
        if self.up is not None and self.up.poll() is not None:
            raise Lasting("playground-failed", f"`statera up` ended with {self.up.returncode}; see {self.log_path}.")
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/v2/lbaas/loadbalancers").status_code == 200
        return False

    def stop_installation(self) -> None:
        """Stop `statera up` as Ctrl-C does; sandboxes go on serving."""
        if self.up is None:
            return
        if self.up.poll() is None:
            self.up.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.up.wait(STOP_WITHIN_S)
        if self.up.poll() is None:
            os.killpg(self.up.pid, signal.SIGKILL)
            self.up.wait()
        self.up = None

    def remove(self) -> None:
        """Remove everything, at any point and after a crash of an earlier run with this tag."""
        self.client.close()
        self.stop_installation()
        for pid in _list_stray(self.config_path):
            _end(pid)
        if (self.data_dir / "postgres").exists():
            open_embedded_postgres(self.settings).stop()
        purge_host(self.settings)
        self._remove_network()
        for folder in (self.data_dir, self.run_dir):
            shutil.rmtree(folder, ignore_errors=True)

    def _make_settings(self, subnet: str, subnet6: str) -> Settings:
        first, last = host_number(subnet, FIRST_ALLOCATED), host_number(subnet, LAST_ALLOCATED)
        v4 = {"name": SUBNET_NAME, "cidr": subnet, "gateway": host_number(subnet, HOST_NUMBER)}
        v6: dict[str, Any] = {"name": SUBNET6_NAME, "cidr": subnet6, "gateway": host_number(subnet6, HOST_NUMBER)}
        first6, last6 = host_number(subnet6, FIRST_ALLOCATED6), host_number(subnet6, LAST_ALLOCATED6)
        v6["allocation"] = [f"{first6}-{last6}"]
        values: dict[str, Any] = {
            "data_dir": str(self.data_dir),
            "run_dir": str(self.run_dir),
            "networks": [
                {"name": "demo", "device": self.bridge, "subnets": [v4 | {"allocation": [f"{first}-{last}"]}, v6]}
            ],
            "api": {"port": self._choose_port(9876, socket.SOCK_STREAM)},
            "agent": {"port": self._choose_port(9443, socket.SOCK_STREAM), "heartbeat_interval_s": 1.0},
            "health": {"port": self._choose_port(5555, socket.SOCK_DGRAM)},
            "metrics": {"port": self._choose_port(9464, socket.SOCK_STREAM)},
        }
        for section, options in self.overrides.items():
            values[section] = values.get(section, {}) | options if isinstance(options, dict) else options
        return convert_settings(values, source="the playground")

    def _choose_port(self, usual: int, kind: socket.SocketKind) -> int:
        return choose_port(usual if self._usual_ports else 0, kind)

    # The network

    def make_network(self) -> None:
        """Make the bridge on a subnet that nothing else uses, with the gateway's addresses on it."""
        LOCK_FILE.parent.mkdir(parents=True, exist_ok=True)
        with locked(LOCK_FILE, waits=True):
            self.subnet = choose_subnet()
            # A private IPv6 range (RFC 4193) that follows the IPv4 one, so that two playgrounds never share it.
            second, third = ipaddress.ip_network(self.subnet).network_address.packed[1:3]
            self.subnet6 = f"fd5a:7e4a:{second:x}:{third:x}::/64"
            # A bridge without a MAC of its own takes another one whenever ports come and go: those who know it lose it.
            address = f"02:00:0a:{second:02x}:{third:02x}:{HOST_NUMBER:02x}"
            run_ip("link", "add", self.bridge, "address", address, "type", "bridge")
            for network in (self.subnet, self.subnet6):
                length = ipaddress.ip_network(network).prefixlen
                flags = ["nodad"] if ":" in network else []
                run_ip("address", "add", f"{host_number(network, HOST_NUMBER)}/{length}", "dev", self.bridge, *flags)
            run_ip("link", "set", self.bridge, "up")
        self.settings = self._make_settings(self.subnet, self.subnet6)

    def start_web_server(self) -> WebServer:
        """Make the next namespace on the bridge, start its web server and wait until it answers."""
        number = len(self.servers) + 1
        server = WebServer(
            name=f"web{number}",
            namespace=f"{self.bridge}-web{number}",
            address=host_number(self.subnet, FIRST_WEB_NUMBER + number),
            address6=host_number(self.subnet6, FIRST_WEB_NUMBER + number),
        )
        self.servers.append(server)
        outside = f"{self.bridge}w{number}"
        run_ip("netns", "add", server.namespace)
        run_ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", server.namespace)
        run_ip("link", "set", outside, "master", self.bridge, "up")
        inside = ("-n", server.namespace)
        run_ip(*inside, "address", "add", f"{server.address}/24", "dev", "eth0")
        run_ip(*inside, "address", "add", f"{server.address6}/64", "dev", "eth0", "nodad")
        run_ip(*inside, "link", "set", "lo", "up")
        run_ip(*inside, "link", "set", "eth0", "up")
        self.run_web_process(server)
        return server

    def run_web_process(self, server: WebServer) -> None:
        """Start a server's process in its namespace and wait until it answers."""
        source = Path(__file__).with_name("playground_web.py")
        words = ["netns", "exec", server.namespace, sys.executable, "-S", str(source), server.name, str(WEB_PORT)]
        server.process = subprocess.Popen([_ip(), *words], stdout=subprocess.DEVNULL, start_new_session=True)
        self.wait_for(lambda: ask(server.address, WEB_PORT), server.name)

    def stop_web_process(self, server: WebServer) -> None:
        """Kill a server's process as a crash would."""
        if server.process is not None:
            server.process.kill()
            server.process.wait()
            server.process = None

    def _remove_network(self) -> None:
        for server in self.servers:
            self.stop_web_process(server)
        for name in _list_namespaces(f"{self.bridge}-web"):
            for pid in _list_pids(name):
                _kill(pid)
            _quietly("netns", "delete", name)
        # A namespace lives on for minutes while a connection of its dead server waits for a peer that is gone too.
        for name in os.listdir("/sys/class/net"):
            if name.startswith(f"{self.bridge}w"):
                _quietly("link", "delete", name)
        _quietly("link", "delete", self.bridge)

    # The API, as a tenant uses it

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request to the API and return the decoded answer. Raises `Lasting` with the answer's words."""
        answer = self.client.request(method, path, json=body)
        if answer.status_code >= 300:
            raise Lasting("playground-failed", f"{method} {path} answered {answer.status_code}: {answer.text}")
        return answer.json() if answer.content else None

    def create_load_balancer(self, name: str, servers: Sequence[WebServer], **wanted: Any) -> Any:
        """Create an HTTP load balancer on port 80 for these servers in one call; return the API's object."""
        members = [{"name": s.name, "address": s.address, "protocol_port": WEB_PORT} for s in servers]
        monitor = {"type": "HTTP", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1, "url_path": "/"}
        pool = {
            "name": f"{name}-pool", "protocol": "HTTP", "lb_algorithm": "ROUND_ROBIN",
            "members": members, "healthmonitor": monitor,
        }  # fmt: skip
        listener = {"name": f"{name}-http", "protocol": "HTTP", "protocol_port": 80, "default_pool": pool}
        body = {"name": name, "vip_subnet_id": self.find_subnet_id(), "listeners": [listener]} | wanted
        return self.request("POST", "/v2/lbaas/loadbalancers", {"loadbalancer": body})["loadbalancer"]

    def find_subnet_id(self, name: str = SUBNET_NAME) -> str:
        """Look a subnet up by its name, as the openstack command does."""
        return str(self.request("GET", f"/network/v2.0/subnets?name={name}")["subnets"][0]["id"])

    def show(self, load_balancer_id: str) -> Any:
        """Return the API's view of a load balancer, None when it is gone."""
        answer = self.client.get(f"/v2/lbaas/loadbalancers/{load_balancer_id}")
        return None if answer.status_code == 404 else answer.json()["loadbalancer"]

    def wait_active(self, load_balancer_id: str, within_s: float = WITHIN_S) -> Any:
        """Wait until a load balancer is ACTIVE at its newest generation and return it."""
        last: Any = None

        def is_active() -> Any:
            nonlocal last
            last = self.show(load_balancer_id)
            settled = last and last["generation"] == last["observed_generation"]
            return last if settled and last["provisioning_status"] == "ACTIVE" else None

        return self.wait_for(is_active, "ACTIVE", within_s, lambda: f"Last seen: {json.dumps(last)}")

    def wait_gone(self, load_balancer_id: str, within_s: float = WITHIN_S) -> None:
        """Wait until a deleted load balancer answers 404."""
        self.wait_for(
            lambda: self.show(load_balancer_id) is None,
            "404",
            within_s,
            lambda: f"Last seen: {json.dumps(self.show(load_balancer_id))}",
        )

    def wait_for(
        self,
        condition: Callable[[], Any],
        what: str,
        within_s: float = WITHIN_S,
        explain: Callable[[], str] = lambda: "",
    ) -> Any:
        """Look until the condition is true and return what it gave. Raises `Lasting` that says what did not come."""
        begun = now = time.monotonic()
        while now < begun + within_s:
            if found := condition():
                return found
            # Each look takes time from those who are awaited.
            time.sleep(min(max((now - begun) * POLL_SHARE, POLL_S), POLL_MOST_S))
            now = time.monotonic()
        why = ""
        with contextlib.suppress(httpx.TransportError, StateraError):
            why = explain()
        raise Lasting("playground-failed", f"{what} did not come within {within_s:.0f} s. {why}")


def ask(address: str, port: int = 80, *, timeout_s: float = 5.0) -> str | None:
    """Send one HTTP request on a connection of its own; return the body's text, None when it failed."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout_s)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace").strip()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if answer.status == 200 else None


def choose_subnet() -> str:
    """Return the first candidate network that overlaps none of this machine's routes. Raises `Lasting`."""
    used = [_route_network(route.get("dst", "")) for route in json.loads(run_ip("-j", "-4", "route") or "[]")]
    for candidate in CANDIDATES:
        network = ipaddress.IPv4Network(candidate)
        if not any(other is not None and other.overlaps(network) for other in used):
            return candidate
    raise Lasting("playground-failed", f"All networks from {CANDIDATES[0]} to {CANDIDATES[-1]} are in use here.")


def _route_network(text: str) -> ipaddress.IPv4Network | None:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        return None
    return network if network.prefixlen > 0 else None


def host_number(subnet: str, number: int) -> str:
    """Return the address with this number in the subnet."""
    return str(ipaddress.ip_network(subnet)[number])


def run_ip(*words: str) -> str:
    """Run `ip` and return what it printed. Raises `Lasting` with its words."""
    done = subprocess.run([_ip(), *words], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise Lasting("playground-failed", f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _ip() -> str:
    return find_program("ip") or "ip"


def _quietly(*words: str) -> None:
    subprocess.run([_ip(), *words], check=False, capture_output=True)


def _list_namespaces(prefix: str) -> list[str]:
    folder = Path("/run/netns")
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return [name for name in names if name.startswith(prefix)]


def _list_pids(namespace: str) -> Iterator[int]:
    done = subprocess.run([_ip(), "netns", "pids", namespace], check=False, capture_output=True, text=True)
    return map(int, done.stdout.split())


def _list_stray(config_path: Path) -> list[int]:
    """Return the supervisors on this configuration that a crashed run left behind."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            if words[1:4] == ["-m", "statera", "up"] and str(config_path) in words:
                found.append(int(path.parent.name))
    return found


def _end(pid: int) -> None:
    """Stop a supervisor as Ctrl-C does, so that it stops its own processes; kill it when it does not."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_WITHIN_S
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    _kill(pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 2.0
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
