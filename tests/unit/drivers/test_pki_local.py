"""The authority's folder: what is made when, and what a cut-off half leaves."""

import datetime as dt
import shutil
from pathlib import Path

import pytest
from cryptography import x509

from statera.base.errors import Lasting
from statera.drivers.pki_local import LocalAuthority
from statera.drivers.pki_x509 import Turn, decide_turn, make_authority, make_key, write_certificates
from tests.fixtures.odd_certificates import LAST, show_certificate, show_request

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def make(folder: Path) -> LocalAuthority:
    return LocalAuthority(folder, lifetime_s=DAY.total_seconds() * 90, authority_lifetime_s=DAY.total_seconds() * 1200)


def read(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def test_nothing_changes_until_two_thirds_are_over(tmp_path: Path) -> None:
    authority = make(tmp_path)
    authority.ensure(["one"], NOW)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    authority.ensure(["one"], NOW + DAY * 59)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    authority.ensure(["one"], NOW + DAY * 61)
    assert {path.name for path in tmp_path.iterdir() if path.read_bytes() != before[path]} == {
        "controller.pem", "controller.key", "agent-one.pem", "agent-one.key",
    }  # fmt: skip


def test_the_next_authority_is_trusted_first_signs_later_and_the_former_goes_at_its_end(tmp_path: Path) -> None:
    authority = make(tmp_path)
    authority.ensure(["one"], NOW)
    (first,) = read(tmp_path / "ca.pem")
    authority.ensure(["one"], NOW + DAY * 801)
    _, second = read(tmp_path / "ca.pem")
    # Trusted, not yet signing: not before it is known, nor before others had time to copy it.
    for known, days in ((False, 900), (True, 802)):
        authority.ensure(["one"], NOW + DAY * days, is_known=known)
        read(tmp_path / "agent-one.pem")[0].verify_directly_issued_by(first)
    authority.ensure(["one"], NOW + DAY * 901, is_known=True)
    for name in ("agent-one.pem", "controller.pem"):
        read(tmp_path / name)[0].verify_directly_issued_by(second)
    assert read(tmp_path / "ca.pem") == [first, second]
    assert not (tmp_path / "ca-next.key").exists()
    authority.ensure(["one"], NOW + DAY * 1201)
    assert read(tmp_path / "ca.pem") == [second]


def test_a_host_that_never_answers_does_not_hold_the_next_one_up_for_ever(tmp_path: Path) -> None:
    first = make_authority(make_key(), NOW, DAY.total_seconds() * 1200)
    second = make_authority(make_key(), NOW + DAY * 800, DAY.total_seconds() * 1200)
    assert decide_turn(first, second, is_known=False, now=NOW + DAY * 999) is Turn.KEEP
    assert decide_turn(first, second, is_known=False, now=NOW + DAY * 1000) is Turn.SWITCH


def test_all_is_made_anew_after_everything_has_ended(tmp_path: Path) -> None:
    authority = make(tmp_path)
    authority.ensure(["one"], NOW)
    later = NOW + DAY * 5000
    authority.ensure(["one"], later)
    (only,) = read(tmp_path / "ca.pem")
    assert only.not_valid_after_utc > later
    read(tmp_path / "agent-one.pem")[0].verify_directly_issued_by(only)
    assert [one.kind for one in authority.list_ends()] == ["authority", "controller"]
    assert not any(one.is_overdue(later) for one in authority.list_ends())


@pytest.mark.parametrize("half", ["next key without certificate", "both keys are the next one"])
def test_what_was_cut_off_is_finished(tmp_path: Path, half: str) -> None:
    authority = make(tmp_path)
    authority.ensure(["one"], NOW)
    bundle = (tmp_path / "ca.pem").read_bytes()
    authority.ensure(["one"], NOW + DAY * 801)
    if half == "next key without certificate":
        (tmp_path / "ca.pem").write_bytes(bundle)
    else:
        shutil.copy(tmp_path / "ca-next.key", tmp_path / "ca.key")
    authority.ensure(["one"], NOW + DAY * 1001)
    assert not (tmp_path / "ca-next.key").exists()
    _, second = read(tmp_path / "ca.pem")
    read(tmp_path / "agent-one.pem")[0].verify_directly_issued_by(second)


def test_without_the_authoritys_key_certificates_are_used_and_not_made(tmp_path: Path) -> None:
    authority = make(tmp_path)
    authority.ensure(["one"], NOW)
    (tmp_path / "ca.key").unlink()
    assert not authority.can_sign
    authority.ensure(["one", "two"], NOW + DAY * 80)
    assert not (tmp_path / "agent-two.pem").exists()
    with pytest.raises(Lasting, match="Copy a new one") as told:
        authority.ensure(["one"], NOW + DAY * 91)
    assert told.value.reason.slug == "certificate-missing"


def test_a_request_gets_the_name_of_its_host_and_nothing_else(tmp_path: Path) -> None:
    authority = make(tmp_path)
    authority.ensure([], NOW)
    signed = x509.load_pem_x509_certificate(authority.sign_host("another", show_request(), NOW).encode())
    assert signed.subject.rfc4514_string() == "CN=another"
    assert authority.describe_agent("another", write_certificates([signed]).decode()).name == "another"


EMPTY = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "rubbish",
        "\0",
        "é",
        EMPTY,
        show_certificate("one")[:-60],
        show_certificate("one", odd="version"),
    ],
)
def test_what_is_no_certificate_is_refused_with_its_host(tmp_path: Path, shown: str) -> None:
    authority = make(tmp_path)
    authority.ensure([], NOW)
    for look in (
        lambda: authority.describe_agent("one", shown),
        lambda: authority.is_due("one", shown, NOW),
    ):
        with pytest.raises(Lasting, match="certificate that host one shows cannot be used") as told:
            look()
        assert told.value.reason.slug == "own-certificate-unusable"
        assert len(told.value.sentence) < 300


@pytest.mark.parametrize(
    "shown", [show_certificate(None), show_certificate("two"), show_certificate("one", begin=LAST)]
)
def test_a_certificate_that_is_not_that_of_its_host_is_told_of(tmp_path: Path, shown: str) -> None:
    authority = make(tmp_path)
    authority.ensure([], NOW)
    with pytest.raises(Lasting, match="certificate that host one shows cannot be used"):
        authority.describe_agent("one", shown)
    assert authority.is_due("one", shown, NOW)


@pytest.mark.parametrize("odd", ["signature", "key"])
def test_a_certificate_of_a_kind_that_is_not_known_is_replaced(tmp_path: Path, odd: str) -> None:
    authority = make(tmp_path)
    authority.ensure([], NOW)
    assert authority.is_due("one", show_certificate("one", odd=odd), NOW)


@pytest.mark.parametrize(
    "request_",
    [
        "",
        "rubbish",
        "é",
        EMPTY.replace("CERTIFICATE", "CERTIFICATE REQUEST"),
        show_request()[:-60],
        show_request(odd="key"),
        show_request(odd="signature"),
        show_request(is_forged=True),
        show_certificate("one"),
    ],
)
def test_a_request_that_is_broken_is_refused_with_its_host(tmp_path: Path, request_: str) -> None:
    authority = make(tmp_path)
    authority.ensure([], NOW)
    with pytest.raises(Lasting, match="What host one asked a certificate with cannot be used") as told:
        authority.sign_host("one", request_, NOW)
    assert told.value.reason.slug == "own-certificate-unusable"


def test_a_file_that_is_broken_is_named(tmp_path: Path) -> None:
    authority = make(tmp_path)
    authority.ensure([], NOW)
    (tmp_path / "ca.pem").write_text(show_certificate("one", odd="version"))
    with pytest.raises(Lasting, match=r"ca\.pem cannot be used"):
        authority.list_ends()
    (tmp_path / "ca.key").write_text("rubbish")
    with pytest.raises(Lasting, match=r"ca\.key cannot be used"):
        authority.is_due("one", show_certificate("one"), NOW)
