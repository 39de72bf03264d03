"""What is taken away inside a namespace by hand is seen and put back, and HAProxy goes on."""

import subprocess

import pytest

from statera.agent import namespace
from statera.agent.host import AmphoraHost
from statera.agent.intact import is_intact
from tests.agent.ground import Ground, eventually, fetch, web_server

pytestmark = pytest.mark.root


def run_inside(ground: Ground, *words: str) -> None:
    subprocess.run(["ip", "-n", namespace.namespace_name(ground.amphora_id), *words], check=True)


@pytest.mark.parametrize(
    "what", ["VIP", "IPv6 VIP", "own address", "down", "MAC", "interface"], ids=lambda what: what.replace(" ", "-")
)
async def test_what_was_taken_away_inside_comes_back(host: AmphoraHost, ground: Ground, what: str) -> None:
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        spec = ground.sandbox()
        sandbox = host.find(ground.amphora_id)
        assert sandbox is not None
        assert is_intact(spec)
        pid = sandbox.engine.find_pid()
        match what:
            case "VIP":
                run_inside(ground, "address", "del", f"{ground.vip}/32", "dev", "eth0")
            case "IPv6 VIP":
                run_inside(ground, "address", "del", f"{ground.vip6}/128", "dev", "eth0")
            case "own address":
                run_inside(ground, "address", "del", spec.interfaces[0].addresses[0], "dev", "eth0")
            case "down":
                run_inside(ground, "link", "set", "eth0", "down")
            case "MAC":
                run_inside(ground, "link", "set", "eth0", "address", "02:00:00:00:0f:0f")
            case "interface":
                run_inside(ground, "link", "set", "eth0", "down")
                run_inside(ground, "link", "set", "eth0", "name", "other0")
        assert not is_intact(spec)

        async def is_told() -> bool:
            return host.observe()[0].sandbox_digest == "" or is_intact(spec)

        await eventually(is_told, "The agent notices")

        async def serves() -> bool:
            return is_intact(spec) and await fetch(ground.vip) == str(port) and await fetch(ground.vip6) == str(port)

        await eventually(serves, "An answer at both VIPs")
        assert host.observe()[0].sandbox_digest == spec.digest()
        assert sandbox.engine.find_pid() == pid


async def test_a_sandbox_that_is_whole_is_left_alone(host: AmphoraHost, ground: Ground) -> None:
    await host.ensure(ground.request())
    sandbox = host.find(ground.amphora_id)
    assert sandbox is not None
    for _ in range(3):
        await sandbox.look_inside()
    assert sandbox.is_whole
    assert not await sandbox.keep_running(0.0)
