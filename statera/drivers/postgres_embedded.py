"""The private PostgreSQL of one machine: made, owned, started and stopped by Statera, reached by a unix socket only.

It runs as an unprivileged user when Statera is root. It outlives a supervisor that was killed; the next one adopts it.
The kernel (peer credentials) and the mode of the socket's folder decide who may connect; there is no password.
"""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from statera.base.errors import Lasting, Transient
from statera.base.logging import get_logger
from statera.drivers.postgres_files import (
    DATABASE,
    ROLE,
    SOCKET_NAME,
    create_file,
    find_bin_dir,
    read_last_lines,
    write_configuration,
)

log = get_logger("drivers")

SOCKET_PATH_LIMIT = 107
"""Bytes in `sun_path` of unix(7), without the closing NUL."""
START_WITHIN_S = 60.0
"""Recovery after a crash of the machine replays at most `max_wal_size`."""
STOP_WITHIN_S = 20.0
QUIT_WITHIN_S = 10.0
POLL_S = 0.02


class _Account(msgspec.Struct, frozen=True):
    """The system user that runs the cluster."""

    name: str
    uid: int
    gid: int


class EmbeddedPostgres:
    """One cluster in `data_dir`, with its socket in `run_dir`. Both folders are its own.

    Raises `Lasting` for what an operator must mend: `postgres-missing`, `postgres-path`, `postgres-start-failed`.
    """

    def __init__(
        self, data_dir: Path, run_dir: Path, os_user: str = "postgres", bin_dir: str | Path = "", guest: str = ""
    ) -> None:
        """`guest`: a system user who may use Statera's database besides root and `os_user`."""
        self.data_dir = Path(data_dir).absolute()
        self.run_dir = Path(run_dir).absolute()
        self._os_user = os_user
        self._guest = guest
        self._named_bin_dir = str(bin_dir)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the URL of Statera's database; valid before the start too."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Return the URL of another database of this cluster."""
        return f"postgresql:///{quote(database, safe='')}?host={quote(str(self.run_dir), safe='/')}&user={ROLE}"

    @property
    def running(self) -> bool:
        """Say whether the postmaster of this data directory is alive."""
        return self._find_postmaster() is not None

    def start(self) -> None:
        """Make the cluster if there is none, start it unless it runs, and wait until it takes connections."""
        self._check_socket_path()
        account = self._find_account()
        bin_dir = find_bin_dir(self._named_bin_dir, self.data_dir)
        self._make_folders(account)
        if not (self.data_dir / "PG_VERSION").exists():
            self._make_cluster(bin_dir, account)
        deadline = time.monotonic() + START_WITHIN_S
        while not self._wait_ready(self._find_postmaster(), deadline):
            self._clear_stale_files(deadline)
            self._launch(bin_dir, account)
        if self._process is None and self._guest:
            self._let_in(account)

    def _let_in(self, account: _Account) -> None:
        # One that another supervisor has started may not know the guest.
        self._configure(account)
        pid = self._find_postmaster()
        if pid is not None:
            _send(pid, signal.SIGHUP)
            (self.run_dir / SOCKET_NAME).chmod(0o777)

    def _configure(self, account: _Account) -> None:
        users = {account.name, "root", self._guest or "root"}
        write_configuration(self.data_dir, self.run_dir, users, (account.uid, account.gid))

    def stop(self) -> None:
        """End all connections and shut down; not running is fine. Raises `Transient` when it does not end."""
        pid = self._find_postmaster()
        if pid is None:
            return
        for number, patience_s in ((signal.SIGINT, STOP_WITHIN_S), (signal.SIGQUIT, QUIT_WITHIN_S)):
            _send(pid, number)
            if _wait_for(lambda: self._find_postmaster() != pid, time.monotonic() + patience_s):
                log.info("private PostgreSQL stopped", pid=pid)
                return
        raise Transient("postgres-stop-failed", f"PostgreSQL (pid {pid}) did not stop within {QUIT_WITHIN_S:.0f} s.")

    def _check_socket_path(self) -> None:
        length = len(os.fsencode(self.run_dir / SOCKET_NAME))
        if length > SOCKET_PATH_LIMIT:
            raise Lasting(
                "postgres-path",
                f"The path of PostgreSQL's socket, {self.run_dir / SOCKET_NAME}, has {length} bytes; the system allows "
                f"{SOCKET_PATH_LIMIT}. Set run_dir to a shorter path.",
            )

    def _find_account(self) -> _Account:
        # PostgreSQL refuses to run as root; anybody else runs it as themselves.
        try:
            entry = pwd.getpwnam(self._os_user) if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        except KeyError as error:
            sentence = f"The system user {self._os_user}, who should run PostgreSQL, does not exist."
            raise Lasting("postgres-missing", f"{sentence} Install postgresql or set database.os_user.") from error
        if entry.pw_uid == 0:
            raise Lasting("postgres-missing", "PostgreSQL does not run as root: set database.os_user to another user.")
        return _Account(entry.pw_name, entry.pw_uid, entry.pw_gid)

    def _make_folders(self, account: _Account) -> None:
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        self.run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        if os.geteuid() == 0:
            # The folder says who gets to the socket: its user, root, and the guest's group.
            os.chown(self.run_dir, account.uid, pwd.getpwnam(self._guest).pw_gid if self._guest else account.gid)
        self.run_dir.chmod(0o710 if self._guest else 0o700)
        for option, folder in (("data_dir", self.data_dir.parent), ("run_dir", self.run_dir)):
            _check_reachable(folder, option, account)

    def _make_cluster(self, bin_dir: Path, account: _Account) -> None:
        # Made aside and renamed when complete: a crash leaves only a folder that the next start removes.
        prefix = f"{self.data_dir.name}.new-"
        for leftover in self.data_dir.parent.glob(f"{prefix}*"):
            shutil.rmtree(leftover)
        made = self.data_dir.parent / f"{prefix}{os.getpid()}"
        made.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(made, account.uid, account.gid)
        options = ["-U", ROLE, "--encoding=UTF8", "--locale=C", "--auth=peer", "--data-checksums", "--no-instructions"]
        _run([str(bin_dir / "initdb"), "-D", str(made), *options], account)
        single = [str(bin_dir / "postgres"), "--single", "-D", str(made), "postgres"]
        _run(single, account, text=f"CREATE DATABASE {DATABASE} OWNER {ROLE};\n")
        if self.data_dir.exists():
            self.data_dir.rmdir()  # Only an empty folder: anything else is not ours to remove.
        made.rename(self.data_dir)
        log.info("private PostgreSQL made", data_dir=str(self.data_dir))

    def _launch(self, bin_dir: Path, account: _Account) -> None:
        self._configure(account)
        # The folder is the cluster's: root must not follow a link that somebody put there.
        with create_file(self._startup_log) as output:
            self._process = subprocess.Popen(
                [str(bin_dir / "postgres"), "-D", str(self.data_dir)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the supervisor's terminal must not reach it.
                **_identity(account),
            )
        log.info("private PostgreSQL started", pid=self._process.pid, data_dir=str(self.data_dir))

    @property
    def _startup_log(self) -> Path:
        return self.run_dir / "startup.log"

    def _wait_ready(self, pid: int | None, deadline: float) -> bool:
        """Wait until a postmaster is ready; False when there is none (any more), so that one must be launched."""
        launched = self._process
        while time.monotonic() < deadline:
            if launched is not None and launched.poll() is not None:
                self._process = None
                raise self._start_failure(f"ended with code {launched.returncode}")
            pid = self._find_postmaster() or (launched.pid if launched is not None else None)
            if pid is None:
                return False
            if self._read_pid_file()[7:8] == ["ready"]:
                return True
            time.sleep(POLL_S)
        raise self._start_failure(f"is not ready after {START_WITHIN_S:.0f} s")

    def _start_failure(self, what: str) -> Lasting:
        lines = read_last_lines(self._startup_log, self.data_dir / "log")
        return Lasting(
            "postgres-start-failed", f"The private PostgreSQL in {self.data_dir} {what}. Its last words: {lines}"
        )

    def _clear_stale_files(self, deadline: float) -> None:
        """After a crash: let the old backends end, then drop a pid file whose number may be somebody else's by now."""
        for pid in self._list_processes():
            _send(pid, signal.SIGQUIT)
        if not _wait_for(lambda: not self._list_processes(), deadline):
            raise self._start_failure(f"has processes of an earlier run that do not end: {self._list_processes()}")
        for stale in (
            self.data_dir / "postmaster.pid",
            self.run_dir / f"{SOCKET_NAME}.lock",
            self.run_dir / SOCKET_NAME,
        ):
            stale.unlink(missing_ok=True)

    def _find_postmaster(self) -> int | None:
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        lines = self._read_pid_file()
        pid = int(lines[0]) if lines and lines[0].isdigit() else None
        return pid if pid is not None and self._is_ours(pid) else None

    def _read_pid_file(self) -> list[str]:
        # Line 1 is the pid, line 8 the state ("starting", "ready", "stopping"); PostgreSQL writes line by line.
        try:
            return [line.strip() for line in (self.data_dir / "postmaster.pid").read_text().splitlines()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _is_ours(self, pid: int) -> bool:
        # Every process of a cluster has its data directory as working directory; a zombie has none.
        try:
            # Names of others are cut after 15 bytes, maybe within a character.
            return Path(f"/proc/{pid}/comm").read_bytes().startswith(b"postgres") and os.path.samefile(
                f"/proc/{pid}/cwd", self.data_dir
            )
        except OSError:
            return False

    def _list_processes(self) -> list[int]:
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and self._is_ours(int(entry))]


def _identity(account: _Account) -> dict[str, Any]:
    # Nothing of our environment: PGDATA, PGOPTIONS or a locale of the operator's shell would change the cluster.
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
    if os.geteuid() != 0:
        return {"cwd": "/", "env": environment}
    return {"cwd": "/", "env": environment, "user": account.uid, "group": account.gid, "extra_groups": []}


def _run(command: Sequence[str], account: _Account, text: str = "") -> None:
    done = subprocess.run(
        command, input=text, text=True, capture_output=True, check=False, umask=0o077, **_identity(account)
    )
    # Single-user mode answers a failed command with code 0 and a line on standard error.
    if done.returncode != 0 or "ERROR:" in done.stderr or "FATAL:" in done.stderr:
        words = " / ".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise Lasting("postgres-start-failed", f"{Path(command[0]).name} failed with code {done.returncode}: {words}")


def _check_reachable(folder: Path, option: str, account: _Account) -> None:
    for step in [*reversed(folder.parents), folder]:
        done = subprocess.run(["test", "-x", str(step)], check=False, **_identity(account))
        if done.returncode != 0:
            raise Lasting(
                "postgres-path",
                f"The system user {account.name}, who runs PostgreSQL, cannot enter {step}, which is on the way to "
                f"{option}. Allow it (chmod o+x) or set {option} to another place.",
            )


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _wait_for(reached: Callable[[], bool], deadline: float) -> bool:
    while not reached():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)
    return True
