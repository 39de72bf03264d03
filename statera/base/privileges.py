"""What the kernel lets a process do: each role keeps what it needs, at its start, and can never get the rest again.

Works on the calling thread; threads and programs that are started later inherit it. Before that there is one thread.
"""

import ctypes
import os
import platform
import resource
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from statera.base.processes import read_status

CAPABILITIES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip
"""In the order of their numbers (linux/capability.h)."""

AGENT_KEEPS = (
    "chown", "dac_override", "fowner", "kill", "setgid", "setuid", "setpcap", "net_bind_service", "net_admin",
    "net_raw", "sys_ptrace", "sys_admin", "sys_nice",
)  # fmt: skip
"""Why each: docs/security.md, "What runs as root"."""
CONTROL_KEEPS = ("dac_override", "dac_read_search", "net_bind_service")
"""As far as `statera up`, or who else starts API, worker and health, gives them."""

PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 23, 24, 22, 38
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION_3 = 0x20080522
ALLOW, REFUSE, UNKNOWN = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38
"""SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO with EPERM, with ENOSYS (linux/seccomp.h)."""
LOAD_WORD, JUMP_IF_EQUAL, JUMP_IF_NOT_LESS, JUMP_IF_ANY, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
CLONE_NEWUSER = 0x10000000
"""linux/sched.h."""
X32_BIT = 0x40000000
MASK = 0xFFFFFFFF

_REFUSED_CALLS: dict[str, tuple[int, dict[str, int]]] = {
    # AUDIT_ARCH_..., then the numbers of asm/unistd.h.
    "x86_64": (
        0xC000003E,
        {
            "ptrace": 101, "pivot_root": 155, "chroot": 161, "mount": 165, "umount2": 166, "swapon": 167, "reboot": 169,
            "init_module": 175, "delete_module": 176, "kexec_load": 246, "add_key": 248, "request_key": 249,
            "keyctl": 250, "unshare": 272, "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308,
            "process_vm_readv": 310, "process_vm_writev": 311, "finit_module": 313, "bpf": 321, "userfaultfd": 323,
            "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsmount": 432,
            "pidfd_getfd": 438,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "unshare": 97, "kexec_load": 104,
            "init_module": 105, "delete_module": 106, "ptrace": 117, "reboot": 142, "add_key": 217, "request_key": 218,
            "keyctl": 219, "swapon": 224, "perf_event_open": 241, "open_by_handle_at": 265, "setns": 268,
            "process_vm_readv": 270, "process_vm_writev": 271, "finit_module": 273, "bpf": 280, "userfaultfd": 282,
            "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsmount": 432,
            "pidfd_getfd": 438,
        },
    ),
}  # fmt: skip
"""System calls that lead to other processes, into the kernel or out of a sandbox; API, worker and health make none."""
_CLONE = {"x86_64": 56, "aarch64": 220}
"""Its first argument has the flags."""
CLONE3 = 435
"""Its flags are in memory, where a filter cannot look; libc then makes `clone` instead."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Words(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


class _Line(NamedTuple):
    """An instruction of a filter; `yes` and `no` name the line that a jump leads to, "" for the next one."""

    code: int
    value: int
    yes: str = ""
    no: str = ""
    name: str = ""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def limit_role(role: str) -> None:
    """Give up what a role does not need. Raises `OSError`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if role == "agent":
        # A filter would go on to every HAProxy and cost it some hundredths of its processor time.
        limit_capabilities(AGENT_KEEPS)
        return
    limit_capabilities(CONTROL_KEEPS)
    refuse_calls()


def limit_capabilities(keeps: Collection[str]) -> None:
    """Give up all capabilities but these, for good, and set `no_new_privs`. Raises `OSError`."""
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    kept = sum(1 << CAPABILITIES.index(name) for name in keeps)
    if has_capability("setpcap"):
        number = 0
        while (is_there := ctypes.CDLL(None).prctl(PR_CAPBSET_READ, number, 0, 0, 0)) >= 0:
            if is_there and not kept >> number & 1:
                _call("prctl", PR_CAPBSET_DROP, number, 0, 0, 0)
            number += 1
    kept &= read_capabilities("CapPrm")
    # What another user's processes were given goes on to those that they start.
    passed = kept & read_capabilities("CapAmb")
    words = (_Words * 2)(*(_Words(kept >> at & MASK, kept >> at & MASK, passed >> at & MASK) for at in (0, 32)))
    _call("capset", ctypes.byref(_Header(CAPABILITY_VERSION_3, 0)), words)


def has_capability(name: str) -> bool:
    """Say whether this thread may use a capability now."""
    return bool(read_capabilities("CapEff") >> CAPABILITIES.index(name) & 1)


def read_capabilities(which: str, pid: int | str = "thread-self") -> int:
    """Return a set of capabilities of a process as the kernel tells it, such as `CapEff` (proc(5))."""
    (told,) = read_status(pid, which)
    return int(told, 16)


def refuse_calls() -> None:
    """Make the kernel answer EPERM to system calls that no process of the controller makes. Raises `OSError`.

    Does nothing on a machine whose numbers of system calls are not known here, or whose kernel has no filters.
    """
    known = _REFUSED_CALLS.get(platform.machine())
    if known is None or not Path("/proc/sys/kernel/seccomp").is_dir():
        return
    rules = make_filter(*known, _CLONE[platform.machine()])
    buffer = ctypes.create_string_buffer(rules)
    program = _Program(len(rules) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    _call("prctl", PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)


def make_filter(architecture: int, calls: Mapping[str, int], clone: int) -> bytes:
    """Return the program of the filter: 8 bytes an instruction (linux/filter.h), reading `struct seccomp_data`.

    `clone` is refused when it asks for a user namespace, in which one could ask much more of the kernel.
    """
    lines = [
        _Line(LOAD_WORD, 4),
        # Another architecture has other numbers, and none of our processes is of one.
        _Line(JUMP_IF_EQUAL, architecture, no="refused"),
        _Line(LOAD_WORD, 0),
        _Line(JUMP_IF_NOT_LESS, X32_BIT, yes="refused"),
        *(_Line(JUMP_IF_EQUAL, number, yes="refused") for number in sorted(calls.values())),
        _Line(JUMP_IF_EQUAL, clone, yes="flags"),
        _Line(JUMP_IF_EQUAL, CLONE3, yes="unknown"),
        _Line(RETURN, ALLOW),
        # The lower half of the first argument, which stands first.
        _Line(LOAD_WORD, 16, name="flags"),
        _Line(JUMP_IF_ANY, CLONE_NEWUSER, yes="refused"),
        _Line(RETURN, ALLOW),
        _Line(RETURN, REFUSE, name="refused"),
        _Line(RETURN, UNKNOWN, name="unknown"),
    ]
    places = {line.name: place for place, line in enumerate(lines)}

    def pack(place: int, line: _Line) -> bytes:
        # A jump counts from the line after its own.
        jumps = [places[name] - place - 1 if name else 0 for name in (line.yes, line.no)]
        return struct.pack("=HBBI", line.code, *jumps, line.value)

    return b"".join(pack(place, line) for place, line in enumerate(lines))


def _call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
