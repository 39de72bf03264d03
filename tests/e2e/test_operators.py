"""An operator's commands on a running deployment."""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest

from statera.agent.neighbour_tables import decide_table, list_tables
from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.root]


def _statera(installation: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "statera", *words, "--config", str(installation.playground.config_path)]
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=environment)


def test_doctor_finds_a_running_deployment_well(installation: Installation) -> None:
    done = _statera(installation, "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("haproxy", "database", "agent local", "certificate authority", "certificate agent local", "revision"):
        assert word in done.stdout
    limit = installation.playground.settings.agent.amphora_limit
    for table in list_tables():
        assert decide_table(table, limit) == table, "the agent has not raised it"
        assert f"{table.hard:,} entries" in done.stdout


def test_a_second_up_is_refused(installation: Installation) -> None:
    done = _statera(installation, "up")
    assert done.returncode == 1
    assert "Another `statera up` is running" in done.stderr


def test_the_schema_can_be_upgraded_again(installation: Installation) -> None:
    done = _statera(installation, "db", "upgrade")
    assert done.returncode == 0, done.stderr
    assert "The database is at revision" in done.stdout


def test_amphorae_are_listed_shown_and_replaced(installation: Installation) -> None:
    playground = installation.playground
    made = playground.wait_active(playground.create_load_balancer("replaced", installation.servers[:1])["id"])

    def find() -> list[dict[str, Any]]:
        done = _statera(installation, "amphora", "list", "--load-balancer", made["id"], "--format", "json")
        return list(json.loads(done.stdout))

    [first] = find()
    assert (first["host"], first["role"], first["vip_address"]) == ("local", "STANDALONE", made["vip_address"])
    assert first["id"] in _statera(installation, "amphora", "list").stdout
    shown = json.loads(_statera(installation, "amphora", "show", first["id"], "--format", "json").stdout)
    assert shown["load_balancer_id"] == made["id"]
    assert made["vip_address"] in _statera(installation, "amphora", "show", first["id"]).stdout
    done = _statera(installation, "amphora", "failover", first["id"])
    assert f"Amphora {first['id']} of load balancer {made['id']} will be replaced." in done.stdout
    playground.wait_for(lambda: first["id"] not in {row["id"] for row in find()}, "Another amphora", 40.0)
    playground.wait_active(made["id"])
    gone = _statera(installation, "amphora", "failover", first["id"])
    assert (gone.returncode, gone.stderr) == (1, f"statera: Amphora {first['id']} not found.\n")
    playground.request("DELETE", f"/v2/lbaas/loadbalancers/{made['id']}?cascade=true")
    playground.wait_gone(made["id"])


def test_doctor_says_how_to_mend_a_stopped_deployment(installation: Installation) -> None:
    playground = installation.playground
    playground.stop_installation()
    done = _statera(installation, "doctor")
    assert done.returncode == 1
    assert "Start `statera up`" in done.stdout
    playground.start_installation()


def test_clean_removes_the_sandboxes_of_a_stopped_deployment(installation: Installation) -> None:
    playground = installation.playground
    made = playground.create_load_balancer("left", installation.servers)
    playground.wait_active(made["id"])
    assert len(installation.list_namespaces()) == 1
    playground.stop_installation()
    done = _statera(installation, "clean")
    assert done.returncode == 0, done.stderr
    assert installation.list_namespaces() == []
    playground.start_installation()
    # The database still wants it: the next pass builds it again.
    playground.wait_for(lambda: len(installation.list_namespaces()) == 1, "The sandbox")
    playground.wait_active(made["id"])


def test_an_empty_database_takes_nothing_for_its_own(installation: Installation) -> None:
    playground = installation.playground
    playground.wait_for(lambda: len(installation.list_namespaces()) == 1, "The sandbox")
    (left,) = installation.list_namespaces()
    playground.stop_installation()
    shutil.rmtree(playground.data_dir / "postgres")
    playground.start_installation()
    playground.wait_for(
        lambda: left.removeprefix("statera-") in _statera(installation, "orphans", "list").stdout, "The stray"
    )
    told = _statera(installation, "orphans", "list").stdout
    assert "deployment" in told
    assert "stays" in told
    assert "1 of them made by another deployment" in _statera(installation, "doctor").stdout
    done = _statera(installation, "orphans", "collect")
    assert "Removed" not in done.stdout
    assert installation.list_namespaces() == [left]
    refused = _statera(installation, "host", "forget", "local")
    assert refused.returncode == 1
    assert "answers" in refused.stderr
    done = _statera(installation, "orphans", "collect", "--foreign")
    assert done.returncode == 0, done.stderr
    assert left.removeprefix("statera-") in done.stdout
    assert installation.list_namespaces() == []
