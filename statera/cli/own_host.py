"""What a host with an agent has by itself: its bridges and interfaces, its kernel's tables, its own certificate.

Looks, changes nothing.
"""

from pathlib import Path

from statera.agent.backlog import count_dropped, decide_backlog, read_backlog, tell_command
from statera.agent.contents import is_in_memory
from statera.agent.neighbour_tables import Table, count_refused, decide_table, list_tables
from statera.app import has_agents, list_hosts, open_authority
from statera.base.settings import NetworkSettings, Settings
from statera.cli.deployment import Finding
from statera.control.own_certificates import Seen, judge_agent

DEVICES = Path("/sys/class/net")


def runs_agent_only(settings: Settings) -> bool:
    """Say whether this machine has the certificate of an agent and none of a controller."""
    authority = open_authority(settings)
    is_agent = authority.find_agent(settings.agent.name).certificate.exists()
    return has_agents(settings) and is_agent and not authority.find_controller().certificate.exists()


def list_own_ends(settings: Settings) -> list[Seen]:
    """Return when the certificate of this host's agent ends, or why it is of no use."""
    authority, name = open_authority(settings), settings.agent.name
    text = authority.find_agent(name).certificate.read_text(encoding="ascii", errors="replace")
    return [judge_agent(authority, name, text)]


def check_devices(settings: Settings) -> list[Finding]:
    """Return what was found of each network; none on a machine whose agent builds nothing."""
    return [_check(network) for network in settings.networks] if _is_host(settings) else []


def _is_host(settings: Settings) -> bool:
    return runs_agent_only(settings) or settings.agent.name in {host.name for host in list_hosts(settings)}


def _check(network: NetworkSettings) -> Finding:
    what, device = f"network {network.name}", network.device
    if network.uplink and not _exists(network.uplink):
        return (what, f"its uplink {network.uplink} does not exist here", "Correct networks.uplink.")
    if _exists(device):
        ports = sorted(path.name for path in (DEVICES / device / "brif").glob("*") if not path.name.startswith("sv"))
        return (what, f"{device}, with {', '.join(ports)}" if ports else device, "")
    if network.kind == "bridge" and network.create:
        return (what, f"{device} does not exist yet; the agent makes it", "")
    mend = f"Make {device}, or set create = true and an uplink." if network.kind == "bridge" else "Correct its device."
    return (what, f"{device} does not exist here", mend)


def check_run_dir(settings: Settings) -> list[Finding]:
    """Say whether what engines write counts as their memory; none on a machine whose agent builds nothing."""
    if not _is_host(settings):
        return []
    folder = Path(settings.run_dir)
    if is_in_memory(folder):
        return [("run directory", f"{folder}, in memory", "")]
    mend = "Set run_dir to a folder on a tmpfs, as /run is, while no amphorae are here (`statera host drain`)."
    return [("run directory", f"{folder} is on a disk, which a HAProxy that was taken over could fill", mend)]


def check_neighbour_tables(settings: Settings) -> list[Finding]:
    """Say whether the kernel may know the neighbours of all amphorae that this host may have."""
    amphorae = settings.agent.amphora_limit
    return (
        [judge_table(one, amphorae, count_refused(one.family)) for one in list_tables()] if _is_host(settings) else []
    )


def judge_table(there: Table, amphorae: int, refused: int) -> Finding:
    """Say whether a table is large enough, and the command that makes it so."""
    wanted = decide_table(there, amphorae)
    told = f"{there.hard:,} entries, cleared away above {there.soft:,}"
    if refused:
        told += f"; was full for {refused:,} since boot"
    mend = "" if wanted == there else _tell_mend(wanted.command, amphorae)
    return (f"neighbours, {'IPv4' if there.family == 'ipv4' else 'IPv6'}", told, mend)


def check_backlog(settings: Settings) -> list[Finding]:
    """Say whether questions of all amphorae that this host may have find room; nothing where that cannot be seen."""
    there = read_backlog() if _is_host(settings) else None
    return [] if there is None else [judge_backlog(there, settings.agent.amphora_limit, count_dropped())]


def judge_backlog(there: int, amphorae: int, dropped: int) -> Finding:
    """Say whether enough packets may wait for a processor, and the command that makes it so."""
    wanted = decide_backlog(there, amphorae)
    told = f"{there:,} for each processor" + (f"; {dropped:,} found no room since boot" if dropped else "")
    mend = "" if wanted == there else _tell_mend(tell_command(wanted), amphorae)
    return ("packets that may wait", told, mend)


def _tell_mend(command: str, amphorae: int) -> str:
    return f"{command}  # for {amphorae:,} amphorae; the agent does it at its start"


def _exists(device: str) -> bool:
    return (DEVICES / device).exists()
