"""What changes while HAProxy runs, under load: members, values of L7 rules, certificates. None may cost a request."""

import base64
import ssl
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from bench.client import ApiConnection, ask_name
from bench.engines import count_reloads
from bench.figures import Figure, median, spread
from bench.ground import ONE, Ground
from bench.load import LoadOptions, RunningLoad, describe_load, making_load
from statera.cli.playground import WEB_PORT, WebServer
from tests.fixtures.certificates import make_authority

MEMBER_EDITS = 1_000
EDITS_PER_ROUND = 10
ROUNDS_PER_RUN = 4
WITHIN_S = 30.0
TLS_PORT = 443


def run(ground: Ground, runs: int) -> list[Figure]:
    """Edit under load, one edit after the other, each live before the next."""
    rounds = min(MEMBER_EDITS // EDITS_PER_ROUND, runs * ROUNDS_PER_RUN)
    with ground.load_balancer("runtime", ground.servers[:1]) as balancer, ground.api() as api:
        figures = _measure(ground, balancer, f"{rounds * EDITS_PER_ROUND:,} member edits", _Members(api), rounds)
        figures += _measure(ground, balancer, f"{runs * ROUNDS_PER_RUN} values of L7 rules", _Values(api), runs)
        figures += _measure(ground, balancer, f"{runs} certificates", _Certificates(api), runs, tls=True)
    return figures


class _Stage:
    """One load balancer that is edited; tells how long each edit took to come live."""

    def __init__(self, ground: Ground, balancer: Any) -> None:
        self.ground = ground
        self.balancer = balancer
        self.took_ms: list[float] = []

    @contextmanager
    def edit(self) -> Iterator[None]:
        """Take the time of the edit that is made in the block until it is live."""
        begun = time.monotonic()
        yield
        self.ground.playground.wait_active(self.balancer["id"])
        self.took_ms.append((time.monotonic() - begun) * 1000)


class _Kind:
    """One kind of edits: what has to be there, then rounds of them."""

    def __init__(self, api: ApiConnection) -> None:
        self.api = api

    def prepare(self, stage: _Stage) -> None:
        """Make what is to be edited."""

    def change(self, stage: _Stage, number: int) -> None:
        """Make one round of edits."""
        raise NotImplementedError

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        return msgspec.json.decode(self.api.request(method, path, body) or b"null")


def _measure(ground: Ground, balancer: Any, what: str, kind: _Kind, rounds: int, *, tls: bool = False) -> list[Figure]:
    stage = _Stage(ground, balancer)
    kind.prepare(stage)
    ground.playground.wait_active(balancer["id"])
    _, folders = ground.find_amphora(balancer["id"])
    place: dict[str, Any] = {"address": balancer["vip_address"], "port": TLS_PORT if tls else 80, "tls": tls}
    options = [LoadOptions(**place, clients=4, per_second=100.0, keeps=keeps) for keeps in (False, True)]
    loads: list[RunningLoad] = []
    before = count_reloads(folders)
    with ExitStack() as stack:
        loads += [stack.enter_context(making_load(one)) for one in options]
        for number in range(rounds):
            kind.change(stage, number)
    reloads = count_reloads(folders) - before
    failed = sum(load.told.failed for load in loads)
    told = " | ".join(describe_load(one, load.told) for one, load in zip(options, loads, strict=True))
    took = f"an edit is live in {median(stage.took_ms):.0f} ms (p50), {spread(stage.took_ms, 'ms')}"
    return [
        Figure(what=f"reloads by {what}", value=reloads, budget=0, detail=took),
        Figure(what=f"failed requests by {what}", value=failed, budget=0, detail=told),
    ]


class _Members(_Kind):
    """A second member comes, changes in every way that there is, and goes."""

    def change(self, stage: _Stage, number: int) -> None:
        pool = stage.balancer["pools"][0]["id"]
        path = f"/v2/lbaas/pools/{pool}/members"
        _, there, elsewhere = stage.ground.servers
        with stage.edit():
            body = {"name": there.name, "address": there.address, "protocol_port": WEB_PORT}
            member = self.ask("POST", path, {"member": body})["member"]
        for change in (
            {"weight": 7}, {"weight": 1}, {"admin_state_up": False}, {"admin_state_up": True},
            {"backup": True}, {"backup": False},
        ):  # fmt: skip
            with stage.edit():
                self.ask("PUT", f"{path}/{member['id']}", {"member": change})
        for server in (elsewhere, there):
            with stage.edit():
                self._move(stage.balancer["id"], member["id"], server)
        with stage.edit():
            self.api.request("DELETE", f"{path}/{member['id']}")

    def _move(self, load_balancer_id: str, member_id: str, server: WebServer) -> None:
        """Give a member another address, which only a whole tree can."""
        path = f"{ONE}/{load_balancer_id}"
        newest = self.ask("GET", f"{path}/generations")["generations"][0]["generation"]
        tree = self.ask("GET", f"{path}/generations/{newest}")["generation"]["loadbalancer"]
        _find(tree, member_id)["address"] = server.address
        self.ask("POST", f"{path}/apply", {"loadbalancer": tree})


def _find(tree: Any, object_id: str) -> Any:
    """Return the object with this id from a tree of JSON, None when it is not there."""
    if isinstance(tree, dict) and tree.get("id") == object_id:
        return tree
    below = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    return next((found for one in below if (found := _find(one, object_id)) is not None), None)


class _Values(_Kind):
    """A path that is refused becomes another one."""

    def prepare(self, stage: _Stage) -> None:
        rule = {"type": "PATH", "compare_type": "EQUAL_TO", "value": "/never"}
        listener = stage.balancer["listeners"][0]["id"]
        body = {"listener_id": listener, "action": "REJECT", "rules": [rule]}
        policy = self.ask("POST", "/v2/lbaas/l7policies", {"l7policy": body})["l7policy"]
        self._path = f"/v2/lbaas/l7policies/{policy['id']}/rules/{policy['rules'][0]['id']}"

    def change(self, stage: _Stage, number: int) -> None:
        vip = stage.balancer["vip_address"]
        for step in range(ROUNDS_PER_RUN):
            value = f"/refused-{number}-{step}"
            with stage.edit():
                self.ask("PUT", self._path, {"rule": {"value": value}})
            if ask_name(vip, timeout_s=1.0, path=value) is not None:
                raise TimeoutError(f"{value} is not refused")


class _Certificates(_Kind):
    """A certificate is replaced in the store of secrets, under its name."""

    def prepare(self, stage: _Stage) -> None:
        self._root = make_authority()
        payload = base64.b64encode(self._issue()[0]).decode()
        secret = {
            "payload": payload,
            "payload_content_type": "application/octet-stream",
            "payload_content_encoding": "base64",
        }
        ref = self.ask("POST", "/key-manager/v1/secrets", secret)["secret_ref"]
        self._path = urllib.parse.urlsplit(ref).path
        body = {
            "loadbalancer_id": stage.balancer["id"],
            "protocol": "TERMINATED_HTTPS",
            "protocol_port": TLS_PORT,
            "default_tls_container_ref": ref,
            "default_pool_id": stage.balancer["pools"][0]["id"],
        }
        self.ask("POST", "/v2/lbaas/listeners", {"listener": body})

    def _issue(self) -> tuple[bytes, str]:
        issued = self._root.issue("bench.test")
        return issued.pkcs12(), issued.pem.decode()

    def change(self, stage: _Stage, number: int) -> None:
        content, pem = self._issue()
        begun = time.monotonic()
        stage.ground.playground.client.put(
            self._path, content=content, headers={"Content-Type": "application/octet-stream"}
        ).raise_for_status()
        wanted = ssl.PEM_cert_to_DER_cert(pem)
        while ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((stage.balancer["vip_address"], TLS_PORT))) != wanted:
            if time.monotonic() > begun + WITHIN_S:
                raise TimeoutError(f"the certificate is not served within {WITHIN_S:.0f} s")
            time.sleep(0.02)
        stage.took_ms.append((time.monotonic() - begun) * 1000)
