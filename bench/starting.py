"""How soon all statuses are right when a health process starts among many amphorae that have spoken all along."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

import msgspec
import psycopg

from bench.beats import Senders, Voice, sending
from bench.crowd import plant_many
from bench.figures import Figure
from bench.heartbeats import HEARD, list_voices
from bench.roles import make_database, read_used, running, sum_used
from statera.base.settings import AgentSettings
from statera.drivers.postgres_embedded import EmbeddedPostgres

CHANGED = 100
"""Load balancers that fare otherwise after a restart than before it."""
LOOK_S = 0.2
WITHIN_S = 600.0
SILENT = "statera_health_amphorae_silent"
_WRONG = " UNION ".join(
    f"SELECT {owner} FROM {table} WHERE operating_status <> 'ONLINE'"
    for table, owner in (
        ("load_balancers", "id"),
        ("listeners", "load_balancer_id"),
        ("pools", "load_balancer_id"),
        ("members", "load_balancer_id"),
    )
)
_SPOIL = """
    UPDATE members SET operating_status = 'ERROR'
    WHERE load_balancer_id IN (SELECT id FROM load_balancers ORDER BY id LIMIT %s)
"""


class _Started(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds until all had been heard, until all statuses were right, and of a core until then, by role."""

    heard_s: float
    right_s: float
    used_s: dict[str, float]
    most_wrong: int
    """Load balancers that showed something wrong at one time."""
    most_silent: int


def measure_starts(cluster: EmbeddedPostgres, size: int) -> list[Figure]:
    """Measure a start where the database has no status right, and one where most are."""
    with make_database(cluster) as url:
        plant_many(url, size)
        with psycopg.connect(url, autocommit=True) as link:
            voices = list_voices(link)
            first = _measure(cluster, url, link, voices)
            link.execute(_SPOIL, [CHANGED])
            again = _measure(cluster, url, link, voices)
    return [
        *_tell(f"health starts among {size:,}, all of which show OFFLINE", first),
        *_tell(f"health starts among {size:,}, {CHANGED} of which have changed", again),
    ]


def _measure(
    cluster: EmbeddedPostgres, url: str, link: "psycopg.Connection[tuple[object, ...]]", voices: Sequence[Voice]
) -> _Started:
    with (
        running(["health"], {"url": url}) as roles,
        sending(roles.health_port, voices) as senders,
        _speaking(senders, len(voices)),
    ):
        before, begun = read_used(cluster, roles.pids), time.monotonic()
        heard_s, wrong, most_wrong, most_silent = 0.0, 0, 0, 0
        while (took_s := time.monotonic() - begun) < WITHIN_S:
            wrong = _count_wrong(link)
            most_wrong = max(most_wrong, wrong)
            # Who is busy may not answer at once.
            if counted := roles.read_metrics().get("health"):
                most_silent = max(most_silent, round(counted[SILENT]))
                if counted[HEARD] == len(voices):
                    heard_s = heard_s or took_s
                if heard_s and not wrong:
                    used_s = sum_used(before, read_used(cluster, roles.pids))
                    return _Started(
                        heard_s=heard_s, right_s=took_s, used_s=used_s, most_wrong=most_wrong, most_silent=most_silent
                    )
            time.sleep(LOOK_S)
    raise TimeoutError(f"{wrong:,} of {len(voices):,} load balancers still showed something wrong")


def _count_wrong(link: "psycopg.Connection[tuple[object, ...]]") -> int:
    row = link.execute(f"SELECT count(*) FROM ({_WRONG}) AS wrong").fetchone()
    assert row is not None
    return int(str(row[0]))


@contextlib.contextmanager
def _speaking(senders: Senders, amphorae: int) -> Iterator[None]:
    """Let all of them speak, as often as agents do, until the end of the block."""
    ended = threading.Event()

    def speak() -> None:
        while not ended.is_set():
            senders.send(amphorae, amphorae / AgentSettings().heartbeat_interval_s)

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        yield
    finally:
        ended.set()
        speaker.join()


def _tell(what: str, started: _Started) -> list[Figure]:
    used = [Figure(what=f"of a core until then: {role}", value=s, unit="s") for role, s in started.used_s.items()]
    detail = (
        f"all heard after {started.heard_s:.1f} s; {started.most_wrong:,} wrong at most, "
        f"{started.most_silent:,} taken for silent"
    )
    return [Figure(what=f"{what}: until all are right", value=started.right_s, unit="s", detail=detail), *used]
