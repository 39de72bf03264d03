"""What the processes of a running installation may do, and who may read what they write."""

import json
import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from statera.base.privileges import AGENT_KEEPS, CAPABILITIES, CONTROL_KEEPS, read_capabilities
from tests.e2e.conftest import Installation

pytestmark = [pytest.mark.e2e, pytest.mark.root]

SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
CONTROL = ("api", "worker", "health")


def _status(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def _names(bits: int) -> set[str]:
    return {name for number, name in enumerate(CAPABILITIES) if bits >> number & 1}


def _account() -> tuple[int, int]:
    try:
        found = pwd.getpwnam("statera")
    except KeyError:
        return 0, 0
    return found.pw_uid, found.pw_gid


@pytest.mark.parametrize("role", CONTROL)
def test_controllers_have_a_user_of_their_own_and_no_power(installation: Installation, role: str) -> None:
    uid, gid = _account()
    seen = _status(installation.find_process(role))
    assert (seen["Uid"].split(), seen["Gid"].split()) == ([str(uid)] * 4, [str(gid)] * 4)
    assert set(seen["Groups"].split()) <= {str(gid)}
    assert seen["NoNewPrivs"] == "1"
    assert seen["Seccomp"] == "2"
    held = set().union(*(_names(int(seen[name], 16)) for name in SETS))
    # To read all files, only where this Python or the configuration is not for everybody; root's one may write them.
    assert held <= (set(CONTROL_KEEPS) if uid == 0 else {"dac_read_search"})


def test_nothing_is_held_where_everything_needed_may_be_read(installation: Installation) -> None:
    uid, gid = _account()
    prefix = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--"]
    probe = subprocess.run([*prefix, "test", "-r", str(Path(sys.executable).resolve())], check=False)
    pid = installation.find_process("worker")
    if uid and probe.returncode == 0:
        assert read_capabilities("CapBnd", pid) == 0
    else:
        assert "may read all files" in installation.playground.log_path.read_text() or uid == 0


def test_the_agent_keeps_what_it_uses_and_nothing_else(installation: Installation) -> None:
    pid = installation.find_process("agent")
    seen = _status(pid)
    # Of what this machine lets anybody have.
    given = set(AGENT_KEEPS) & _names(read_capabilities("CapBnd"))
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert _names(int(seen[name], 16)) == given
    assert {int(seen[name], 16) for name in ("CapInh", "CapAmb")} == {0}
    assert seen["NoNewPrivs"] == "1"
    for word in ("sys_module", "sys_rawio", "sys_boot", "sys_time", "mknod", "bpf", "syslog", "dac_read_search"):
        assert word not in AGENT_KEEPS


def test_nobody_else_may_read_what_is_written(installation: Installation) -> None:
    playground = installation.playground
    made = playground.create_load_balancer("modes", installation.servers)
    playground.wait_active(made["id"])
    problems, readable = [], set()
    for root in (playground.data_dir, playground.run_dir):
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                path = Path(folder, name)
                problems += _find_problems(path.relative_to(root), path.lstat())
            if _is_open(Path(folder), root):
                readable |= {name for name in (*folders, *files) if Path(folder, name).lstat().st_mode & 0o004}
    assert problems == []
    assert readable <= PUBLIC
    for run in Path(playground.run_dir, "amphorae").iterdir():
        record = json.loads((Path(playground.data_dir, "amphorae", run.name) / "record.json").read_text())
        owners = [(one.stat().st_uid, one.stat().st_gid) for one in (run, run / "live")]
        assert owners == [(0, record["user_id"]), (record["user_id"], record["user_id"])]
        assert [stat.S_IMODE(one.stat().st_mode) for one in (run, run / "live")] == [0o750, 0o700]
        for key in (run / "keys").glob("*"):
            assert (key.stat().st_uid, key.stat().st_gid) == (0, record["user_id"])
            assert stat.S_IMODE(key.stat().st_mode) == 0o640
    playground.request("DELETE", f"/v2/lbaas/loadbalancers/{made['id']}?cascade=true")
    playground.wait_gone(made["id"])


PUBLIC = {"agent.lock", "up.lock", "amphorae", "deployments", "clouds.yaml", "statera.log", "statera.toml"}
"""What every user of the machine may read: locks, names of folders, and what the playground keeps beside."""
PRIVATE = ("ca.key", "ca-next.key", "controller.key", "agent-local.key", "secrets.key", "key", "record.json", "pki")


def _is_open(folder: Path, root: Path) -> bool:
    """Say whether everybody gets into a folder below `root`."""
    ways = [folder, *folder.parents][: len(folder.relative_to(root).parts)]
    return all(one.stat().st_mode & 0o001 for one in ways)


def _find_problems(path: Path, found: os.stat_result) -> list[str]:
    mode = stat.S_IMODE(found.st_mode)
    problems = []
    if path.name in PRIVATE and mode & 0o077:
        problems.append(f"{path} is {mode:o}: others may read it")
    # Links have no mode; sockets are guarded by their folder.
    if mode & 0o022 and not stat.S_ISLNK(found.st_mode) and not stat.S_ISSOCK(found.st_mode):
        problems.append(f"{path} is {mode:o}: others may write it")
    if stat.S_ISSOCK(found.st_mode) and mode & 0o007 and path.parts[0] not in ("metrics", "pg"):
        problems.append(f"{path} is {mode:o}: others may speak to it")
    if str(path) in ("metrics", "pg", "postgres") and mode & 0o007:
        problems.append(f"{path} is {mode:o}: others may enter")
    if mode & 0o6000:
        problems.append(f"{path} is {mode:o}: who runs it becomes another user")
    return problems


def test_one_page_has_the_metrics_of_processes_of_several_users(installation: Installation) -> None:
    metrics = installation.playground.settings.metrics
    url = f"http://{metrics.host}:{metrics.port}/metrics"

    def is_complete() -> bool:
        page = httpx.get(url, trust_env=False).text
        return all(f'process="{name}"' in page for name in (*CONTROL, "agent", "up"))

    installation.playground.wait_for(is_complete, "The page of all processes")


def test_the_api_can_still_start_the_judge_of_expressions(installation: Installation) -> None:
    playground = installation.playground
    made = playground.create_load_balancer("judged", installation.servers)
    listener = playground.request("GET", "/v2/lbaas/listeners?name=judged-http")["listeners"][0]
    rule = {"type": "PATH", "compare_type": "REGEX", "value": "^/(a|aa)+$"}
    policy = {"listener_id": listener["id"], "action": "REJECT", "rules": [rule]}
    playground.request("POST", "/v2/lbaas/l7policies", {"l7policy": policy})
    path = f"/v2/lbaas/loadbalancers/{made['id']}/explain"
    told = playground.request("POST", path, {"request": {"port": 80, "path": "/aaa"}})
    assert "REJECT" in str(told).upper()
    playground.request("DELETE", f"/v2/lbaas/loadbalancers/{made['id']}?cascade=true")
    playground.wait_gone(made["id"])
