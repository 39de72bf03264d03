"""Secrets of a real Barbican: read with the user's token, let in by the access list, read later with our own."""

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from statera.base.clock import SystemClock
from statera.base.errors import Refused, Transient
from statera.base.secret import Secret
from statera.base.settings import BadSettings, Settings, convert_settings
from statera.drivers.secrets_barbican import BarbicanSecrets
from statera.model.certificates import read_certificate
from statera.model.secrets import SecretReader
from tests.fixtures.barbican import Barbican
from tests.fixtures.certificates import make_authority
from tests.fixtures.keystone import Keystone, User

WWW = make_authority().issue("www.example.test")


class People:
    """A tenant, a stranger, and our own user."""

    def __init__(self, keystone: Keystone, barbican: Barbican) -> None:
        self.barbican = barbican
        self.tenant = keystone.create_user(keystone.create_project(), "creator", "member", "reader")
        self.stranger = keystone.create_user(keystone.create_project(), "creator", "member", "reader")
        service = keystone.create_project()
        self.ours = keystone.create_user(service, "service", "member", "reader")
        name = keystone.ask("GET", f"/projects/{service}")["project"]["name"]
        credentials = {"username": self.ours.name, "password": self.ours.password, "project_name": name}
        self.identity = {"keystone": {"auth_url": keystone.url, **credentials}}

    def settings(self, **more: Any) -> Settings:
        secrets = {"driver": "barbican", "barbican_url": self.barbican.url} | more
        return convert_settings({"identity": self.identity, "secrets": secrets}, source="the test")

    def store(self, user: User, payload: bytes) -> str:
        body = {
            "name": "www",
            "payload": base64.b64encode(payload).decode(),
            "payload_content_type": "application/octet-stream",
            "payload_content_encoding": "base64",
        }
        answer = self.barbican.ask(user, "POST", "/secrets", body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["secret_ref"])


def reader_of(user: User) -> SecretReader:
    return SecretReader(project_id=user.project_id, token=Secret(user.ask_token()))


def open_driver(settings: Settings) -> BarbicanSecrets:
    return BarbicanSecrets(settings.secrets, settings.identity.keystone, SystemClock())


@pytest.fixture(scope="module")
def people(keystone: Keystone, barbican: Barbican) -> People:
    return People(keystone, barbican)


@pytest_asyncio.fixture
async def driver(people: People) -> AsyncIterator[BarbicanSecrets]:
    opened = open_driver(people.settings())
    yield opened
    await opened.close()


async def test_a_bundle_is_let_in_and_read_later(people: People, driver: BarbicanSecrets) -> None:
    ref = people.store(people.tenant, WWW.pkcs12())
    tenant = reader_of(people.tenant)
    assert read_certificate(await driver.observe_secret(ref, tenant), "x").names == ("www.example.test",)
    with pytest.raises(Refused, match="Could not retrieve certificate"):
        await driver.observe_secret(ref)
    await driver.ensure_access([ref], tenant)
    await driver.ensure_access([ref], tenant)
    assert read_certificate(await driver.observe_secret(ref), "x").names == ("www.example.test",)


async def test_containers(people: People, driver: BarbicanSecrets) -> None:
    parts = {"certificate": WWW.pem, "private_key": WWW.key_pem()}
    refs = [{"name": name, "secret_ref": people.store(people.tenant, part)} for name, part in parts.items()]
    body = {"type": "certificate", "name": "www", "secret_refs": refs}
    ref = str(people.barbican.ask(people.tenant, "POST", "/containers", body).json()["container_ref"])
    await driver.ensure_access([ref], reader_of(people.tenant))
    assert read_certificate(await driver.observe_secret(ref), "x").names == ("www.example.test",)


async def test_a_stranger_reads_nothing_and_lets_nobody_in(people: People, driver: BarbicanSecrets) -> None:
    ref = people.store(people.tenant, WWW.pkcs12())
    for reader in (reader_of(people.stranger), SecretReader(project_id=people.tenant.project_id, is_admin=True)):
        with pytest.raises(Refused) as told:
            await driver.observe_secret(ref, reader)
        assert told.value.reason.slug == "secret-not-found"
        with pytest.raises(Refused):
            await driver.ensure_access([ref], reader)


async def test_readers_that_are_there_stay(people: People, driver: BarbicanSecrets) -> None:
    ref = people.store(people.tenant, WWW.pkcs12())
    path = "/secrets/" + ref.rpartition("/")[2] + "/acl"
    body = {"read": {"users": [people.stranger.id], "project-access": False}}
    assert people.barbican.ask(people.tenant, "PUT", path, body).is_success
    await driver.ensure_access([ref], reader_of(people.tenant))
    access = people.barbican.ask(people.tenant, "GET", path).json()["read"]
    assert set(access["users"]) == {people.stranger.id, people.ours.id}
    assert access["project-access"] is False
    assert (await driver.observe_secret(ref, reader_of(people.stranger))).payload is not None


@pytest.mark.parametrize(
    "ref", ["nothing", "http://h/v1/secrets/8f0e4bde-0a12-4a7e-9a4e-8f4f1f2d3c4b", "http://h/v1/secrets/../../x"]
)
async def test_references_to_nothing(driver: BarbicanSecrets, ref: str) -> None:
    with pytest.raises(Refused, match="Could not retrieve certificate"):
        await driver.observe_secret(ref)


async def test_a_barbican_that_does_not_answer(people: People) -> None:
    silent = open_driver(people.settings(barbican_url="http://127.0.0.1:9"))
    with pytest.raises(Transient) as told:
        await silent.observe_secret("http://h/v1/secrets/8f0e4bde-0a12-4a7e-9a4e-8f4f1f2d3c4b")
    assert told.value.reason.slug == "secrets-unavailable"
    await silent.close()


def test_options_that_are_missing(people: People) -> None:
    with pytest.raises(BadSettings, match=r"secrets\.barbican_url"):
        open_driver(people.settings(barbican_url=""))
