"""Amphorae that share their VIPs give the text of their golden file, and the real keepalived accepts it."""

import subprocess
from pathlib import Path

import pytest

from statera.render.keepalived import render_keepalived
from tests.golden.vrrp_cases import CASES, list_vrrp_files, make_spec

# keepalived wants to see the interface that it works on.
CHECK = 'ip link add eth0 type veth peer name other && exec keepalived --config-test --use-file="$1"'


@pytest.mark.parametrize("path", list_vrrp_files(), ids=lambda path: path.name)
def test_case_gives_its_golden_file(path: Path) -> None:
    assert list_vrrp_files()[path] == path.read_text(encoding="utf-8"), "if this is meant: `make golden`"


@pytest.mark.root
@pytest.mark.parametrize("case", CASES)
def test_keepalived_accepts_the_case(case: str, tmp_path: Path) -> None:
    file = tmp_path / "keepalived.conf"
    file.write_text(render_keepalived(CASES[case]), encoding="utf-8")
    command = ["unshare", "--net", "sh", "-c", CHECK, "sh", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_one_that_stands_by_shares_nothing_yet() -> None:
    assert render_keepalived(make_spec(("192.0.2.21/24",), (), ("192.0.2.22",))) == ""
