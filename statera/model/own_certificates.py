"""Statera's own certificates: what agents and controllers say to each other about them, and when each ends."""

import datetime as dt
from typing import Literal

import msgspec

OVERDUE_AT = 0.8
"""Of a lifetime: renewal begins at two thirds, so by then it should have happened."""

Kind = Literal["authority", "controller", "agent"]


class CertificateEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The lifetime of one certificate."""

    kind: Kind
    name: str
    begin: dt.datetime
    end: dt.datetime

    def is_overdue(self, now: dt.datetime) -> bool:
        """Say whether it should have been replaced by now."""
        return now >= self.begin + (self.end - self.begin) * OVERDUE_AT


class CertificateUnusable(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that cannot be judged, and why."""

    kind: Kind
    name: str
    """Of the host that shows it, or of the folder that it is in."""
    sentence: str


class CertificateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent shows and whom it trusts, in PEM."""

    certificate: str
    authorities: str


class CertificateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent asks a new certificate with, PKCS #10 in PEM. The key stays with the agent."""

    request: str


class CertificateGrant(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent is to trust from now on, and to show; both in PEM."""

    authorities: str
    certificate: str = ""
    """Empty: the one that it has."""
