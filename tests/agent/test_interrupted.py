"""What was cut off between HAProxy and the agent's memory is not taken for done."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from statera.agent.disk import read_disk_fault
from statera.agent.host import AmphoraHost
from statera.agent.namespace import has_vips
from tests.agent.ground import Ground, eventually, fetch, web_server

pytestmark = pytest.mark.root


async def test_a_configuration_that_was_live_and_not_remembered_is_loaded_anew(
    host: AmphoraHost, ground: Ground
) -> None:
    """The agent is killed after HAProxy took the second one; the tenant goes back to the first meanwhile."""
    with web_server() as one, web_server() as two:
        first, second = ground.document([one]), ground.document([two])
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(first))
        folders = host.sandboxes[ground.amphora_id].folders
        record = (folders.keep / "record.json").read_bytes()
        await host.apply(ground.amphora_id, ground.configuration(second, 2))
        assert await fetch(ground.vip) == str(two)
        # As the kill leaves it.
        (folders.keep / "record.json").write_bytes(record)
        folders.changing.touch()
        heir = ground.make_host()
        await heir.adopt()
        try:
            sandbox = heir.sandboxes[ground.amphora_id]
            assert sandbox.is_running
            assert sandbox.observe().configuration_digest == ""
            applied = await heir.apply(ground.amphora_id, ground.configuration(first, 3))
            assert applied.means == "reload"
            assert await fetch(ground.vip) == str(one)
            assert not folders.changing.exists()
        finally:
            heir.forget_processes()


async def test_a_removal_that_was_cut_off_is_ended_by_the_next_agent(ground: Ground) -> None:
    """Its successor has the VIPs by then: two that answer for them would break connections."""
    first = ground.make_host()
    await first.adopt()
    await first.ensure(ground.request())
    removing = asyncio.create_task(first.remove(ground.amphora_id, 2, hands_over_s=5))

    async def has_given_up() -> bool:
        return not has_vips(ground.sandbox())

    await eventually(has_given_up, "an amphora without VIPs")
    # As the kill leaves it: nobody takes the VIPs, so that it would still wait for that.
    removing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await removing
    first.forget_processes()
    again = ground.make_host()
    await again.adopt()
    assert again.sandboxes == {}
    assert ground.list_leftovers() == []


async def test_what_was_built_again_after_its_removal_is_adopted(ground: Ground) -> None:
    first = ground.make_host()
    await first.adopt()
    await first.ensure(ground.request())
    await first.remove(ground.amphora_id, 2)
    await first.ensure(ground.request(3))
    again = ground.make_host()
    await again.adopt()
    assert again.observe() == first.observe()
    assert [one.epoch for one in again.observe()] == [3]


@pytest.fixture
def disk(ground: Ground) -> Iterator[Path]:
    """A disk of its own, and small, for what the agent keeps."""
    folder = Path(ground.settings.data_dir)
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_is_told_and_heals(disk: Path, ground: Ground) -> None:
    host = ground.make_host()
    await host.adopt()
    with web_server() as one, web_server() as two:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([one])))
        with contextlib.suppress(OSError), (disk / "filler").open("wb") as filler:
            while True:
                filler.write(bytes(4096))
                filler.flush()
        wanted = ground.configuration(ground.document([two]), 2)
        with pytest.raises(OSError, match="No space left") as told:
            await host.apply(ground.amphora_id, wanted)
        fault = read_disk_fault(told.value)
        assert fault is not None
        assert fault.reason.slug == "disk-full"
        (disk / "filler").unlink()
        await host.apply(ground.amphora_id, wanted)
        assert await fetch(ground.vip) == str(two)
        assert host.sandboxes[ground.amphora_id].folders.load() is not None
        assert not host.sandboxes[ground.amphora_id].folders.changing.exists()
    await host.remove(ground.amphora_id, 1)


def test_other_errors_are_not_of_the_disk() -> None:
    assert read_disk_fault(ConnectionResetError()) is None
    assert read_disk_fault(ValueError()) is None


async def test_a_fault_does_not_end_the_watch(
    host: AmphoraHost, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = []

    def fail(*_: object) -> None:
        turns.append("failed")
        raise FileNotFoundError("a folder of a check, which has just ended")

    with monkeypatch.context() as patched:
        patched.setattr("statera.agent.host.WATCH_S", 0.05)
        patched.setattr("statera.agent.host.list_damaged", fail)

        async def has_failed_twice() -> bool:
            return len(turns) > 1

        await eventually(has_failed_twice, "turns")
    with web_server() as port:
        await host.ensure(ground.request())
        await host.apply(ground.amphora_id, ground.configuration(ground.document([port])))
        master = host.sandboxes[ground.amphora_id].engine.find_pid()
        assert master is not None
        os.kill(master, signal.SIGKILL)

        async def is_served() -> bool:
            return await fetch(ground.vip) == str(port)

        await eventually(is_served, "HAProxy")
