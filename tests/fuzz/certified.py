"""What a host says of its certificate, which may have been taken over: refused in a sentence that names it, or used."""

import base64
import contextlib
import datetime as dt
import functools
import tempfile
from pathlib import Path

from statera.base.errors import Lasting
from statera.drivers.pki_local import LocalAuthority

NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
HOST = "local"
_FOLDER = tempfile.TemporaryDirectory(prefix="statera-fuzz-")


def judge_certificates(data: bytes) -> None:
    """Take the bytes for PEM, and for what PEM would hold: most changes of PEM itself are seen before it is read."""
    authority = _open_authority()
    text = data.decode("utf-8", errors="replace")
    for shown in (text, _wrap("CERTIFICATE", data)):
        with contextlib.suppress(Lasting):
            authority.is_due(HOST, shown, NOW)
        with contextlib.suppress(Lasting):
            assert authority.describe_agent(HOST, shown).name == HOST
    for request in (text, _wrap("CERTIFICATE REQUEST", data)):
        with contextlib.suppress(Lasting):
            signed = authority.sign_host(HOST, request, NOW)
            assert authority.describe_agent(HOST, signed).name == HOST


@functools.cache
def _open_authority() -> LocalAuthority:
    authority = LocalAuthority(Path(_FOLDER.name))
    authority.ensure([], NOW)
    return authority


def _wrap(kind: str, der: bytes) -> str:
    return f"-----BEGIN {kind}-----\n{base64.encodebytes(der).decode()}-----END {kind}-----\n"
