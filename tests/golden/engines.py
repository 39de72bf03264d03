"""The cases of engines that serve datagrams: one tree, one file for each engine, which the real programs judge."""

import subprocess
import tempfile
from pathlib import Path

import yaml

from statera.agent.nginx import CHECKER, find_stream_module
from statera.model.datagrams import DatagramDocument
from statera.model.engines import SCTP, EngineName
from statera.plan.spec import decide_amphora_spec
from statera.render.document import render_document, render_engine_file
from statera.render.lvs_network import render_lvs_network
from statera.render.paths import HaproxyPaths
from tests.golden.cases import ENGINE, LIMITS, make_tree

FOLDER = Path(__file__).parent / "datagrams"
MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"
"""In the golden files; where the machine has it elsewhere, a check says so."""
SUFFIXES = {EngineName.NGINX: "nginx.conf", EngineName.LVS: "lvs.conf"}
NETWORK = "lvs.nft"
"""The rules around IPVS."""
FAILING = "failing"
"""A second file of the case `plain`, with its first member failing."""


def list_files() -> dict[Path, str]:
    """Return what every golden file should hold."""
    files = {}
    for path in sorted(FOLDER.glob("*.in.yaml")):
        case = path.name.removesuffix(".in.yaml")
        for engine, suffix in SUFFIXES.items():
            if engine == EngineName.NGINX and case == "sctp":
                continue
            files[FOLDER / f"{case}.{suffix}"] = render_case(case, engine)
            if engine == EngineName.LVS:
                files[FOLDER / f"{case}.{NETWORK}"] = render_lvs_network(make_document(case, engine))
            if case == "plain":
                files[FOLDER / f"{case}.{FAILING}.{suffix}"] = render_case(case, engine, fails=True)
    return files


def render_case(case: str, engine: EngineName, *, fails: bool = False, folder: str = "") -> str:
    paths = HaproxyPaths(folder=folder) if folder else HaproxyPaths()
    document = make_document(case, engine)
    pool = document.pools[0]
    failing = [(pool.id, pool.servers[0].id)] if fails else []
    module = MODULE if not folder else find_stream_module("nginx") or ""
    return render_engine_file(document, paths, failing=failing, module=module)


def make_document(case: str, engine: EngineName) -> DatagramDocument:
    tree = make_tree(yaml.safe_load((FOLDER / f"{case}.in.yaml").read_text(encoding="utf-8")))
    spec = decide_amphora_spec(tree, "amphora", LIMITS, engines=(EngineName.HAPROXY, engine, SCTP))
    document = render_document(spec, ENGINE, HaproxyPaths())
    assert document is not None
    assert document.datagrams is not None
    return document.datagrams


def check_nginx(case: str) -> str:
    """Return what `nginx -t` says against a case, "" when it accepts it. It binds in a network of its own."""
    with tempfile.TemporaryDirectory(prefix="statera-check-") as folder:
        (Path(folder) / "live").mkdir()
        file = Path(folder) / "nginx.conf"
        file.write_text(render_case(case, EngineName.NGINX, folder=folder))
        words = ["nginx", "-t", "-q", "-e", "stderr", "-p", f"{folder}/", "-c", str(file)]
        return _run(["unshare", "--net", "sh", "-c", CHECKER, "check", *words])


def check_keepalived(text: str) -> str:
    """Return what `keepalived -t` says against a file, "" when it accepts it."""
    with tempfile.TemporaryDirectory(prefix="statera-check-") as folder:
        file = Path(folder) / "lvs.conf"
        file.write_text(text)
        return _run(["keepalived", "--config-test", "--check", f"--use-file={file}"])


def check_nft(text: str) -> str:
    """Return what nft says against rules, "" when it takes them into the kernel, in a network of its own."""
    return _run(["unshare", "--net", "nft", "-f", "-"], text)


def _run(words: list[str], given: str | None = None) -> str:
    done = subprocess.run(words, check=False, input=given, capture_output=True, text=True, timeout=30)
    told = (done.stdout + done.stderr).strip()
    return told or ("" if done.returncode == 0 else f"exit status {done.returncode}")
