"""As whom `statera up` starts API, worker and health process: a system user of their own, as far as that is possible.

That user owns what they need: the certificates, the key that seals secrets, the folder of metrics. Root needs no leave
to read them. The agent is root's.
"""

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from statera.app import open_sealing_keys, pki_dir
from statera.base.exposition import folder_of
from statera.base.logging import get_logger
from statera.base.privileges import has_capability
from statera.base.settings import Settings

log = get_logger("cli")

PRIVILEGED_PORTS = 1024
ROOT = "root"


class Account(msgspec.Struct, frozen=True):
    """A system user."""

    name: str
    uid: int
    gid: int


def find_account(settings: Settings) -> Account | None:
    """Return the user who is to run them, root when there is no other; None when we may not change users at all."""
    if os.geteuid() != 0 or not all(map(has_capability, ("setuid", "setgid", "setpcap", "chown"))):
        return None
    try:
        found = pwd.getpwnam(settings.control_user or ROOT)
    except KeyError:
        log.warning(
            "API, worker and health run as root, with power over files only",
            why=f"There is no system user {settings.control_user}.",
            mend=f"useradd --system --no-create-home --shell /usr/sbin/nologin {settings.control_user}",
        )
        return Account(ROOT, 0, 0)
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def hand_over(settings: Settings, account: Account | None) -> None:
    """Give an account the files that its processes need, and nobody else."""
    if account is None:
        return
    metrics = folder_of(settings)
    if settings.metrics.enabled:
        metrics.mkdir(parents=True, exist_ok=True)
        metrics.chmod(0o700)
    for path in _list_files(settings, metrics):
        found = path.lstat()
        # A second name of a file elsewhere would hand over that one.
        if stat.S_ISDIR(found.st_mode) or (found.st_nlink == 1 and not stat.S_ISLNK(found.st_mode)):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _list_files(settings: Settings, metrics: Path) -> Iterator[Path]:
    for folder in (pki_dir(settings), metrics):
        if folder.is_dir():
            yield from folder.iterdir()
            yield folder
    key = open_sealing_keys(settings).file
    if not settings.secrets.key_file and key.exists():
        yield key


def find_prefix(settings: Settings, account: Account | None, probe: list[str]) -> list[str]:
    """Return the words that start a command as this account.

    `probe`: a command that reads all that an operator may have kept from that account: configuration, users, policy.
    """
    if account is None or account.uid == 0:
        return []
    ports = (settings.api.port, settings.metrics.port, settings.health.port)
    needed = ["net_bind_service"] if min(ports) < PRIVILEGED_PORTS else []
    prefix = _make_prefix(account, needed)
    unread = _find_unread(settings, prefix, probe)
    if unread is None:
        return prefix
    log.warning(
        "API, worker and health may read all files",
        user=account.name,
        why=unread,
        mend=f"Let {account.name} read it; docs/security.md says how.",
    )
    return _make_prefix(account, [*needed, "dac_read_search"])


def _make_prefix(account: Account, capabilities: list[str]) -> list[str]:
    keeps = "-all" + "".join(f",+{name}" for name in capabilities)
    return [
        "setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", f"--inh-caps={keeps}",
        f"--ambient-caps={keeps}", f"--bounding-set={keeps}", "--no-new-privs",
        # The kernel forgets this signal when the user changes.
        "--pdeathsig=TERM", "--",
    ]  # fmt: skip


def _find_unread(settings: Settings, prefix: list[str], probe: list[str]) -> str | None:
    key = open_sealing_keys(settings).file
    # Python, too: some kernels start a program that its user could not read, and it goes astray later.
    python = Path(sys.executable).resolve()
    for path in (python, Path(sys.base_prefix), pki_dir(settings) / "controller.key", key):
        if path.exists() and subprocess.run([*prefix, "test", "-r", str(path)], check=False).returncode != 0:
            return f"It cannot read {path}."
    done = subprocess.run(
        [*prefix, *probe], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    words = done.stderr.strip().splitlines()
    return None if done.returncode == 0 else (words[-1] if words else f"It cannot run {probe[0]}.")
