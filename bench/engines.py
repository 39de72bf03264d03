"""HAProxy seen from its host: what its master counts, which processes it is, what they cost. And others beside it."""

import asyncio
import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.client import ask_name
from statera.agent.folders import AmphoraFolders
from statera.agent.runtime import ask
from statera.base.errors import Lasting
from statera.cli.preflight import find_program

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def count_reloads(folders: AmphoraFolders) -> int:
    """Return how often the master has loaded its configuration anew since its start."""
    told = asyncio.run(ask(folders.live / "master", "show proc;quit"))
    found = re.search(r"^\d+\s+master\s+(\d+)", told, re.MULTILINE)
    if found is None:
        raise Lasting("bench-failed", f"HAProxy's master said: {told!r}")
    return int(found[1])


def list_pids(master: int) -> list[int]:
    """Return the master and its workers."""
    children = Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii")
    return [master, *map(int, children.split())]


def read_pss_kib(pid: int) -> int:
    """Return the proportional set size: what is shared with others counts by its share."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) if found else 0


def read_cpu_s(pids: list[int]) -> float:
    """Return the processor time that processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


@contextlib.contextmanager
def running_beside(
    namespace: str, configuration: Path, text: str, answers_at: tuple[str, int], *, like: int | None = None
) -> Iterator[int]:
    """Run HAProxy with a configuration of our own in a namespace; give its pid. With `like` in that process's control
    groups, so that it has the same limits.
    """
    configuration.write_text(text, encoding="utf-8")
    groups = "" if like is None else "".join(f"echo $$ >{file}; " for file in _list_groups(like))
    haproxy = find_program("haproxy") or "haproxy"
    words = ["sh", "-c", f'{groups}exec "$@"', "bench", "nsenter", f"--net=/run/netns/{namespace}"]
    words += [haproxy, "-W", "-f", str(configuration)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            _wait_until_it_answers(process, answers_at)
            yield process.pid
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5.0)
            process.kill()


def _wait_until_it_answers(process: subprocess.Popen[bytes], place: tuple[str, int]) -> None:
    deadline = time.monotonic() + 10.0
    while ask_name(*place) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            told = process.stderr.read().decode(errors="replace") if process.stderr else ""
            raise Lasting("bench-failed", f"HAProxy of our own does not answer at {place}: {told[-500:]}")
        time.sleep(0.01)


def _list_groups(pid: int) -> list[Path]:
    """Return the `cgroup.procs` files of the groups that a process is in, as far as they are Statera's."""
    files = []
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if path.startswith("/statera/"):
            files.append(Path(f"/sys/fs/cgroup/{controllers.removeprefix('name=')}{path}/cgroup.procs"))
    return [file for file in files if file.exists()]
