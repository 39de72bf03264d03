"""What L7 rules compare with changes while HAProxy runs, and stays when it begins anew."""

import asyncio
import os
import signal

import httpx
import pytest

from statera.agent.host import AmphoraHost
from statera.model.document import Document
from statera.model.enums import L7Action, L7CompareType, L7RuleType
from statera.model.spec import L7PolicySpec, L7RuleSpec
from tests.agent.ground import Ground, eventually, means
from tests.agent.specs import make_document, make_listener, make_pool

pytestmark = pytest.mark.root

HOST, HEADER, PATH = "host", "header", "path"


def rejecting(ground: Ground, *rules: L7RuleSpec) -> Document:
    """Refuse what meets all of these rules; the rest finds no member."""
    policy = L7PolicySpec(id="policy", action=L7Action.REJECT, rules=rules)
    return make_document(ground, [make_listener(ground, l7policies=(policy,))], [make_pool(ground, [])])


def rule(
    name: str, kind: L7RuleType, value: str, how: L7CompareType = L7CompareType.EQUAL_TO, key: str | None = None
) -> L7RuleSpec:
    return L7RuleSpec(id=name, type=kind, compare_type=how, key=key, value=value, invert=False)


async def is_refused(ground: Ground, host: str, path: str = "/", **headers: str) -> bool:
    def run() -> int:
        url = f"http://{ground.vip}{path}"
        return httpx.get(url, headers={"Host": host, **headers}, timeout=5.0, trust_env=False).status_code

    status = await asyncio.to_thread(run)
    assert status in (403, 503)
    return status == 403


async def test_values_change_without_a_reload_and_outlive_a_restart(host: AmphoraHost, ground: Ground) -> None:
    def document(name: str, header: str, path: str) -> Document:
        return rejecting(
            ground,
            rule(HOST, L7RuleType.HOST_NAME, name),
            rule(HEADER, L7RuleType.HEADER, header, L7CompareType.CONTAINS, "X"),
            rule(PATH, L7RuleType.PATH, path, L7CompareType.REGEX),
        )

    async def change(wanted: Document) -> str:
        return means(await host.apply(ground.amphora_id, ground.configuration(wanted)))

    await host.ensure(ground.request())
    await change(document("a.test", "one", "^/[ab]$"))
    sandbox = host.find(ground.amphora_id)
    assert sandbox is not None
    pid = sandbox.engine.find_pid()
    assert await is_refused(ground, "a.test", "/a", X="is one")
    assert not await is_refused(ground, "b.test", "/a", X="is one")

    # Signs that mean something on the socket, too.
    odd = document("B.test", '"two; #words \\"', "^/\\d+;b$|^/c{1,2}$")
    assert await change(odd) == "runtime"
    assert sandbox.engine.find_pid() == pid

    async def is_right() -> bool:
        met = [await is_refused(ground, "b.test:80", path, X="a,two; #words \\ b") for path in ("/12;b", "/cc")]
        missed = [await is_refused(ground, name, "/cc", X="two; #words \\") for name in ("a.test", "c.test")]
        return all(met) and not any(missed) and not await is_refused(ground, "b.test", "/cc", X="one")

    assert await is_right()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    async def is_back() -> bool:
        try:
            return sandbox.engine.find_pid() != pid and await is_right()
        except httpx.TransportError:
            return False

    await eventually(is_back, "HAProxy with the newest values")


@pytest.mark.parametrize("value", ["#", '" a"', "\u2028", '""'])
async def test_a_value_that_no_file_can_hold_is_reloaded(host: AmphoraHost, ground: Ground, value: str) -> None:
    plain, odd = (rejecting(ground, rule(HOST, L7RuleType.PATH, text)) for text in ("/a", value))
    await host.ensure(ground.request())
    for wanted, expected in ((plain, "reload"), (odd, "reload"), (plain, "reload")):
        assert means(await host.apply(ground.amphora_id, ground.configuration(wanted))) == expected
    assert await is_refused(ground, "a", "/a")


async def test_a_thousand_rules_cost_no_reload(host: AmphoraHost, ground: Ground) -> None:
    def document(last: str) -> Document:
        values = [f"host{number}.test" for number in range(999)] + [last]
        policies = tuple(
            L7PolicySpec(
                id=f"policy{number}",
                action=L7Action.REJECT,
                rules=(rule(f"rule{number}", L7RuleType.HOST_NAME, value),),
            )
            for number, value in enumerate(values)
        )
        return make_document(ground, [make_listener(ground, l7policies=policies)], [make_pool(ground, [])])

    await host.ensure(ground.request())
    await host.apply(ground.amphora_id, ground.configuration(document("old.test")))
    assert await is_refused(ground, "old.test")
    assert means(await host.apply(ground.amphora_id, ground.configuration(document("new.test")))) == "runtime"
    assert await is_refused(ground, "new.test")
    assert not await is_refused(ground, "old.test")
    assert await is_refused(ground, "host998.test")
