"""What `statera top` draws."""

import io

import msgspec
import pytest
from rich.console import Console

from statera.cli.top import Order, Watch, draw, scale
from statera.model.enums import OperatingStatus
from tests.unit.model.test_rates import make_glance


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.2"), (3.14, "3.1"), (9, "9"), (312, "312"), (999.6, "1k"), (4_200, "4.2k"), (5e12, "5T")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert scale(value) == text


def make_watch() -> Watch:
    quiet = msgspec.structs.replace(make_glance(0), id="quiet", name="quiet", operating_status=OperatingStatus.ERROR)
    busy = msgspec.structs.replace(make_glance(0), id="busy", name="busy [red]\x1b[2J", reason="Odd \x07.")
    watch = Watch()
    watch.note([quiet, busy], 0.0)
    later = msgspec.structs.replace(
        busy, told_at=make_glance(2).told_at, traffic=make_glance(2, 200, 4000).traffic, members=3, members_online=2
    )
    watch.note([quiet, later], 2.0)
    return watch


@pytest.mark.parametrize(
    ("order", "first"), [("traffic", "busy"), ("connections", "busy"), ("status", "quiet"), ("name", "busy")]
)
def test_order(order: Order, first: str) -> None:
    assert make_watch().tell(order)[0].load_balancer.id == first


def test_names_of_tenants_are_only_text() -> None:
    told = io.StringIO()
    Console(file=told, width=200).print(draw(make_watch().tell("traffic"), 9))
    assert "2 load balancers, 100 connections/s, 2k B/s in, 4k B/s out" in told.getvalue()
    assert "busy [red]?[2J" in told.getvalue()
    assert "\x1b" not in told.getvalue()
    assert "2/3" in told.getvalue()


def test_what_does_not_fit_is_counted() -> None:
    told = io.StringIO()
    Console(file=told, width=70).print(draw(make_watch().tell("connections"), 1, fits=True))
    first, *others = told.getvalue().splitlines()
    assert first.startswith("2 load balancers (1 shown), 100 connections/s")
    assert len(others) == 2
    assert "quiet" not in told.getvalue()


def test_old_looks_are_forgotten() -> None:
    watch = Watch()
    for second in range(0, 60, 5):
        watch.note([make_glance(second, second * second)], float(second))
    [line] = watch.tell("name")
    assert line.rates.connections == (55 * 55 - 45 * 45) / 10


@pytest.mark.parametrize("width", [80, 100, 240])
def test_names_and_whole_reasons_are_there_on_every_terminal(width: int) -> None:
    told = io.StringIO()
    Console(file=told, width=width).print(draw(make_watch().tell("traffic"), 9))
    assert "bus" in told.getvalue().splitlines()[2]
    assert "busy [red]?[2J: Odd ?." in told.getvalue()


def test_a_reason_stays_in_its_line_while_it_is_watched() -> None:
    told = io.StringIO()
    Console(file=told, width=90).print(draw(make_watch().tell("traffic"), 9, fits=True))
    assert len(told.getvalue().splitlines()) == 4
