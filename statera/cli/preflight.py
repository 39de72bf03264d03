"""What this machine must have before anything starts, and how to get it. Pure checks over a few looked-up facts."""

import os
import platform
import pwd
import shutil
from pathlib import Path

import msgspec

from statera.agent.users import is_mapped
from statera.base.settings import Settings


class Fault(msgspec.Struct, frozen=True):
    """One thing that is missing: `what` was found wrong, `mend` says what to do."""

    what: str
    mend: str


PROGRAMS = {
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}


def check_ready(settings: Settings) -> list[Fault]:
    """Return what keeps `statera up` from running here, most basic first; the rest waits until that is mended."""
    if platform.system() != "Linux":
        return [Fault(f"This is {platform.system()}, not Linux.", "Run Statera on Linux, such as Debian 12.")]
    if settings.compute.driver == "noop":
        is_its_user = settings.database.is_private and os.geteuid() == 0
        return _check_users({settings.database.os_user: "postgresql"} if is_its_user else {})
    if os.geteuid() != 0:
        return [Fault("Statera is not running as root.", "Run it as root: it makes network namespaces.")]
    faults = [
        Fault(f"The program {program} is missing.", f"apt-get install {package}")
        for program, package in (PROGRAMS | {settings.agent.haproxy: "haproxy"}).items()
        if find_program(program) is None
    ]
    if not Path("/proc/self/ns/net").exists():
        faults.append(Fault("The kernel has no network namespaces.", "Use a kernel with CONFIG_NET_NS."))
    if not is_mapped(settings.agent):
        first, number = settings.agent.first_user_id, settings.agent.user_ids
        mend = "Set agent.first_user_id and agent.user_ids to what /proc/self/uid_map has, and no account."
        faults.append(Fault(f"The kernel does not know all of the {number} user ids from {first} on here.", mend))
    users = {settings.agent.haproxy_user: "haproxy"}
    if settings.database.is_private:
        users[settings.database.os_user] = "postgresql"
    return faults + _check_users(users)


def _check_users(package_of: dict[str, str]) -> list[Fault]:
    return [
        Fault(f"The system user {user} does not exist.", f"apt-get install {package}")
        for user, package in package_of.items()
        if not _has_user(user)
    ]


def describe_faults(faults: list[Fault]) -> str:
    """Return a text for people: each fault with its mending."""
    return "".join(f"statera: {fault.what}\n  how to mend it: {fault.mend}\n" for fault in faults)


def find_program(name: str) -> str | None:
    """Return the path of a program, looking where root's PATH may not point."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
