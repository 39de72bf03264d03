"""What clients ask before anything else: versions, the API's root, and whether the service is healthy."""

from typing import Any
from urllib.parse import urlsplit

from statera.api.call import OBJECT, Call, Route, answer_json
from statera.api.errors import Answer, answer_routing

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


UNAVAILABLE = "The Octavia database is unavailable."


async def accept_probe(call: Call) -> Answer:
    """Answer 200, or 204 to HEAD, or 503 with the reason; 404 while the probe is switched off."""
    if not call.room.settings.api.healthcheck_enabled:
        return answer_routing(404)
    is_well = await call.room.probe.answers()
    if call.method == "HEAD":
        return Answer(status=204 if is_well else 503, media_type="text/plain")
    reason, status = ("OK", 200) if is_well else (UNAVAILABLE, 503)
    accept = call.headers.get("accept", "")
    if "application/json" in accept:
        return answer_json({"detailed": False, "reasons": [reason]}, status)
    if "text/html" in accept:
        page = f"<!doctype html><title>Healthcheck</title><p>{reason}</p>"
        return Answer(status=status, body=page.encode(), media_type="text/html")
    return Answer(status=status, body=reason.encode(), media_type="text/plain")


_ROOTS = ("//v2", "//v2.0", "//v2/lbaas", "//v2.0/lbaas", "//v2/octavia", "//v2.0/octavia")
_PROBED: dict[str, Any] = {"act": accept_probe, "summary": "Tell the service's health"}
_TOLD: dict[str, Any] = {
    "media_types": ("text/plain", "text/html", "application/json"),
    "shown": {"type": ["string", "object"]},
}
ROUTES = (
    Route(method="GET", path="//", act=show_versions, summary="List the versions of the API", shown=OBJECT),
    *(
        Route(method="GET", path=root, act=show_root, summary="Name the API's root", shown={"const": "v2"})
        for root in _ROOTS
    ),
    *(
        route
        for path in ("//healthcheck", "//load-balancer/healthcheck")
        for route in (
            Route(method="GET", path=path, **_PROBED, **_TOLD),
            Route(method="HEAD", path=path, status=204, **_PROBED),
        )
    ),
)
