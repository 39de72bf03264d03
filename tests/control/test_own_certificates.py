"""Renewal while one host lies or breaks: the others get theirs, and the lock is kept until all have had their turn."""

import asyncio
import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509

from statera.base.clock import SystemClock
from statera.base.files import locked
from statera.cli.doctor import judge_certificates
from statera.control.own_certificates import CertificateKeeper, observe_ends
from statera.drivers.pki_local import LocalAuthority
from statera.model.own_certificates import CertificateFacts, CertificateGrant, CertificateUnusable
from tests.fixtures.odd_certificates import show_certificate, show_request

HONEST, ODD = "honest", "odd"


class Agents:
    """Two hosts. What the honest one is told it installs; it answers when it `may_answer`."""

    def __init__(self, shown: str, request: str = "") -> None:
        self.shown = {HONEST: show_certificate(HONEST), ODD: shown}
        self.requests = {HONEST: show_request(), ODD: request}
        self.may_answer = asyncio.Event()
        self.asked_odd = asyncio.Event()
        self.fault: Exception | None = None

    async def observe_certificate(self, host: str) -> CertificateFacts:
        if host == ODD:
            self.asked_odd.set()
            if self.fault is not None:
                raise self.fault
        else:
            await self.may_answer.wait()
        return CertificateFacts(certificate=self.shown[host], authorities="")

    async def request_certificate(self, host: str) -> str:
        return self.requests[host]

    async def install_certificate(self, host: str, grant: CertificateGrant) -> None:
        if host == HONEST and grant.certificate:
            self.shown[host] = grant.certificate

    def is_renewed(self, authority: LocalAuthority) -> bool:
        issuers = x509.load_pem_x509_certificates(authority.load_bundle().encode())
        return x509.load_pem_x509_certificate(self.shown[HONEST].encode()).issuer == issuers[0].subject


def make_keeper(folder: Path, agents: Agents) -> tuple[CertificateKeeper, LocalAuthority]:
    authority = LocalAuthority(folder / "pki")
    keeper = CertificateKeeper(authority, agents, [ODD, HONEST], SystemClock(), folder / "keeper.lock", 3600.0)
    return keeper, authority


LIES = [
    Agents("rubbish"),
    Agents(show_certificate(ODD, odd="version")),
    Agents(show_certificate(None), request="rubbish"),
    Agents(show_certificate(ODD, odd="key"), request=show_request(odd="key")),
    Agents(show_certificate(ODD, odd="signature"), request=show_request(odd="signature")),
    Agents(show_certificate(ODD), request=show_request(is_forged=True)),
]


@pytest.mark.parametrize("agents", LIES, ids=range(len(LIES)))
async def test_a_host_that_lies_holds_up_no_other_and_is_told_of(tmp_path: Path, agents: Agents) -> None:
    keeper, authority = make_keeper(tmp_path, agents)
    working = asyncio.create_task(keeper.keep())
    await agents.asked_odd.wait()
    agents.may_answer.set()
    await working
    assert agents.is_renewed(authority)


@pytest.mark.parametrize("shown", ["rubbish", show_certificate(None), show_certificate(HONEST)])
async def test_the_doctor_tells_of_it_in_a_line(tmp_path: Path, shown: str) -> None:
    agents = Agents(shown)
    agents.may_answer.set()
    keeper, authority = make_keeper(tmp_path, agents)
    await keeper.keep()
    seen = await observe_ends(authority, agents, [ODD, HONEST])
    assert [type(one) for one in seen].count(CertificateUnusable) == 1
    found = {one.what: one for one in judge_certificates(seen, dt.datetime.now(dt.UTC))}
    assert found[f"certificate agent {ODD}"].found.startswith(f"The certificate that host {ODD} shows cannot be used: ")
    assert found[f"certificate agent {ODD}"].mend
    assert not found[f"certificate agent {ODD}"].is_warning
    assert not found[f"certificate agent {HONEST}"].mend
    assert {"certificate controller controller", f"certificate agent {HONEST}"} <= set(found)


async def test_a_broken_file_of_the_authority_hides_no_host(tmp_path: Path) -> None:
    agents = Agents(show_certificate(ODD))
    agents.may_answer.set()
    keeper, authority = make_keeper(tmp_path, agents)
    await keeper.keep()
    (tmp_path / "pki" / "ca.pem").write_text("rubbish", encoding="ascii")
    seen = await observe_ends(authority, agents, [HONEST])
    assert [one.kind for one in seen] == ["authority", "agent"]
    (told, _) = judge_certificates(seen, dt.datetime.now(dt.UTC))
    assert "ca.pem cannot be used" in told.found


async def test_a_fault_of_ours_with_one_host_ends_no_other_and_keeps_the_lock(tmp_path: Path) -> None:
    agents = Agents("")
    agents.fault = RuntimeError("a fault of ours")
    keeper, authority = make_keeper(tmp_path, agents)
    stop = asyncio.Event()
    running = asyncio.create_task(keeper.run(stop))
    await agents.asked_odd.wait()
    for _ in range(100):
        # Whatever the fault sets off has happened by then; the other host has not answered yet.
        await asyncio.sleep(0)
    with locked(tmp_path / "keeper.lock") as is_free:
        assert not is_free
    stop.set()
    agents.may_answer.set()
    await running
    assert agents.is_renewed(authority)
    with locked(tmp_path / "keeper.lock") as is_free:
        assert is_free
