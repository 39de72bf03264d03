"""What the agent's tests stand on: a bridge, settings of an installation of its own, specs, small web servers."""

import asyncio
import contextlib
import http.server
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from statera.agent.host import AmphoraHost
from statera.agent.purge import purge_host
from statera.base.ids import new_id
from statera.base.settings import Settings, convert_settings
from statera.model.agent_wire import SandboxRequest
from statera.model.amphora import AppliedConfiguration
from statera.model.document import Document
from statera.model.enums import Algorithm, ListenerProtocol, MonitorType, PersistenceType, PoolProtocol
from statera.model.network import Attachment
from statera.model.spec import (
    AmphoraSpec,
    Configuration,
    InterfaceSpec,
    LimitsSpec,
    ListenerSpec,
    MemberSpec,
    MonitorSpec,
    PersistenceSpec,
    PoolSpec,
    SandboxSpec,
)
from statera.render.engine import haproxy_capabilities
from statera.render.haproxy import render_haproxy
from statera.render.paths import SANDBOX_PATHS

WITHIN_S = 15.0
LIMITS = LimitsSpec(memory_mib=128, file_descriptors=4096, cpu_percent=0, max_connections=1000)
HEARTBEAT_KEY = b"k" * 32


class Ground:
    """One bridge and one installation's folders; `number` keeps test runs apart."""

    def __init__(self) -> None:
        number = os.getpid() % 200
        self.bridge = f"sta{os.getpid()}"[:15]
        self.gateway, self.gateway6 = f"10.212.{number}.1", f"fd5b:{os.getpid():x}::1"
        self.vip, self.vip6 = f"10.212.{number}.5", f"fd5b:{os.getpid():x}::5"
        self.folder = Path(tempfile.mkdtemp(prefix="statera agent-"))
        self.run_dir = Path(f"/run/{self.bridge}")
        self.settings = self.make_settings()
        self._hosts: list[AmphoraHost] = []
        self.amphora_id, self.load_balancer_id = new_id(), new_id()
        self.listener_id, self.pool_id = new_id(), new_id()
        self.member_ids = [new_id() for _ in range(4)]

    def make_settings(self, **agent: object) -> Settings:
        # As many as any machine carries whose kernel's tables of neighbours nobody has raised.
        agent = {"amphora_limit": 50} | agent
        values = {"data_dir": str(self.folder / "data"), "run_dir": str(self.run_dir), "agent": agent}
        return convert_settings(values, source="the test")

    def sandbox(self, amphora_id: str | None = None, **changes: Any) -> SandboxSpec:
        attachment = Attachment(
            kind="bridge",
            device=self.bridge,
            create=True,
            host_addresses=(f"{self.gateway}/24", f"{self.gateway6}/64"),
        )
        own = self.gateway.rpartition(".")[0]
        values: dict[str, Any] = {
            "name": "eth0",
            "network_id": self.load_balancer_id,
            "attachment": attachment,
            "mtu": 1500,
            "mac_address": "02:00:00:00:0a:01",
            "addresses": (f"{own}.10/24", f"{self.gateway6[:-1]}10/64"),
            "vips": (self.vip, self.vip6),
            "gateways": (self.gateway, self.gateway6),
        }
        interface = InterfaceSpec(**(values | changes))
        return SandboxSpec(
            amphora_id=amphora_id or self.amphora_id,
            load_balancer_id=self.load_balancer_id,
            interfaces=(interface,),
            limits=LIMITS,
        )

    def request(self, epoch: int = 1, **changes: Any) -> SandboxRequest:
        return SandboxRequest(epoch=epoch, sandbox=self.sandbox(**changes), heartbeat_key=HEARTBEAT_KEY)

    def document(
        self,
        ports: Sequence[int],
        *,
        listen: int = 80,
        monitored: bool | MonitorType = False,
        checking: bool = True,
        cidrs: tuple[str, ...] = (),
        backups: Sequence[int] = (),
        weights: Sequence[int] = (),
        persistence: PersistenceType | None = None,
    ) -> Document:
        """Render one HTTP listener with a member on the gateway for each port; `backups` are some of the ports."""
        listener = ListenerSpec(
            id=self.listener_id,
            protocol=ListenerProtocol.HTTP,
            port=listen,
            addresses=(self.vip, self.vip6),
            max_connections=500,
            timeout_client_ms=5000,
            timeout_connect_ms=5000,
            timeout_server_ms=5000,
            allowed_cidrs=cidrs,
            pool_id=self.pool_id,
        )
        kind = monitored if isinstance(monitored, MonitorType) else MonitorType.HTTP
        monitor = MonitorSpec(
            id=self.pool_id, type=kind, interval_ms=200, timeout_ms=500, rise=1, fall=1, enabled=checking
        )
        shares = [*weights, *(1 for _ in ports[len(weights) :])]
        pool = PoolSpec(
            id=self.pool_id,
            protocol=PoolProtocol.HTTP,
            algorithm=Algorithm.ROUND_ROBIN,
            members=tuple(
                MemberSpec(id=member_id, address=self.gateway, port=port, weight=weight, backup=port in backups)
                for member_id, port, weight in zip(self.member_ids, ports, shares, strict=False)
            ),
            monitor=monitor if monitored else None,
            persistence=PersistenceSpec(type=persistence) if persistence else None,
        )
        spec = AmphoraSpec(
            amphora_id=self.amphora_id,
            load_balancer_id=self.load_balancer_id,
            limits=LIMITS,
            listeners=(listener,),
            pools=(pool,),
        )
        return render_haproxy(spec, haproxy_capabilities("2.6.12"), SANDBOX_PATHS)

    def configuration(self, document: Document | None, generation: int = 1, epoch: int = 1) -> Configuration:
        return Configuration(generation=generation, epoch=epoch, haproxy=document)

    def make_host(self, settings: Settings | None = None) -> AmphoraHost:
        """Return an agent's host that starts nothing again once the ground is removed."""
        self._hosts.append(AmphoraHost(settings or self.settings))
        return self._hosts[-1]

    async def remove(self) -> None:
        for host in self._hosts:
            host.forget_processes()
        await purge_host(self.settings)
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def list_leftovers(self) -> list[str]:
        """Name everything that is still there of this installation."""
        found = [str(path) for path in Path("/run/netns").glob(f"statera-{self.amphora_id}")]
        found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/statera/{self.amphora_id}")]
        found += [str(path) for path in Path("/sys/fs/cgroup/statera").glob(self.amphora_id)]
        links = subprocess.run(["ip", "-o", "link", "show", "master", self.bridge], capture_output=True, text=True)
        return found + links.stdout.splitlines()


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = str(self.connection.getsockname()[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def web_server() -> Iterator[int]:
    """Serve on all addresses of the host, answering with the port; give the port."""
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), _Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def fetch(address: str, port: int = 80) -> str:
    """Return the body, or what went wrong."""

    def run() -> str:
        import httpx

        host = f"[{address}]" if ":" in address else address
        try:
            answer = httpx.get(f"http://{host}:{port}/", timeout=3.0, trust_env=False)
        except httpx.TransportError as error:
            return type(error).__name__
        return answer.text if answer.status_code == 200 else str(answer.status_code)

    return await asyncio.to_thread(run)


async def eventually(condition: Callable[[], Awaitable[object]], what: str, *, within_s: float = WITHIN_S) -> None:
    """Look until the condition is true; say what it last gave when it does not come."""
    deadline = time.monotonic() + within_s
    last: object = None
    while time.monotonic() < deadline:
        last = await condition()
        if last:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what} did not come within {within_s:.0f} s; last seen: {last}")


def means(applied: AppliedConfiguration) -> str:
    return applied.means
