"""Every case gives the text of its golden files, and the real nginx and keepalived accept them."""

from pathlib import Path

import pytest

from statera.model.engines import EngineName
from tests.golden.engines import (
    FOLDER,
    NETWORK,
    SUFFIXES,
    check_keepalived,
    check_nft,
    check_nginx,
    list_files,
    render_case,
)

FILES = list_files()
NGINX_CASES = sorted(path.name.partition(".")[0] for path in FILES if path.name.endswith("nginx.conf"))
LVS_FILES = sorted(path for path in FILES if path.name.endswith(SUFFIXES[EngineName.LVS]))
NETWORK_FILES = sorted(path for path in FILES if path.name.endswith(NETWORK))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_case_gives_its_golden_file(path: Path) -> None:
    assert path.exists(), f"{path.name} is missing; `make golden` writes it"
    assert FILES[path] == path.read_text(encoding="utf-8"), "if this is meant: `make golden`"


@pytest.mark.root
@pytest.mark.parametrize("case", sorted(set(NGINX_CASES)))
def test_nginx_accepts_the_case(case: str) -> None:
    assert check_nginx(case) == ""


@pytest.mark.parametrize("path", LVS_FILES, ids=lambda path: path.name)
def test_keepalived_accepts_the_case(path: Path) -> None:
    assert check_keepalived(FILES[path]) == ""


def test_keepalived_is_really_asked() -> None:
    text = render_case("sctp", EngineName.LVS).replace("lvs_sched", "lvs_shed")
    assert "lvs_shed" in check_keepalived(text)


@pytest.mark.root
@pytest.mark.parametrize("path", NETWORK_FILES, ids=lambda path: path.name)
def test_the_kernel_takes_the_rules_around_ipvs(path: Path) -> None:
    # Twice: what stood there before goes.
    assert check_nft(FILES[path] * 2) == ""


def test_no_golden_file_is_left_over() -> None:
    assert {path for path in FOLDER.iterdir() if not path.name.endswith(".in.yaml")} == set(FILES)
