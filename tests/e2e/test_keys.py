"""What happens to a certificate's key, and where the key is not: the whole installation is searched after each step."""

import base64
import contextlib
import datetime as dt
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from tests.e2e.conftest import Installation
from tests.e2e.test_tls import curl
from tests.fixtures.certificates import Issued, make_authority

pytestmark = [pytest.mark.e2e, pytest.mark.root]

HOST = "www.example.test"
BALANCERS = "/v2/lbaas/loadbalancers"
BINARY = {"Content-Type": "application/octet-stream"}


class Tenant:
    """Requests of a tenant, whose answers are kept to be searched."""

    def __init__(self, installation: Installation) -> None:
        self._client = httpx.Client(base_url=installation.playground.api_url, timeout=30, trust_env=False)
        self.told: list[bytes] = []

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        answer = self._client.request(method, path, **more)
        self.told.append(answer.content)
        return answer

    def store(self, payload: bytes) -> str:
        body = {
            "payload": base64.b64encode(payload).decode(),
            "payload_content_type": "application/octet-stream",
            "payload_content_encoding": "base64",
        }
        return str(self.ask("POST", "/key-manager/v1/secrets", json=body).json()["secret_ref"])


class Searched:
    """A load balancer that ends TLS, looked at by its tenant and searched for keys after each step."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation, self.playground, self.folder = installation, installation.playground, folder
        self.tenant, self.root = Tenant(installation), make_authority()
        (folder / "root.pem").write_bytes(self.root.pem)
        self.issued: list[Issued] = []
        self.balancer = self.playground.wait_active(
            self.playground.create_load_balancer("keys", installation.servers)["id"]
        )
        self.path = f"{BALANCERS}/{self.balancer['id']}"

    def issue(self, *, days: float = 90.0) -> Issued:
        """Return a certificate whose key is searched for from now on."""
        self.issued.append(self.root.issue(HOST, ends=dt.timedelta(days=days)))
        return self.issued[-1]

    def ask(self, method: str, path: str, body: Any, expected: int) -> Any:
        answer = self.tenant.ask(method, path, json=body)
        assert answer.status_code == expected, answer.text
        return answer.json() if answer.content else None

    def check(self, step: str, serves: Issued | None = None) -> None:
        """Wait until the step is over and the certificate is served; no key may be anywhere it should not be."""
        if serves is not None:
            number = f"{serves.certificate.serial_number:x}"
            self.playground.wait_for(lambda: self.serial().endswith(number), f"The certificate after {step}")
            self.playground.wait_active(self.balancer["id"])
        for what in ("", "/events", "/status", "/generations"):
            self.tenant.ask("GET", f"{self.path}{what}")
        found = find_keys(self.installation, self.tenant, self.issued, is_deleted=serves is None)
        assert found == [], step

    def restart(self, role: str) -> None:
        """Kill a role's process and wait for the next one."""
        pid = self.installation.kill(role)

        def is_back() -> bool:
            with contextlib.suppress(httpx.TransportError):
                there = self.installation.look_for(role) not in (None, pid)
                return there and self.tenant.ask("GET", self.path).status_code == 200
            return False

        self.playground.wait_for(is_back, f"The next process of {role}")

    def serial(self) -> str:
        place = f"{HOST}:443:{self.balancer['vip_address']}"
        words = ("--cacert", str(self.folder / "root.pem"), "-o", "/dev/null", "-w", "%{certs}")
        shown = curl("--resolve", place, *words, f"https://{HOST}/").stdout
        return shown.partition("Serial Number:")[2].split("\n")[0].strip().replace(":", "").lower()

    def wait_reason(self, path: str, slug: str | None) -> None:
        def has_it() -> bool:
            shown = self.tenant.ask("GET", path).json()["listener"]
            assert shown["operating_status"] != "ERROR"
            reason = shown["status_reason"]
            return bool((reason and reason["slug"]) == slug and shown["operating_status"] == "ONLINE")

        self.playground.wait_for(has_it, f"ONLINE with the reason {slug}")


def test_no_key_is_found_anywhere_after_any_step(installation: Installation, tmp_path: Path) -> None:
    stage = Searched(installation, tmp_path)
    playground, balancer = stage.playground, stage.balancer
    first, other, renewed = stage.issue(days=12), stage.issue(), stage.issue()

    ref = stage.tenant.store(first.pkcs12())
    wanted = {
        "loadbalancer_id": balancer["id"],
        "protocol": "TERMINATED_HTTPS",
        "protocol_port": 443,
        "default_tls_container_ref": ref,
        "default_pool_id": balancer["pools"][0]["id"],
    }
    made = stage.ask("POST", "/v2/lbaas/listeners", {"listener": wanted}, 201)["listener"]
    listener = f"/v2/lbaas/listeners/{made['id']}"
    stage.check("creation", first)
    stage.wait_reason(listener, "certificate-expires")
    generation = playground.show(balancer["id"])["generation"]

    change = {"listener": {"default_tls_container_ref": stage.tenant.store(other.bundle_pem)}}
    stage.ask("PUT", listener, change, 200)
    stage.check("an update", other)
    stage.wait_reason(listener, None)

    broken = stage.issue()
    for payload in (broken.pem + first.key_pem(), broken.key_pem(), broken.bundle_pem[:-200]):
        body = {"listener": {"default_tls_container_ref": stage.tenant.store(payload)}}
        stage.ask("PUT", listener, body, 400)
    stage.check("refusals", other)

    stage.ask("POST", f"{stage.path}/rollback", {"generation": generation}, 200)
    stage.check("a rollback", first)

    assert stage.tenant.ask("PUT", ref, content=renewed.pkcs12(), headers=BINARY).status_code == 204
    stage.check("a rotation", renewed)
    told = [event["what"] for event in installation.events(balancer["id"])]
    assert any("without a reload" in what for what in told), told
    stage.wait_reason(listener, None)
    stage.ask("PUT", listener, {"listener": {"timeout_client_data": 40_000}}, 200)
    stage.check("a reload", renewed)

    body = playground.request("GET", f"{stage.path}/generations/{generation}")["generation"]["loadbalancer"]
    stage.ask("POST", f"{stage.path}/plan", {"loadbalancer": body}, 200)
    stage.check("a plan", renewed)

    for role in ("agent", "worker", "health", "api"):
        stage.restart(role)
    stage.check("restarts", renewed)

    stage.ask("PUT", f"{stage.path}/failover", None, 202)
    playground.wait_active(balancer["id"])
    stage.check("a failover", renewed)

    stage.ask("PUT", listener, {"listener": {"admin_state_up": False}}, 200)
    playground.wait_active(balancer["id"])
    stage.ask("PUT", listener, {"listener": {"admin_state_up": True}}, 200)
    stage.check("a rest", renewed)

    playground.request("DELETE", f"{stage.path}?cascade=true")
    playground.wait_gone(balancer["id"])
    stage.check("deletion")


def find_keys(
    installation: Installation, tenant: Tenant, issued: list[Issued], *, is_deleted: bool = False
) -> list[str]:
    """Name every place that holds a key and should not: disk, logs, database, events, answers, and what `ps` shows."""
    playground = installation.playground
    patterns = []
    for one in issued:
        assert isinstance(one.key, ec.EllipticCurvePrivateKey)
        patterns.append(one.key.private_numbers().private_value.to_bytes(32))
        patterns += [line for line in one.key_pem().splitlines()[1:-1] if len(line) > 40]
    found = [f"answer {told[:80]!r}" for told in tenant.told if any(one in told for one in patterns)]
    places = [playground.log_path]
    for folder in (playground.data_dir, playground.run_dir):
        places += [path for path in folder.rglob("*") if path.is_file()]
    for kind in ("cmdline", "environ"):
        places += list(Path("/proc").glob(f"[0-9]*/{kind}"))
    for path in places:
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            if any(one in content for one in patterns):
                found.append(str(path))
    memory = str(playground.run_dir / "memory")
    return [
        place
        for place in found
        if is_deleted or not (place.startswith(memory) or "/keys/" in place or "/tls/" in place)
    ]
