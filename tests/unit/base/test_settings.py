"""The configuration: file, environment, and faults that name their option."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from statera.app import check_settings
from statera.base import settings as room
from statera.base.errors import Lasting
from statera.base.settings import BadSettings, DatabaseUrl, Settings, convert_settings, describe_options, load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a folder" / "statera.toml"


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_no_file_gives_the_defaults(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(room, "DEFAULT_PATHS", ())
    assert load_settings(None, {}) == Settings()


def test_the_default_place_is_read_if_it_is_there(monkeypatch: pytest.MonkeyPatch, file: Path):
    monkeypatch.setattr(room, "DEFAULT_PATHS", (file.parent / "missing.toml", write(file, "[api]\nport = 1234\n")))
    assert load_settings(None, {}).api.port == 1234


def test_a_file_with_everything(file: Path):
    text = """
        data_dir = "/srv/a b"
        [api]
        port = 8080
        reserved_addresses = ["10.0.0.1"]
        [identity]
        mode = "basic"
        [identity.users.alice]
        project_id = "p1"
        [reconcile]
        lease_s = 5
        [[networks]]
        name = "public"
        device = "br-public"
        [[networks.subnets]]
        name = "public-v4"
        cidr = "203.0.113.0/24"
    """
    settings = load_settings(write(file, text), {})
    assert settings.data_dir == "/srv/a b"
    assert (settings.api.port, settings.api.reserved_addresses) == (8080, ("10.0.0.1",))
    assert settings.identity.users["alice"].roles == ("member", "reader")
    assert settings.reconcile.lease_s == 5.0
    assert settings.networks[0].subnets[0].cidr == "203.0.113.0/24"


# Environment


@pytest.mark.parametrize(
    ("name", "text", "option", "value"),
    [
        ("STATERA_DATA_DIR", "/srv/x", "data_dir", "/srv/x"),
        ("STATERA_API__PORT", "1", "api.port", 1),
        ("STATERA_API__HOST", "::1", "api.host", "::1"),
        ("STATERA_API__STRICT_IMMUTABLE", "true", "api.strict_immutable", True),
        ("STATERA_API__RESERVED_ADDRESSES", '["a", "b"]', "api.reserved_addresses", ("a", "b")),
        ("STATERA_RECONCILE__LEASE_S", "2.5", "reconcile.lease_s", 2.5),
        ("STATERA_RECONCILE__LEASE_S", "2", "reconcile.lease_s", 2.0),
        ("STATERA_LOG__LEVEL", "debug", "log.level", "debug"),
        ("STATERA_IDENTITY__MODE", "basic", "identity.mode", "basic"),
        (
            "STATERA_DATABASE__URL",
            "postgresql:///a?host=/b&c=1",
            "database.url",
            DatabaseUrl("postgresql:///a?host=/b&c=1"),
        ),
        ("STATERA_NETWORKS", '[{name = "n", device = "br0"}]', "networks.0.name", "n"),
    ],
)
def test_the_environment_overrides(file: Path, name: str, text: str, option: str, value: object):
    found: Any = load_settings(write(file, "[api]\nport = 8080\nhost = 'h'\n[log]\nlevel = 'error'\n"), {name: text})
    for part in option.split("."):
        found = found[int(part)] if part.isdecimal() else getattr(found, part)
    assert found == value


def test_an_override_leaves_the_rest_of_its_section(file: Path):
    settings = load_settings(write(file, "[api]\nport = 8080\n"), {"STATERA_API__HOST": "h"})
    assert (settings.api.host, settings.api.port) == ("h", 8080)


def test_other_variables_are_not_ours(file: Path):
    environment = {"STATERA_CONFIG": "/x", "PATH": "/bin", "statera_api__port": "1", "MY_STATERA_API__PORT": "1"}
    assert load_settings(write(file, ""), environment) == Settings()


# Faults


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[api]\nport = 0\n", "Option api.port in"),
        ("[api]\nport = '80'\n", "Option api.port in"),
        ("[api]\nprot = 80\n", "unknown field `prot`"),
        ("prot = 80\n", "unknown field `prot`"),
        ("api = 3\n", "Option api in"),
        ("[log]\nlevel = 'loud'\n", "Option log.level in"),
        ("[reconcile]\nlease_s = 0\n", "Option reconcile.lease_s in"),
        ("[[networks]]\nname = 'n'\n", "missing required field `device`"),
        ("[[networks]]\nname = 'n'\ndevice = 'a/b'\n", "networks[0].device"),
        ("[[networks]]\nname = 'n'\ndevice = 'sixteen-letters-'\n", "networks[0].device"),
        ("[[compute.hosts]]\nname = 'n'\nurl = 'http://x'\n", "compute.hosts[0].url"),
        ("[identity.users.alice]\n", "missing required field `project_id`"),
        ("[api]\nprot = 80\n", "Option api.prot in"),
        ("[api]\nprot = 80\n", "did you mean `port`?"),
        ("apis = 3\n", "unknown field `apis`; did you mean `api`?"),
        ("zzz = 3\n", "Option zzz in"),
        ("[[networks]]\nname = 'n'\n", "Option networks[0].device in"),
        ("[[networks]]\nname = 'n'\ndevice = 'd'\nknd = 'x'\n", "did you mean `kind`?"),
        ("[identity.users.alice]\nprojct_id = 'x'\n", "did you mean `project_id`?"),
        ("[identity]\nmode = 'ldap'\n", "Option identity.mode in"),
        ("[identity]\nmode = 'ldap'\n", "'ldap', not one of: none, basic, keystone"),
        ("[database]\nurl = 'mysql://x'\n", "Option database.url in"),
        ("[api\n", "cannot be read"),
    ],
)
def test_a_bad_file_names_itself_and_the_option(file: Path, text: str, words: str):
    with pytest.raises(BadSettings) as raised:
        load_settings(write(file, text), {})
    assert words in raised.value.sentence
    assert str(file) in raised.value.sentence
    assert isinstance(raised.value, Lasting)
    assert raised.value.reason.slug == "configuration-invalid"


@pytest.mark.parametrize("text", ["*", "proxy.example", "192.0.2.1/24", ""])
def test_a_proxy_is_an_address_or_a_network(text: str):
    settings = convert_settings({"api": {"trusted_proxies": ["127.0.0.1", "2001:db8::/64", text]}}, source="the test")
    with pytest.raises(BadSettings, match=r"Option api\.trusted_proxies is wrong: "):
        check_settings(settings)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read(file: Path, content: bytes | None):
    file.parent.mkdir()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadSettings, match=r"statera\.toml cannot be read"):
        load_settings(file, {})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("STATERA_API__PROT", "80", "Environment variable STATERA_API__PROT names no option: prot is unknown."),
        ("STATERA_APO__PORT", "80", "Environment variable STATERA_APO__PORT names no option: apo is unknown."),
        ("STATERA_API__PORT__X", "80", "Environment variable STATERA_API__PORT__X names no option"),
        ("STATERA_", "80", "names no option"),
        ("STATERA_API__PORT", "eighty", "STATERA_API__PORT is not a TOML value: 'eighty'"),
        ("STATERA_API__PORT", "99999", "Option api.port in"),
        ("STATERA_API__PORT", "", "STATERA_API__PORT is not a TOML value"),
        ("STATERA_LOG__LEVEL", "loud", "Option log.level in"),
        ("STATERA_API", "3", "Option api in"),
    ],
)
def test_a_bad_variable_is_named(file: Path, name: str, text: str, words: str):
    with pytest.raises(BadSettings) as raised:
        load_settings(write(file, ""), {name: text})
    assert words in raised.value.sentence


def test_a_value_in_the_place_of_a_section(file: Path):
    with pytest.raises(BadSettings, match="names api, which is not a section"):
        load_settings(write(file, "api = 3\n"), {"STATERA_API__PORT": "80"})


def test_the_source_of_plain_values_is_told():
    with pytest.raises(BadSettings, match=r"Option api\.port in the demonstration is wrong"):
        convert_settings({"api": {"port": -1}}, source="the demonstration")


# Description


def test_every_option_is_described_once():
    rows = describe_options()
    names = [name for name, _, _, _ in rows]
    assert len(names) == len(set(names))
    assert [name for name, _, _, meaning in rows if not meaning.endswith(".")] == []
    assert {"api.port", "networks[].subnets[].cidr", "compute.hosts[].url", "reconcile.lease_s"} <= set(names)
    described = {name: (kind, default) for name, kind, default, _ in rows}
    assert described["api.port"] == ("integer", "9876")
    assert described["networks[].device"] == ("text", "required")
    assert described["log.level"] == ('"debug" | "info" | "warning" | "error"', '"info"')
    assert described["api.reserved_addresses"] == ("list of text", '["169.254.169.254"]')


def test_settings_survive_a_round_trip():
    values = msgspec.to_builtins(Settings(), enc_hook=lambda secret: secret.reveal())
    assert convert_settings(values, source="the test") == Settings()


def test_a_secret_is_text_that_does_not_show():
    values = {"identity": {"keystone": {"password": "hush"}}}
    settings = convert_settings(values, source="the test")
    assert settings.identity.keystone.password.reveal() == "hush"
    assert "hush" not in repr(settings)
    by_variable = load_settings(None, {"STATERA_IDENTITY__KEYSTONE__PASSWORD": "123"})
    assert by_variable.identity.keystone.password.reveal() == "123"
    with pytest.raises(BadSettings, match=r"identity\.keystone\.password"):
        convert_settings({"identity": {"keystone": {"password": 5}}}, source="the test")
