"""What a described request would meet on a load balancer, and why nothing else. Beyond the v2 API.

Tenants' regular expressions can take for ever. Where a rule has one, a process of its own judges, and has a limit.
"""

import asyncio
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from statera.api.call import Call, Route, answer_json, not_found
from statera.api.errors import Answer
from statera.api.fields import Address, BadValue, Integer, Schema, Text, Texts
from statera.api.judge import Judged
from statera.api.loading import find
from statera.api.wire import Nested, Wire
from statera.base.errors import Refusal, Refused, Transient
from statera.model.enums import L7CompareType
from statera.model.l7 import ClientCertificate, Explanation, Request, explain
from statera.model.tree import LoadBalancer
from statera.store.trees import load_tree

JUDGE = "statera.api.judge"
JUDGE_WITHIN_S = 3.0
MOST_JUDGES = 4
"""Processes at a time, of some 30 MiB each."""
MOST_HEADERS = 100
_TEXT_MOST = 8192


class Headers:
    """Headers by name; one with several lines has a list of values."""

    _name = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,255}")
    _value = re.compile(rf"[^\x00-\x08\x0a-\x1f\x7f]{{0,{_TEXT_MOST}}}")

    def read(self, value: Any) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, Mapping):
            raise BadValue("Value should be an object")
        lists = {name: given if isinstance(given, list) else [given] for name, given in value.items()}
        lines = [(name, text) for name, given in lists.items() for text in given]
        if len(lines) > MOST_HEADERS:
            raise BadValue(f"Value should have at most {MOST_HEADERS} headers")
        for name, text in lines:
            if not self._name.fullmatch(name) or not isinstance(text, str) or not self._value.fullmatch(text):
                raise BadValue("Value should be headers: names and texts of one line")
        return tuple(lines)

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": {"type": ["string", "array"], "items": {"type": "string"}}}


class CertificateGiven(Wire, frozen=True, kw_only=True):
    verify_result: Annotated[int | UnsetType | None, Integer(0)] = UNSET
    subject: Annotated[dict[str, str] | UnsetType | None, Texts()] = UNSET


class RequestGiven(Wire, frozen=True, kw_only=True):
    port: Annotated[int, Integer(1, 65535)]
    method: Annotated[str | UnsetType | None, Text(32, pattern=r"^[A-Z]+$")] = UNSET
    path: Annotated[str | UnsetType | None, Text(_TEXT_MOST, pattern=r"^/[!-\"$-~]*$")] = UNSET
    host: Annotated[str | UnsetType | None, Text(255, pattern=r"^[!-~]*$")] = UNSET
    headers: Annotated[tuple[tuple[str, str], ...] | UnsetType | None, Headers()] = UNSET
    client_address: Annotated[str | UnsetType | None, Address()] = UNSET
    client_certificate: Annotated[CertificateGiven | UnsetType | None, Nested(CertificateGiven)] = UNSET


async def accept_explain(call: Call) -> Answer:
    """Say whom the request meets once all that is wanted is live."""
    call.require_arguments()
    wire = await call.read(RequestGiven, "request_", "request")
    place = await find(call, LoadBalancer, call.path["loadbalancer_id"], "loadbalancer:get_status")
    tree = await load_tree(call.room.store, place.id)
    if tree is None:
        raise not_found("Load Balancer", place.id)
    judged = Judged(tree=tree, request=_read_request(wire))
    is_safe = all(rule.compare_type != L7CompareType.REGEX for rule in tree.l7rules)
    return answer_json({"explanation": explain(tree, judged.request) if is_safe else await _judge_apart(judged)})


def _read_request(wire: RequestGiven) -> Request:
    given = {name: getattr(wire, name) for name in ("method", "path", "host", "headers", "client_address")}
    certificate = wire.client_certificate
    if isinstance(certificate, CertificateGiven):
        subject = certificate.subject or {}
        given["certificate"] = ClientCertificate(verify_result=certificate.verify_result or 0, subject=subject)
    return Request(port=wire.port, **{name: value for name, value in given.items() if value not in (UNSET, None)})


_judging: set[object] = set()


async def _judge_apart(judged: Judged) -> Explanation:
    if len(_judging) >= MOST_JUDGES:
        raise Transient("explain-busy", "Other requests are being explained; try again soon.", retry_after_s=1.0)
    own = object()
    _judging.add(own)
    try:
        return await _run_judge(judged)
    finally:
        _judging.discard(own)


async def _run_judge(judged: Judged) -> Explanation:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", JUDGE, stdin=pipe, stdout=pipe)
    try:
        told, _ = await asyncio.wait_for(process.communicate(msgspec.json.encode(judged)), JUDGE_WITHIN_S)
    except TimeoutError:
        raise Refused(Refusal.INVALID, "A regular expression takes too long with this request.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return msgspec.json.decode(told, type=Explanation)


ROUTES = (
    Route(
        method="POST",
        path="/loadbalancers/{loadbalancer_id}/explain",
        act=accept_explain,
        summary="Say what a described request would meet, and why nothing else",
        body=RequestGiven,
        root="request",
    ),
)
