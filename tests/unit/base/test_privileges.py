"""Giving up privileges, each time in a process of its own."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from statera.base.privileges import _CLONE, ALLOW, CAPABILITIES, CLONE3, CLONE_NEWUSER, REFUSE, UNKNOWN, make_filter

X86_64 = 0xC000003E
X32 = 0x40000000


def run_filter(program: bytes, architecture: int, number: int, flags: int = 0) -> int:
    """Interpret a filter as the kernel does (linux/bpf_common.h)."""
    lines = [
        (int.from_bytes(part[:2], sys.byteorder), part[2], part[3], int.from_bytes(part[4:], sys.byteorder))
        for part in (program[at : at + 8] for at in range(0, len(program), 8))
    ]
    at, loaded = 0, 0
    while True:
        code, yes, no, value = lines[at]
        at += 1
        match code:
            case 0x20:
                loaded = {0: number, 4: architecture, 16: flags}[value]
            case 0x15:
                at += yes if loaded == value else no
            case 0x35:
                at += yes if loaded >= value else no
            case 0x45:
                at += yes if loaded & value else no
            case _:
                return value


@pytest.mark.parametrize("calls", [{}, {"ptrace": 101}, {f"call{number}": number for number in range(100, 140)}])
def test_a_filter_refuses_what_it_names_and_other_architectures(calls: dict[str, int]) -> None:
    program = make_filter(X86_64, calls, clone=56)
    refused = {number for number in range(600) if run_filter(program, X86_64, number) == REFUSE}
    assert refused == set(calls.values())
    assert run_filter(program, X86_64, 599) == ALLOW
    assert run_filter(program, X86_64, X32 + 1) == REFUSE
    assert run_filter(program, 0x40000003, 1) == REFUSE


def test_a_filter_lets_nobody_become_root_of_a_user_namespace() -> None:
    program = make_filter(X86_64, {"unshare": 272}, clone=56)
    assert run_filter(program, X86_64, 56, CLONE_NEWUSER | 17) == REFUSE
    assert run_filter(program, X86_64, 56, 0x00020000 | 17) == ALLOW
    assert run_filter(program, X86_64, CLONE3) == UNKNOWN


LIMITED = """
import ctypes, os, pathlib, resource, subprocess, threading
from statera.base.privileges import limit_role, read_capabilities
limit_role("{role}")
library = ctypes.CDLL(None, use_errno=True)
refused = library.unshare(0x04000000) != 0 and ctypes.get_errno() == 1
refused = refused and library.syscall({clone}, 0x10000000 | 17, 0, 0, 0, 0) != 0 and ctypes.get_errno() == 1
# Threads and programs begin as ever.
thread = threading.Thread(target=subprocess.run, args=[["true"]], daemon=True)
thread.start()
thread.join()
dumps = resource.getrlimit(resource.RLIMIT_CORE) != (0, 0)
status = pathlib.Path("/proc/self/status").read_text()
print(read_capabilities("CapBnd"), read_capabilities("CapEff"), refused and not dumps, "NoNewPrivs:\\t1" in status)
"""


@pytest.mark.parametrize("role", ["api", "worker", "health"])
def test_a_controller_cannot_get_at_the_kernel(role: str) -> None:
    words = [sys.executable, "-c", LIMITED.format(role=role, clone=_CLONE[platform.machine()])]
    bounding, effective, refused, is_last = subprocess.run(
        words, check=True, capture_output=True, text=True
    ).stdout.split()
    files_and_ports = sum(
        1 << CAPABILITIES.index(name) for name in ("dac_override", "dac_read_search", "net_bind_service")
    )
    assert int(effective) & ~files_and_ports == 0
    assert int(bounding) & ~files_and_ports == 0 or effective == "0"
    assert (refused, is_last) == ("True", "True")


def test_capabilities_are_in_the_order_of_the_kernel() -> None:
    most = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert CAPABILITIES.index("sys_admin") == 21
    assert len(CAPABILITIES) == 41
    assert most <= len(CAPABILITIES) - 1 or most > 40
