"""TLS by the unmodified clients: a certificate stored with `openstack secret`, a listener that uses it, and curl."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from statera.api.clouds import render_clouds_yaml
from tests.e2e.conftest import Installation
from tests.fixtures.certificates import make_authority

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
