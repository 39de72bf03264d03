"""What the kernel of a full machine refuses is told as what it is, tried on a kernel's own limits in namespaces."""

import subprocess
import sys

import msgspec
import pytest

from statera.model.spec import SandboxSpec
from tests.agent.ground import Ground

pytestmark = pytest.mark.root

ENSURE = """
import sys
import msgspec
from statera.agent.namespace import ensure_namespace
from statera.base.errors import Transient
from statera.model.spec import SandboxSpec
try:
    ensure_namespace(msgspec.json.decode(sys.argv[1], type=SandboxSpec))
except Transient as error:
    print(error.reason.slug, error.sentence)
"""
MOST_PORTS = 1023


def _ensure(spec: SandboxSpec, namespaces: str, before: str) -> str:
    """Build a sandbox's namespace in namespaces of its own, after some commands; return what is told."""
    words = [sys.executable, "-c", ENSURE, msgspec.json.encode(spec).decode()]
    shell = ["sh", "-ec", f'mount -t tmpfs none /run; {before}\nexec "$@"', "sh", *words]
    done = subprocess.run(["unshare", *namespaces.split(), *shell], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_more_namespaces_are_not_a_full_disk(ground: Ground) -> None:
    told = _ensure(ground.sandbox(), "--user --map-root-user --mount", "echo 0 >/proc/sys/user/max_net_namespaces")
    assert told.startswith("host-full Host ")
    assert "as many network namespaces as its kernel allows (user.max_net_namespaces" in told


def test_a_bridge_takes_no_more_ports_than_the_kernel_allows(ground: Ground) -> None:
    # Both ends of each are in the bridge, which is not up: nothing is sent.
    pairs = "".join(
        f"link add name a{number} master {ground.bridge} type veth peer name c{number}\n"
        f"link set dev c{number} master {ground.bridge}\n"
        for number in range(MOST_PORTS // 2 + 1)
    )
    before = f"ip link add name {ground.bridge} type bridge; ip -force -batch - <<'BATCH' || true\n{pairs}BATCH\n"
    told = _ensure(ground.sandbox(), "--net --mount", before)
    assert told.startswith("host-full A bridge of host ")
    assert f"ports as the kernel allows, {MOST_PORTS:,}" in told
