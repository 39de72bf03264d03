"""How many heartbeats a health process takes in: over its socket, from other processes, with PostgreSQL behind it."""

import re
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import psycopg
from psycopg import sql

from bench.beats import Senders, Sent, Voice, sending
from bench.crowd import plant_many
from bench.engines import read_cpu_s
from bench.figures import Figure
from bench.ground import Ground
from bench.roles import Roles, make_database, own_cluster, running
from statera.base.errors import Lasting
from statera.drivers.postgres_embedded import EmbeddedPostgres
from statera.model.heartbeat import (
    Heartbeat,
    ListenerObserved,
    ListenerState,
    MemberObserved,
    MemberState,
    split_heartbeat,
)

BUDGET = 20_000
RATES = (5_000, 10_000, 21_000, 30_000, 40_000, 50_000, 60_000, 80_000)
"""A little above the budget, not at it: what is sent is always some per cent less."""
STEP_S = 2.0
"""The socket's buffer keeps 6,500 small datagrams: a much shorter step would tell of the buffer."""
FIRST_PER_SECOND = 4_000
"""Keys of those who speak for the first time are loaded meanwhile, and few may wait for theirs."""
WITHIN_S = 60.0
QUIET_S = 2.5
"""What is not counted after this was lost: the process brings its page up to date every second."""
ACCEPTED = "statera_heartbeats_total accepted"
HEARD = "statera_health_amphorae_heard"
WAITING = "statera_health_load_balancers_waiting"


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent at one rate, how much of it the process has counted, and the seconds of a core that it took."""

    sent: Sent
    accepted: int
    used_s: float


def run(ground: Ground, runs: int) -> list[Figure]:
    """Raise the rate until some are lost: of a thousand amphorae, then of ten large ones. Runs do not change it."""
    del ground, runs
    with own_cluster() as cluster:
        return _measure(cluster, 1_000, 2) + _measure(cluster, 10, 1_000)


def _measure(cluster: EmbeddedPostgres, amphorae: int, members: int) -> list[Figure]:
    with make_database(cluster) as url:
        plant_many(url, amphorae, members=members)
        with psycopg.connect(url, autocommit=True) as link:
            voices, database = list_voices(link), link.info.dbname
            link.execute(sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(sql.Identifier(database)))
        with running(["health"], {"url": url}) as roles, sending(roles.health_port, voices) as senders:
            _introduce(roles, senders, voices)
            before, begun = _count_statements(cluster, database), time.monotonic()
            steps = _climb(roles, senders)
            took_s = time.monotonic() - begun
            statements = _count_statements(cluster, database) - before
    return _tell(f"of {amphorae:,} amphorae with {members:,} members", steps, statements, took_s)


def list_voices(link: "psycopg.Connection[tuple[object, ...]]") -> list[Voice]:
    """Return all amphorae as well as their load balancers can be."""
    rows = link.execute("""
        SELECT id::text, load_balancer_id::text, heartbeat_key,
            (SELECT array_agg(id::text) FROM listeners WHERE load_balancer_id = amphorae.load_balancer_id),
            (SELECT array_agg(ARRAY[pool_id::text, id::text]) FROM members
                WHERE load_balancer_id = amphorae.load_balancer_id)
        FROM amphorae
    """)
    return [_make_voice(row) for row in rows]


def _make_voice(row: Sequence[Any]) -> Voice:
    amphora_id, load_balancer_id, key, listeners, members = row
    listener = ListenerObserved(id="", status=ListenerState.OPEN, active_connections=3, total_connections=90_000)
    member = MemberObserved(
        pool_id="", member_id="", state=MemberState.UP, check="L7OK", code=200, text="OK", since_s=86_400.0
    )
    replace = msgspec.structs.replace
    heartbeat = Heartbeat(
        amphora_id=amphora_id,
        load_balancer_id=load_balancer_id,
        boot=0,
        sequence=0,
        sent_at=0.0,
        generation=1,
        epoch=1,
        haproxy_running=True,
        listeners=tuple(replace(listener, id=one) for one in listeners),
        members=tuple(replace(member, pool_id=pool_id, member_id=one) for pool_id, one in members),
    )
    return Voice(heartbeat, key)


def _introduce(roles: Roles, senders: Senders, voices: Sequence[Voice]) -> None:
    """Let the process hear all of them, whole, and wait until it has nothing to write any more."""
    round_of_all = len(voices) * len(split_heartbeat(voices[0].heartbeat))
    deadline = time.monotonic() + WITHIN_S
    heard = waiting = 0.0
    while time.monotonic() < deadline:
        if heard < len(voices):
            # Of the first round, those that came before their key may be lost.
            senders.send(2 * round_of_all, FIRST_PER_SECOND)
        time.sleep(QUIET_S)
        counted = roles.read_metrics()["health"]
        heard, waiting = counted[HEARD], counted[WAITING]
        if heard == len(voices) and waiting == 0:
            return
    raise TimeoutError(f"{heard:.0f} of {len(voices)} amphorae were heard, {waiting:.0f} load balancers wait")


def _count_statements(cluster: EmbeddedPostgres, database: str) -> int:
    """Return how many statements are in PostgreSQL's log."""
    line = re.compile(rf"^.*@{database} LOG:  (?:statement|execute)\b", re.MULTILINE)
    texts = (path.read_text(encoding="utf-8", errors="replace") for path in (cluster.data_dir / "log").iterdir())
    return sum(len(line.findall(text)) for text in texts)


def _climb(roles: Roles, senders: Senders) -> list[_Step]:
    """Return the steps up to the first at which some are lost, or at which the senders are not faster any more."""
    steps: list[_Step] = []
    fastest = 0.0
    for rate in RATES:
        steps.append(_step(roles, senders, rate))
        sent = steps[-1].sent
        if steps[-1].accepted < sent.count or sent.per_second <= fastest:
            break
        fastest = sent.per_second
    return steps


def _step(roles: Roles, senders: Senders, rate: int) -> _Step:
    pid = roles.pids["health 0"]
    before, used_s = _count_accepted(roles), read_cpu_s([pid])
    sent = senders.send(round(rate * STEP_S), rate)
    accepted, deadline = 0, time.monotonic() + QUIET_S
    while accepted < sent.count and time.monotonic() < deadline:
        time.sleep(0.1)
        accepted = _count_accepted(roles) - before
    return _Step(sent=sent, accepted=accepted, used_s=read_cpu_s([pid]) - used_s)


def _count_accepted(roles: Roles) -> int:
    return round(roles.read_metrics()["health"][ACCEPTED])


def _tell(whose: str, steps: Sequence[_Step], statements: int, took_s: float) -> list[Figure]:
    whole = [step for step in steps if step.accepted == step.sent.count]
    if not whole:
        raise Lasting("bench-failed", f"Of {steps[0].sent.count:,} datagrams {steps[0].accepted:,} were taken in.")
    best, last = max(whole, key=lambda step: step.sent.per_second), steps[-1]
    sent, lost = best.sent, last.sent.count - last.accepted
    end = f"{lost:,} of {last.sent.count:,} lost at {last.sent.per_second:,.0f} /s" if lost else "no faster senders"
    each_us = best.used_s / sent.count * 1e6
    taken = sum(step.accepted for step in steps)
    return [
        Figure(
            what=f"{whose}, none lost",
            value=sent.per_second,
            unit="/s",
            budget=BUDGET,
            at_least=True,
            detail=f"{sent.count:,} datagrams of {sent.size // sent.count:,} bytes in {sent.took_s:.1f} s; {end}",
        ),
        Figure(what="of a core, each", value=each_us, unit="us", detail=f"{1e6 / each_us:,.0f} per second of a core"),
        Figure(
            what="statements for 1,000 of them",
            value=statements / taken * 1_000,
            detail=f"{statements} for {taken:,}: they go by the clock, {statements / took_s:.1f} /s",
        ),
    ]
