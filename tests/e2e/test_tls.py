"""TLS by the unmodified clients: a certificate stored with `openstack secret`, a listener that uses it, and curl."""

import subprocess
from pathlib import Path

import pytest

from statera.api.clouds import render_clouds_yaml
from tests.contract.cloud import Cloud
from tests.e2e.conftest import Installation
from tests.fixtures.certificates import make_authority

pytestmark = [pytest.mark.e2e, pytest.mark.root]


def curl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["curl", "-sS", "--max-time", "5", "--noproxy", "*", *words], capture_output=True, text=True, check=False
    )


def test_a_certificate_stored_by_the_command_is_served(installation: Installation, tmp_path: Path) -> None:
    playground = installation.playground
    cloud = Cloud(tmp_path, render_clouds_yaml(playground.api_url), family="")
    root = make_authority()
    (tmp_path / "root.pem").write_bytes(root.pem)
    (tmp_path / "www.p12").write_bytes(root.issue("www.example.test").pkcs12())
    stored = cloud.ask(f"secret store --name www --file '{tmp_path / 'www.p12'}'")
    made = playground.create_load_balancer("tls", installation.servers)
    balancer = playground.wait_active(made["id"])
    listener = cloud.ask(
        "loadbalancer listener create --protocol TERMINATED_HTTPS --protocol-port 443 "
        f"--default-tls-container-ref {stored['Secret href']} --default-pool {balancer['pools'][0]['id']} "
        f"{balancer['id']}"
    )
    playground.wait_active(balancer["id"])
    assert listener["protocol"] == "TERMINATED_HTTPS"
    place = f"www.example.test:443:{balancer['vip_address']}"
    answer = curl("--resolve", place, "--cacert", str(tmp_path / "root.pem"), "https://www.example.test/")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("web")
    playground.request("DELETE", f"/v2/lbaas/loadbalancers/{balancer['id']}?cascade=true")
    playground.wait_gone(balancer["id"])
