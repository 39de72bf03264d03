"""`statera doctor`: check this machine and this deployment, and say how to mend each fault."""

import asyncio
import datetime as dt
import re
import resource
import subprocess
from collections.abc import Iterable
from pathlib import Path

import msgspec
from rich.table import Table

from statera.app import observe_certificates
from statera.base.settings import Settings
from statera.cli.chores import check_watch
from statera.cli.deployment import check_agents, check_database, check_identity, check_orphans
from statera.cli.own_host import (
    check_backlog,
    check_devices,
    check_neighbour_tables,
    check_run_dir,
    list_own_ends,
    runs_agent_only,
)
from statera.cli.preflight import check_ready, find_program
from statera.cli.tables import print_table
from statera.model.own_certificates import CertificateEnd, CertificateUnusable

HAPROXY_LEAST = (2, 6)
KEEPALIVED_LEAST = (2, 2)
DESCRIPTORS_LEAST = 4096
MEMORY_LEAST_MIB = 1024


class Finding(msgspec.Struct, frozen=True):
    """One checked thing. `mend` is empty when it is well; a warning does not fail the command."""

    what: str
    found: str
    mend: str = ""
    is_warning: bool = False


def run_doctor(settings: Settings) -> int:
    """Print a table of findings; return 1 when something is wrong."""
    findings = [*check_machine(settings), *asyncio.run(check_deployment(settings))]
    table = Table("", "what", "found", "how to mend it", box=None)
    for finding in findings:
        mark = "[green]✓" if not finding.mend else "[yellow]!" if finding.is_warning else "[red]✗"
        table.add_row(mark, finding.what, finding.found, finding.mend)
    print_table(table)
    return int(any(finding.mend and not finding.is_warning for finding in findings))


def check_machine(settings: Settings) -> list[Finding]:
    """Check what does not need a running deployment."""
    faults = check_ready(settings)
    basics = [Finding("machine", fault.what, fault.mend) for fault in faults]
    return [
        *(basics or [Finding("machine", "Linux, root, programs and users are there")]),
        check_version("haproxy", [settings.agent.haproxy, "-v"], HAPROXY_LEAST),
        check_version("keepalived", ["keepalived", "--version"], KEEPALIVED_LEAST),
        _check_descriptors(),
        _check_memory(),
        _check_control_groups(),
        _check_ipv6(),
        _check_data_dir(settings),
        *(Finding(what, found, mend) for what, found, mend in check_devices(settings)),
        *(
            Finding(what, found, mend, is_warning=True)
            for what, found, mend in (
                *check_run_dir(settings),
                *check_neighbour_tables(settings),
                *check_backlog(settings),
            )
        ),
    ]


def check_version(what: str, command: list[str], least: tuple[int, int]) -> Finding:
    """Run a program for its version and compare it with the least one that Statera works with."""
    wanted = ".".join(map(str, least))
    program = find_program(command[0])
    if program is None:
        return Finding(what, "missing", f"apt-get install {what}")
    done = subprocess.run([program, *command[1:]], check=False, capture_output=True, text=True)
    version = parse_version(done.stdout + done.stderr)
    if version is None:
        return Finding(what, "shows no version", f"Install {what} {wanted} or newer.")
    shown = ".".join(map(str, version))
    return Finding(what, shown, "" if version[:2] >= least else f"Install {what} {wanted} or newer.")


def parse_version(text: str) -> tuple[int, ...] | None:
    """Return the first dotted version in a program's words."""
    found = re.search(r"\bv?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups() if part is not None) if found else None


def _check_descriptors() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    mend = "" if hard >= DESCRIPTORS_LEAST else f"Raise the limit (ulimit -n) to {DESCRIPTORS_LEAST} or more."
    return Finding("file descriptors", f"{soft} (at most {hard})", mend)


def _check_memory() -> Finding:
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    found = re.search(r"MemAvailable:\s+(\d+) kB", text)
    available = int(found[1]) // 1024 if found else 0
    mend = "" if available >= MEMORY_LEAST_MIB else f"Free {MEMORY_LEAST_MIB} MiB or more."
    return Finding("memory", f"{available} MiB available", mend, is_warning=True)


def _check_control_groups() -> Finding:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return Finding("control groups", "version 2")
    if Path("/sys/fs/cgroup/memory/tasks").exists():
        return Finding("control groups", "version 1")
    return Finding(
        "control groups", "none", "Mount /sys/fs/cgroup, or sandboxes have no memory and CPU limits.", is_warning=True
    )


def _check_ipv6() -> Finding:
    if Path("/proc/sys/net/ipv6").is_dir():
        return Finding("IPv6", "in the kernel")
    return Finding("IPv6", "missing", "Boot with IPv6, or use IPv4 subnets only.", is_warning=True)


def _check_data_dir(settings: Settings) -> Finding:
    directory = Path(settings.data_dir)
    if not directory.exists():
        return Finding("data directory", f"{directory} does not exist yet; `statera up` makes it")
    if directory.stat().st_mode & 0o007 and (directory / "pki").exists() and (directory / "pki").stat().st_mode & 0o077:
        return Finding("data directory", f"{directory / 'pki'} is open to others", f"chmod 700 '{directory / 'pki'}'")
    return Finding("data directory", str(directory))


async def check_deployment(settings: Settings) -> list[Finding]:
    """Check the database, every agent and the certificates, each on its own: one that is down hides no other."""
    findings: list[Finding] = []
    if runs_agent_only(settings):
        told = "an agent only; `statera doctor` where a worker runs says whether that one is reached"
        ends = judge_certificates(list_own_ends(settings), dt.datetime.now(dt.UTC))
        return [Finding("this machine runs", told), *ends]
    findings += [Finding(what, found, mend) for what, found, mend in await check_database(settings)]
    findings += [Finding(what, found, mend) for what, found, mend in await check_identity(settings)]
    findings += [Finding(what, found, mend) for what, found, mend in await check_agents(settings)]
    findings += [Finding(what, found, mend, is_warning=True) for what, found, mend in await check_orphans(settings)]
    findings += [Finding(what, found, mend, is_warning=True) for what, found, mend in await check_watch(settings)]
    findings += judge_certificates(await observe_certificates(settings), dt.datetime.now(dt.UTC))
    return findings


def judge_certificates(seen: Iterable[CertificateEnd | CertificateUnusable], now: dt.datetime) -> list[Finding]:
    """Say when each of Statera's own certificates ends; those of no use, or not renewed in time, need a hand."""
    return [_judge_certificate(one, now) for one in seen]


def _judge_certificate(one: CertificateEnd | CertificateUnusable, now: dt.datetime) -> Finding:
    what = f"certificate {one.kind} {one.name}"
    if isinstance(one, CertificateUnusable):
        return Finding(what, one.sentence, "Copy its files there again (docs/operations.md), and see who changed them.")
    mend = "Run `statera worker` where ca.key is; its log says why it does not renew."
    return Finding(
        what,
        f"ends {one.end:%Y-%m-%d %H:%M}",
        mend if one.kind != "authority" and one.is_overdue(now) else "",
        is_warning=now < one.end,
    )
