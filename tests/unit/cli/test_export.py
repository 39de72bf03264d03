"""What another machine gets: the configuration that its operator would have written, and certificates."""

import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest

from statera.base.errors import Lasting
from statera.base.settings import Settings, convert_settings
from statera.cli.export import export_host


def _settings(tmp_path: Path, **changed: Any) -> Settings:
    values: dict[str, Any] = {
        "data_dir": str(tmp_path / "data"),
        "database": {"url": "postgresql://statera:secret@db/statera"},
        "api": {"host": "10.0.0.1"},
        "health": {"host": "10.0.0.1"},
        "agent": {"name": "one", "host": "10.0.0.1", "amphora_limit": 50},
        "compute": {
            "memory_mib": 128,
            "hosts": [
                {"name": "one", "url": "https://10.0.0.1:9443"},
                {"name": "two", "url": "https://10.0.0.2:9444", "zone": "east"},
            ],
        },
        "networks": [
            {
                "name": "public",
                "device": "br-public",
                "create": True,
                "uplink": "eth1",
                "host_addresses": ["192.0.2.2/24"],
                "subnets": [{"name": "public-v4", "cidr": "192.0.2.0/24"}],
            }
        ],
    }
    return convert_settings(values | changed, source="the test")


def _export(settings: Settings, path: Path, *, controller: bool = False) -> dict[str, bytes]:
    export_host(settings, "two", path, controller=controller)
    with tarfile.open(path) as archive:
        assert all(entry.mode == 0o600 for entry in archive)
        files = {entry.name: archive.extractfile(entry) for entry in archive}
        return {Path(name).name: file.read() for name, file in files.items() if file is not None}


def test_an_agent_gets_its_own_addresses_and_keys_and_no_more(tmp_path: Path) -> None:
    files = _export(_settings(tmp_path), tmp_path / "two.tar")
    assert set(files) == {"statera.toml", "ca.pem", "agent-two.pem", "agent-two.key"}
    options = tomllib.loads(files["statera.toml"].decode())
    assert options["agent"] == {
        "name": "two",
        "host": "10.0.0.2",
        "port": 9444,
        "amphora_limit": 50,
        "heartbeat_targets": ["10.0.0.1:5555"],
    }
    assert options["networks"][0]["uplink"] == "eth1"
    assert options["networks"][0]["host_addresses"] == []
    assert options["compute"]["memory_mib"] == 128
    assert "database" not in options
    read = convert_settings(options, source="the archive")
    assert read.data_dir == str(tmp_path / "data")


def test_a_controller_gets_the_database_and_what_opens_secrets(tmp_path: Path) -> None:
    files = _export(_settings(tmp_path), tmp_path / "two.tar", controller=True)
    assert set(files) == {
        "statera.toml", "ca.pem", "agent-two.pem", "agent-two.key", "controller.pem", "controller.key", "secrets.key",
    }  # fmt: skip
    options = tomllib.loads(files["statera.toml"].decode())
    assert options["database"]["url"] == "postgresql://statera:secret@db/statera"
    assert options["api"]["host"] == options["health"]["host"] == "10.0.0.2"
    assert len(options["compute"]["hosts"]) == 2


def test_the_archive_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "two.tar"
    path.write_bytes(b"of before")
    path.chmod(0o644)
    export_host(_settings(tmp_path), "two", path, controller=False)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("changed", "controller", "words"),
    [
        ({"health": {}}, False, "set health.host"),
        ({"database": {}}, True, "set database.url"),
        ({"compute": {}}, False, "not in compute.hosts"),
    ],
)
def test_what_would_work_here_only_is_refused(
    tmp_path: Path, changed: dict[str, Any], controller: bool, words: str
) -> None:
    with pytest.raises(Lasting) as told:
        export_host(_settings(tmp_path, **changed), "two", tmp_path / "two.tar", controller=controller)
    assert words in told.value.sentence
    assert not (tmp_path / "two.tar").exists()
