"""What is written into control groups of version 2; `tests/agent/test_share.py` has what the machine's own do."""

from pathlib import Path

import pytest

from statera.agent import cgroups
from statera.model.spec import LimitsSpec


@pytest.mark.parametrize(("percent", "quota"), [(0, "max 100000"), (150, "150000 100000")])
def test_each_sandbox_has_the_same_weight_whatever_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, percent: int, quota: str
) -> None:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n", encoding="ascii")
    limits = LimitsSpec(memory_mib=64, file_descriptors=4096, cpu_percent=percent, max_connections=100)
    assert cgroups.ensure_groups("one", limits) == [tmp_path / "statera" / "one" / "cgroup.procs"]
    written = {file.name: file.read_text(encoding="ascii") for file in (tmp_path / "statera" / "one").iterdir()}
    assert written == {"memory.max": "67108864", "cpu.max": quota, "cpu.weight": "100"}
