"""The commands as an operator types them, as far as they need no running deployment."""

import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from statera.base.settings import Settings, convert_settings
from statera.cli.configuration import hide_password
from statera.cli.demo import Display
from statera.cli.doctor import check_version, parse_version
from statera.cli.playground import host_number
from statera.cli.ports import choose_port
from statera.cli.preflight import check_ready, describe_faults, find_program
from statera.cli.up import lock_data_dir


def _statera(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STATERA_")}
    return subprocess.run(
        [sys.executable, "-m", "statera", *words],
        check=False,
        capture_output=True,
        text=True,
        env=kept | environment,
        timeout=60,
    )


def test_the_configuration_in_force_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "with space.toml"
    file.write_text('[api]\nport = 1234\n\n[[networks]]\nname = "n"\ndevice = "br0"\n')
    done = _statera("config", "show", "--config", str(file), STATERA_API__HOST="::1")
    assert done.returncode == 0, done.stderr
    assert "port = 1234" in done.stdout
    assert 'host = "::1"' in done.stdout


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "statera.toml"
    file.write_text("[identity.keystone]\npassword = 'hush'\n")
    done = _statera("config", "show", "--config", str(file))
    assert done.returncode == 0, done.stderr
    assert 'password = "[redacted]"' in done.stdout
    assert 'application_credential_secret = ""' in done.stdout


def test_every_option_is_described() -> None:
    done = _statera("config", "show", "--options", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "reconcile.lease_s" in done.stdout
    assert "networks[].subnets[].cidr" in done.stdout


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[api]\nprt = 1\n", "prt"),
        ("[api]\nport = 0\n", "api.port"),
        ("[identity]\nmode = 'open'\n", "identity.mode"),
        ("[api\n", "cannot be read"),
    ],
)
def test_a_wrong_option_stops_the_start_and_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "statera.toml"
    file.write_text(text)
    for command in (["up"], ["api"], ["config", "show"]):
        done = _statera(*command, "--config", str(file))
        assert done.returncode != 0
        assert named in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[network]\ndriver = 'noop'\n", "network.driver"),
        ("[identity]\nmode = 'basic'\n", "identity.htpasswd_file"),
        ("[identity]\nmode = 'keystone'\n", "identity.keystone.auth_url"),
        ("[identity]\npolicy_file = '/nowhere/policy.yaml'\n", "/nowhere/policy.yaml"),
    ],
)
def test_what_one_process_would_find_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "statera.toml"
    file.write_text(text)
    done = _statera("config", "show", "--config", str(file))
    assert done.returncode == 1
    assert named in done.stderr


def test_a_wrong_variable_is_named() -> None:
    done = _statera("config", "show", STATERA_API__PROT="1")
    assert done.returncode == 1
    assert "STATERA_API__PROT" in done.stderr


def test_what_is_missing_is_told_with_its_mending() -> None:
    settings = convert_settings({"agent": {"haproxy": "no-such-haproxy", "haproxy_user": "nobody-such"}}, source="test")
    text = describe_faults(check_ready(settings))
    if os.geteuid() == 0:
        assert "no-such-haproxy is missing" in text
        assert "nobody-such does not exist" in text
        assert "apt-get install haproxy" in text
    else:
        assert "Run it as root" in text


def test_noop_drivers_need_neither_root_nor_programs() -> None:
    values = {
        "compute": {"driver": "noop"},
        "agent": {"haproxy": "no-such-haproxy"},
        "database": {"url": "postgresql:///x"},
    }
    assert check_ready(convert_settings(values, source="test")) == []


def test_programs_are_found_where_root_looks() -> None:
    assert find_program("sh")
    assert find_program("no-such-program") is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("HAProxy version 2.6.12-1+deb12u1 2023/12/16", (2, 6, 12)),
        ("Keepalived v2.2.7 (01/16,2022)", (2, 2, 7)),
        ("psql 15.3", (15, 3)),
        ("none", None),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, ...] | None) -> None:
    assert parse_version(text) == version


def test_an_old_or_missing_program_is_a_finding() -> None:
    assert check_version("python", [sys.executable, "--version"], (3, 11)).mend == ""
    assert "newer" in check_version("python", [sys.executable, "--version"], (99, 0)).mend
    assert check_version("thing", ["no-such-program"], (1, 0)).mend == "apt-get install thing"


def test_the_display_times_steps_and_marks_the_failed_one() -> None:
    display = Display(Console(width=200, file=io.StringIO()))
    with display.step("one") as step:
        step.detail = "fine"
    with pytest.raises(ValueError, match="no"), display.step("two"):
        raise ValueError("no")
    assert [step.state for step in display.steps] == ["done", "failed"]
    assert display.render().row_count == 2


def test_addresses_and_ports_are_chosen() -> None:
    assert host_number("10.0.0.0/24", 10) == "10.0.0.10"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert choose_port(port, socket.SOCK_STREAM) != port


def test_defaults_are_valid() -> None:
    assert convert_settings({}, source="nothing") == Settings()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[[networks]]\nname = "n"\ndevice = "br0"\n[[networks.subnets]]\nname = "s"\ncidr = "10.0.0.5/24"\n', "cidr"),
        ('[identity]\nmode = "basic"\n', "htpasswd_file"),
    ],
)
def test_what_no_process_could_start_with_is_told_at_once(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "statera.toml"
    file.write_text(text)
    for command in (["config", "show"], ["db", "upgrade"]):
        done = _statera(*command, "--config", str(file))
        assert done.returncode == 1
        assert named in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h/db", "postgresql://u:[redacted]@h/db"),
        ("postgresql://h/db?user=u&password=secret", "postgresql://h/db?user=u&password=[redacted]"),
        ("postgresql:///db?host=/run/x", "postgresql:///db?host=/run/x"),
        ("postgresql://h/db", "postgresql://h/db"),
        *(
            (f"postgresql://u:{text}@h/db", "postgresql://u:[redacted]@h/db")
            for text in ("a/b", "a?b", "a#b", "a@b", "[")
        ),
        ("postgresql://h/db?sslpassword=secret&x=1", "postgresql://h/db?sslpassword=[redacted]&x=1"),
        ("postgresql://[::1/db", "postgresql://[::1/db"),
        ("", ""),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert hide_password(url) == shown


def test_a_clouds_yaml_is_printed() -> None:
    done = _statera("config", "clouds", "--username", "ann", STATERA_API__PORT="1234")
    assert done.returncode == 0, done.stderr
    assert "127.0.0.1:1234" in done.stdout
    assert "http_basic" in done.stdout


def test_clean_leaves_a_running_installation_alone(tmp_path: Path) -> None:
    settings = convert_settings({"data_dir": str(tmp_path)}, source="test")
    file = tmp_path / "statera.toml"
    file.write_text(f'data_dir = "{tmp_path}"\n')
    with lock_data_dir(settings):
        done = _statera("clean", "--config", str(file))
    assert done.returncode == 1
    assert "stop it first" in done.stderr or os.geteuid() != 0


@pytest.mark.root
def test_up_makes_nothing_with_a_configuration_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "statera.toml"
    file.write_text(f'data_dir = "{tmp_path}/data"\n[identity]\nmode = "basic"\n')
    done = _statera("up", "--config", str(file))
    assert done.returncode == 1
    assert "htpasswd_file" in done.stderr
    assert "Nothing was started" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_database_that_does_not_answer_leads_to_the_doctor() -> None:
    port = choose_port(0, socket.SOCK_STREAM)
    done = _statera("amphora", "list", STATERA_DATABASE__URL=f"postgresql://u:hidden@127.0.0.1:{port}/d")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "  how to mend it: `statera doctor` looks for the cause."
    assert "hidden" not in done.stderr
