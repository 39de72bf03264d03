"""Files of the private PostgreSQL: where its programs are, what its configuration says, what its logs said last."""

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from statera.base.errors import Lasting

DATABASE = "statera"
ROLE = "statera"
SOCKET_NAME = ".s.PGSQL.5432"
OLDEST_MAJOR = 14

_SETTINGS = """\
# Written by Statera at every start. Put your own settings into local.conf beside this file: it is read last.
listen_addresses = ''
unix_socket_directories = {socket_dir}
# The folder keeps others away.
unix_socket_permissions = 0777
# Sized for one machine that carries a thousand load balancers beside it.
max_connections = 200
shared_buffers = 32MB
work_mem = 4MB
maintenance_work_mem = 32MB
max_worker_processes = 4
max_parallel_workers_per_gather = 0
jit = off
# Durable, without what only replicas need.
fsync = on
synchronous_commit = on
full_page_writes = on
wal_level = minimal
max_wal_senders = 0
min_wal_size = 32MB
max_wal_size = 256MB
# Few, small, often rewritten rows.
autovacuum_naptime = 15s
autovacuum_max_workers = 2
autovacuum_vacuum_scale_factor = 0.1
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql-%a.log'
log_rotation_age = 1d
log_rotation_size = 0
log_truncate_on_rotation = on
log_line_prefix = '%m [%p] %q%u@%d '
log_timezone = 'UTC'
timezone = 'UTC'
include_if_exists = 'local.conf'
"""


def find_bin_dir(named: str, data_dir: Path) -> Path:
    """Return the folder of `initdb` and `postgres`: the named one, else the one that fits the cluster, else the newest.

    Raises `Lasting` (slug `postgres-missing`) that says what to install or set.
    """
    if named:
        if not _has_programs(Path(named)):
            raise Lasting("postgres-missing", f"database.bin_dir is {named}, but initdb and postgres are not there.")
        return Path(named)
    found = sorted(
        ((major, folder) for folder in _candidates() if (major := _major(folder)) >= OLDEST_MAJOR), reverse=True
    )
    wanted = _cluster_major(data_dir)
    for major, folder in found:
        if wanted in (None, major):
            return folder
    if wanted is not None:
        raise Lasting(
            "postgres-missing",
            f"The cluster in {data_dir} was made by PostgreSQL {wanted}, which is not installed. "
            f"Install postgresql-{wanted}, or move the data with pg_upgrade.",
        )
    raise Lasting(
        "postgres-missing",
        f"PostgreSQL {OLDEST_MAJOR} or newer is not installed. Install it (apt-get install postgresql), "
        "or set database.bin_dir, or set database.url.",
    )


def _candidates() -> Iterator[Path]:
    seen: set[Path] = set()
    globs = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/local/pgsql/bin", "opt/homebrew/opt/postgresql*/bin")
    folders = [folder for pattern in globs for folder in Path("/").glob(pattern)]
    pg_config = shutil.which("pg_config")
    if pg_config:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        folders += [Path(answer)] if answer else []
    postgres = shutil.which("postgres")
    folders += [Path(postgres).resolve().parent] if postgres else []
    for folder in folders:
        if folder not in seen and _has_programs(folder):
            seen.add(folder)
            yield folder


def _has_programs(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in ("initdb", "postgres"))


def _major(folder: Path) -> int:
    said = subprocess.run([str(folder / "postgres"), "--version"], capture_output=True, text=True, check=False).stdout
    number = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(number.group(1)) if number else 0


def _cluster_major(data_dir: Path) -> int | None:
    try:
        return int((data_dir / "PG_VERSION").read_text().strip())
    except FileNotFoundError:
        return None


def write_configuration(data_dir: Path, run_dir: Path, users: Collection[str], owner: tuple[int, int]) -> None:
    """Write what the server reads at its start. Only these system users, as the kernel tells them, become our role."""
    files = {
        "postgresql.conf": _SETTINGS.format(socket_dir=_quote_directory(run_dir)),
        "pg_hba.conf": "# Written by Statera at every start.\nlocal all all peer map=statera\n",
        "pg_ident.conf": "".join(f"statera {name} {ROLE}\n" for name in sorted(set(users))),
    }
    for name, text in files.items():
        fresh = data_dir / f"{name}.new"
        with create_file(fresh) as output:
            output.write(text.encode())
            if os.geteuid() == 0:
                os.fchown(output.fileno(), *owner)
        fresh.rename(data_dir / name)


def create_file(path: Path) -> BinaryIO:
    """Open a file that is new for sure, mode 0600; what stood there before, a link too, is removed and not followed."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")


def _quote_directory(path: Path) -> str:
    # A list of folders, so first quoted as an item of the list, then as a text of the file.
    item = '"' + str(path).replace('"', '""') + '"'
    return "'" + item.replace("\\", "\\\\").replace("'", "''") + "'"


def read_last_lines(startup_log: Path, log_dir: Path, count: int = 6) -> str:
    """Return what the server said last, on one line, for an error's sentence."""
    logs = sorted(log_dir.glob("*.log"), key=lambda path: path.stat().st_mtime)[-1:] if log_dir.is_dir() else []
    lines: list[str] = []
    for path in [*logs, startup_log]:
        if path.exists():
            lines += path.read_text(errors="replace").strip().splitlines()[-count:]
    return " / ".join(lines[-count:]) or "none"
