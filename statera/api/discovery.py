"""What clients ask before anything else: versions, the API's root, and whether the service is healthy."""

import time
from typing import Any
from urllib.parse import urlsplit

from statera.api.call import OBJECT, Call, Route, answer_json
from statera.api.errors import Answer, answer_routing
from statera.base.errors import Transient

_UPDATED = (
    "2016-12-11T00:00:00Z", "2018-04-20T00:00:00Z", "2018-07-31T00:00:00Z", "2018-12-18T00:00:00Z",
    "2018-12-19T00:00:00Z", "2019-01-21T00:00:00Z", "2019-01-25T00:00:00Z", "2018-01-25T12:00:00Z",
    "2019-02-12T00:00:00Z", "2019-03-04T00:00:00Z", "2019-03-05T00:00:00Z", "2019-06-24T00:00:00Z",
    "2019-09-11T00:00:00Z", "2019-09-13T00:00:00Z", "2019-11-10T00:00:00Z", "2020-03-10T00:00:00Z",
    "2020-03-15T00:00:00Z", "2020-04-29T00:00:00Z", "2020-04-29T01:00:00Z", "2020-05-12T00:00:00Z",
    "2020-08-02T00:00:00Z", "2020-09-03T00:00:00Z", "2020-09-04T00:00:00Z", "2020-09-07T00:00:00Z",
    "2020-10-15T00:00:00Z", "2021-10-02T00:00:00Z", "2022-08-29T00:00:00Z", "2023-05-05T00:00:00Z",
    "2023-11-08T00:00:00Z", "2024-10-15T00:00:00Z", "2025-02-26T00:00:00Z",
)  # fmt: skip
"""When each version from 2.0 on was published (`contract/versions.json`); 2.7 is older than its elders there too."""


async def show_versions(call: Call) -> Answer:
    """Show all versions, the current one last."""
    href = f"{call.base_url()}{urlsplit(call.url).path.rstrip('/')}/v2"
    newest = len(_UPDATED) - 1
    versions = [
        {
            "id": f"v2.{number}",
            "status": "CURRENT" if number == newest else "SUPPORTED",
            "updated": updated,
            "links": [{"href": href, "rel": "self"}],
        }
        for number, updated in enumerate(_UPDATED)
    ]
    return answer_json({"versions": versions})


async def show_root(_call: Call) -> Answer:
    return answer_json("v2")


class Health:
    """The probe's answer, looked up at most every five seconds."""

    FRESH_S = 5.0
    UNAVAILABLE = "The Octavia database is unavailable."

    def __init__(self) -> None:
        self._reason = ""
        self._asked_at: float | None = None

    async def accept_probe(self, call: Call) -> Answer:
        """Answer 200, or 204 to HEAD, or 503 with the reason; 404 while the probe is switched off."""
        if not call.room.settings.api.healthcheck_enabled:
            return answer_routing(404)
        if self._asked_at is None or time.monotonic() - self._asked_at >= self.FRESH_S:
            self._reason = await self._look(call)
            self._asked_at = time.monotonic()
        status = 503 if self._reason else 200
        if call.method == "HEAD":
            return Answer(status=503 if self._reason else 204, media_type="text/plain")
        return self._format(call.headers.get("accept", ""), status)

    async def _look(self, call: Call) -> str:
        try:
            await call.room.store.check()
        except Transient:
            return self.UNAVAILABLE
        return ""

    def _format(self, accept: str, status: int) -> Answer:
        reason = self._reason or "OK"
        if "application/json" in accept:
            return answer_json({"detailed": False, "reasons": [reason]}, status)
        if "text/html" in accept:
            page = f"<!doctype html><title>Healthcheck</title><p>{reason}</p>"
            return Answer(status=status, body=page.encode(), media_type="text/html")
        return Answer(status=status, body=reason.encode(), media_type="text/plain")


def make_discovery_routes() -> tuple[Route, ...]:
    """Return the routes, with a probe that remembers for this application alone."""
    health = Health()
    roots = ("//v2", "//v2.0", "//v2/lbaas", "//v2.0/lbaas", "//v2/octavia", "//v2.0/octavia")
    words: dict[str, Any] = {"act": health.accept_probe, "summary": "Tell the service's health"}
    shown: dict[str, Any] = {
        "media_types": ("text/plain", "text/html", "application/json"),
        "shown": {"type": ["string", "object"]},
    }
    probes = [
        route
        for path in ("//healthcheck", "//load-balancer/healthcheck")
        for route in (
            Route(method="GET", path=path, **words, **shown),
            Route(method="HEAD", path=path, status=204, **words),
        )
    ]
    return (
        Route(method="GET", path="//", act=show_versions, summary="List the versions of the API", shown=OBJECT),
        *(
            Route(method="GET", path=root, act=show_root, summary="Name the API's root", shown={"const": "v2"})
            for root in roots
        ),
        *probes,
    )
