"""The unmodified openstack command against the API over HTTP, found by the `clouds.yaml` that we write."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from statera.api.clouds import render_clouds_yaml
from tests.contract.conftest import make_settings
from tests.contract.serving import serve

OPENSTACK = Path(sys.executable).parent / "openstack"
USER, PASSWORD = "alice", "a b:c"


class Cloud:
    """The openstack command with one cloud."""

    def __init__(self, folder: Path, clouds_yaml: str, **environment: str) -> None:
        file = folder / "clouds.yaml"
        file.write_text(clouds_yaml, encoding="utf-8")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        self.environment = clean | {"OS_CLIENT_CONFIG_FILE": str(file), "OS_CLOUD": "statera"} | environment

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(OPENSTACK), "loadbalancer", *words]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    def ask(self, *words: str) -> Any:
        done = self.run(*words, "-f", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def do(self, *words: str) -> None:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def url(module_database_url: str) -> Iterator[str]:
    with serve(module_database_url, make_settings()) as url:
        yield url


def test_a_whole_life(url: str, tmp_path: Path) -> None:
    cloud = Cloud(tmp_path, render_clouds_yaml(url))
    made = cloud.ask("create", "--name", "web", "--vip-subnet-id", "front4", "--tag", "blue")
    assert (made["name"], made["provisioning_status"], made["provider"]) == ("web", "PENDING_CREATE", "amphora")
    assert [row["name"] for row in cloud.ask("list")] == ["web"]
    listener = cloud.ask("listener", "create", "--name", "http", "--protocol", "HTTP", "--protocol-port", "80", "web")
    assert listener["protocol_port"] == 80
    pool = cloud.ask(
        "pool", "create", "--name", "servers", "--protocol", "HTTP", "--lb-algorithm", "ROUND_ROBIN",
        "--listener", "http", "--session-persistence", "type=HTTP_COOKIE",
    )  # fmt: skip
    assert pool["lb_algorithm"] == "ROUND_ROBIN"
    member = cloud.ask("member", "create", "--address", "10.7.0.1", "--protocol-port", "80", "servers")
    assert member["address"] == "10.7.0.1"
    cloud.do("member", "set", "--weight", "7", "servers", member["id"])
    assert cloud.ask("member", "show", "servers", member["id"])["weight"] == 7
    monitor = cloud.ask(
        "healthmonitor", "create", "--delay", "5", "--timeout", "4", "--max-retries", "3", "--type", "HTTP",
        "--url-path", "/health", "servers",
    )  # fmt: skip
    assert monitor["url_path"] == "/health"
    tree = json.loads(cloud.run("status", "show", "web").stdout)
    assert [one["id"] for one in tree["loadbalancer"]["listeners"][0]["pools"][0]["members"]] == [member["id"]]
    cloud.do("set", "--description", "more", "web")
    assert cloud.ask("show", "web")["description"] == "more"
    assert [row["name"] for row in cloud.ask("provider", "list")] == ["amphora", "octavia"]
    refused = cloud.run("delete", "web")
    assert refused.returncode != 0
    assert "it has children" in refused.stderr
    cloud.do("delete", "--cascade", "web")
    assert cloud.ask("show", "web")["provisioning_status"] == "PENDING_DELETE"


def test_with_a_password(module_database_url: str, tmp_path: Path) -> None:
    htpasswd = tmp_path / "htpasswd"
    stored = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    htpasswd.write_text(f"{USER}:{stored}\n", encoding="utf-8")
    identity = {"mode": "basic", "htpasswd_file": str(htpasswd), "users": {USER: {"project_id": "p" * 32}}}
    with serve(module_database_url, make_settings(identity=identity)) as url:
        text = render_clouds_yaml(url, username=USER, password=PASSWORD)
        cloud = Cloud(tmp_path, text)
        made = cloud.ask("create", "--name", "mine", "--vip-subnet-id", "front4")
        assert made["project_id"] == "p" * 32
        assert [row["name"] for row in cloud.ask("list")] == ["mine"]
        stranger = Cloud(tmp_path, text.replace("alice", "mallory"))
        assert "401" in stranger.run("list").stderr
