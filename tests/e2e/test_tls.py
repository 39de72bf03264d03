"""TLS by the unmodified clients: a certificate stored with `openstack secret`, a listener that uses it, and curl.

And where its key is not, whatever happens to it: the whole installation is searched for it.
"""

import base64
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from statera.api.clouds import render_clouds_yaml
from tests.e2e.conftest import Installation
from tests.fixtures.certificates import Issued, make_authority

pytestmark = [pytest.mark.e2e, pytest.mark.root]

OPENSTACK = Path(sys.executable).parent / "openstack"


class Cloud:
    """The openstack command on the installation."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        file = folder / "clouds.yaml"
        file.write_text(render_clouds_yaml(installation.playground.api_url), encoding="utf-8")
        self._environment = os.environ | {"OS_CLIENT_CONFIG_FILE": str(file), "OS_CLOUD": "statera"}

    def ask(self, *words: str) -> Any:
        done = subprocess.run(
            [OPENSTACK, *words, "-f", "json"], env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def curl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["curl", "-sS", "--max-time", "5", "--noproxy", "*", *words], capture_output=True, text=True, check=False
    )


def test_a_certificate_stored_by_the_command_is_served(installation: Installation, tmp_path: Path) -> None:
    playground, cloud = installation.playground, Cloud(installation, tmp_path)
    root = make_authority()
    (tmp_path / "root.pem").write_bytes(root.pem)
    (tmp_path / "www.p12").write_bytes(root.issue("www.example.test").pkcs12())
    stored = cloud.ask("secret", "store", "--name", "www", "--file", str(tmp_path / "www.p12"))
    made = playground.create_load_balancer("tls", installation.servers)
    balancer = playground.wait_active(made["id"])
    listener = cloud.ask(
        "loadbalancer", "listener", "create", "--protocol", "TERMINATED_HTTPS", "--protocol-port", "443",
        "--default-tls-container-ref", stored["Secret href"], "--default-pool", balancer["pools"][0]["id"],
        balancer["id"],
    )  # fmt: skip
    playground.wait_active(balancer["id"])
    assert listener["protocol"] == "TERMINATED_HTTPS"
    place = f"www.example.test:443:{balancer['vip_address']}"
    answer = curl("--resolve", place, "--cacert", str(tmp_path / "root.pem"), "https://www.example.test/")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("web")
    playground.request("DELETE", f"/v2/lbaas/loadbalancers/{balancer['id']}?cascade=true")
    playground.wait_gone(balancer["id"])


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


def test_a_renewed_certificate_is_served_and_no_key_is_found_anywhere(
    installation: Installation, tmp_path: Path
) -> None:
    playground, tenant, root = installation.playground, Tenant(installation), make_authority()
    (tmp_path / "root.pem").write_bytes(root.pem)
    first, second, broken = (root.issue("www.example.test") for _ in range(3))
    ref = tenant.store(first.pkcs12())
    balancer = playground.wait_active(playground.create_load_balancer("keys", installation.servers)["id"])
    wanted = {
        "loadbalancer_id": balancer["id"],
        "protocol": "TERMINATED_HTTPS",
        "protocol_port": 443,
        "default_tls_container_ref": ref,
        "default_pool_id": balancer["pools"][0]["id"],
    }
    made = tenant.ask("POST", "/v2/lbaas/listeners", json={"listener": wanted})
    assert made.status_code == 201, made.text
    path = f"/v2/lbaas/listeners/{made.json()['listener']['id']}"
    playground.wait_active(balancer["id"])
    place = f"www.example.test:443:{balancer['vip_address']}"

    def serial() -> str:
        words = ("--cacert", str(tmp_path / "root.pem"), "-o", "/dev/null", "-w", "%{certs}")
        shown = curl("--resolve", place, *words, "https://www.example.test/").stdout
        return shown.partition("Serial Number:")[2].split("\n")[0].strip().replace(":", "").lower()

    assert serial() == f"{first.certificate.serial_number:x}".zfill(len(serial()))
    written = tenant.ask("PUT", ref, content=second.pkcs12(), headers={"Content-Type": "application/octet-stream"})
    assert written.status_code == 204
    playground.wait_for(lambda: serial().endswith(f"{second.certificate.serial_number:x}"), "The renewed certificate")
    told = [event["what"] for event in installation.events(balancer["id"])]
    assert any("without a reload" in what for what in told), told
    for payload in (broken.pem + first.key_pem(), broken.key_pem(), broken.bundle_pem[:-200]):
        body = {"listener": {"default_tls_container_ref": tenant.store(payload)}}
        assert tenant.ask("PUT", path, json=body).status_code == 400
    assert find_keys(installation, tenant, [first, second, broken]) == []
    playground.request("DELETE", f"/v2/lbaas/loadbalancers/{balancer['id']}?cascade=true")
    playground.wait_gone(balancer["id"])
    assert find_keys(installation, tenant, [first, second, broken], is_deleted=True) == []


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
