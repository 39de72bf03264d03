"""What doctor finds on a host with an agent: bridges, uplinks, and that there is nothing more to look for."""

import asyncio
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from statera.agent.neighbour_tables import Table, decide_table
from statera.base.settings import Settings, convert_settings
from statera.cli.doctor import check_deployment
from statera.cli.export import export_host
from statera.cli.own_host import check_devices, check_run_dir, judge_backlog, judge_table, runs_agent_only


def _settings(tmp_path: Path, **network: Any) -> Settings:
    values = {
        "data_dir": str(tmp_path / "data"),
        "health": {"host": "10.0.0.1"},
        "compute": {"hosts": [{"name": "local", "url": "https://10.0.0.1:9443"}]},
        "networks": [{"name": "public", "device": "nowhere0"} | network],
    }
    return convert_settings(values, source="the test")


def _find(tmp_path: Path, **network: Any) -> tuple[str, str, str]:
    (found,) = check_devices(_settings(tmp_path, **network))
    return found


def test_a_bridge_that_nobody_makes_is_missing(tmp_path: Path) -> None:
    assert _find(tmp_path)[1:] == ("nowhere0 does not exist here", "Make nowhere0, or set create = true and an uplink.")


def test_a_bridge_that_the_agent_makes_may_be_missing(tmp_path: Path) -> None:
    what, found, mend = _find(tmp_path, create=True, uplink="lo")
    assert (what, mend) == ("network public", "")
    assert "the agent makes it" in found


def test_an_uplink_that_is_missing_is_named(tmp_path: Path) -> None:
    assert _find(tmp_path, create=True, uplink="nowhere1")[2] == "Correct networks.uplink."


def test_a_device_that_is_there_is_well(tmp_path: Path) -> None:
    assert _find(tmp_path, device="lo")[1:] == ("lo", "")


@pytest.mark.parametrize(("place", "is_well"), [("/dev/shm/statera", True), ("/usr/statera", False)])
def test_a_run_directory_on_a_disk_could_be_filled(tmp_path: Path, place: str, is_well: bool) -> None:
    ((what, found, mend),) = check_run_dir(msgspec.structs.replace(_settings(tmp_path), run_dir=place))
    assert (what, not mend) == ("run directory", is_well)
    assert found.startswith(f"{place}, in memory" if is_well else f"{place} is on a disk")


def test_a_machine_that_builds_nothing_needs_none(tmp_path: Path) -> None:
    values = {"agent": {"name": "elsewhere"}, "compute": {"hosts": [{"name": "one", "url": "https://10.0.0.1:9443"}]}}
    settings = convert_settings(
        values | {"data_dir": str(tmp_path), "networks": [{"name": "n", "device": "no0"}]}, source=""
    )
    assert check_devices(settings) == []
    assert check_run_dir(settings) == []


def test_a_host_from_an_archive_knows_that_it_is_an_agent_only(tmp_path: Path) -> None:
    here = _settings(tmp_path)
    export_host(here, "local", tmp_path / "local.tar", controller=False)
    assert not runs_agent_only(here)
    with tarfile.open(tmp_path / "local.tar") as archive:
        archive.extractall(tmp_path / "there", filter="data")
    there = convert_settings(
        {"data_dir": str(tmp_path / "there" / str(tmp_path).lstrip("/") / "data")}, source="the archive"
    )
    assert runs_agent_only(there)
    runs, certificate = asyncio.run(check_deployment(there))
    assert "an agent only" in runs.found
    assert certificate.what == "certificate agent local"
    assert not certificate.mend


def test_a_table_of_neighbours_that_is_too_small_has_the_command() -> None:
    first = Table(family="ipv6", soft=512, hard=1024)
    what, found, mend = judge_table(first, 1000, 1087)
    assert what == "neighbours, IPv6"
    assert found == "1,024 entries, cleared away above 512; was full for 1,087 since boot"
    assert mend.startswith("sysctl -w net.ipv6.neigh.default.gc_thresh2=12128 net.ipv6.neigh.default.gc_thresh3=24256 ")
    well = judge_table(decide_table(first, 1000), 1000, 0)
    assert well == ("neighbours, IPv6", "24,256 entries, cleared away above 12,128", "")


def test_a_short_queue_of_packets_is_told_with_the_command() -> None:
    what, found, mend = judge_backlog(1000, 1000, 17)
    assert (what, found) == ("packets that may wait", "1,000 for each processor; 17 found no room since boot")
    assert mend.startswith("sysctl -w net.core.netdev_max_backlog=32000  # for 1,000 amphorae")
    assert judge_backlog(32_000, 1000, 0)[1:] == ("32,000 for each processor", "")
