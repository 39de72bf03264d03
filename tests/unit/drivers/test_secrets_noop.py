"""Any reference serves anywhere."""

import datetime as dt

from statera.drivers.secrets_noop import NoopSecrets
from statera.model.certificates import check_revocations, read_authorities, read_certificate, read_revocations


class Noon:
    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)


async def test_one_material_is_certificate_authority_and_list() -> None:
    parts = await NoopSecrets(Noon()).observe_secret("https://nowhere/v1/secrets/1")
    assert read_certificate(parts, "default_tls_container_ref").names == ("noop.invalid",)
    assert read_authorities(parts, "client_ca_tls_container_ref").digest
    assert read_revocations(parts, "client_crl_container_ref").digest
    check_revocations(parts, parts, "client_crl_container_ref", "client_ca_tls_container_ref")
