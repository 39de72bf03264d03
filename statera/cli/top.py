"""`statera top`: load balancers as they work, from what agents tell and health writes every few seconds."""

import asyncio
import contextlib
import signal
import time
from collections import deque
from collections.abc import Sequence
from typing import Literal

import msgspec
from rich.console import Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from statera.app import open_store
from statera.base.errors import Transient
from statera.base.settings import Settings
from statera.cli.plain import plain
from statera.cli.tables import print_json, print_table, short
from statera.model.enums import OperatingStatus, ProvisioningStatus
from statera.model.rates import WINDOW_S, Glance, Rates, measure_rates
from statera.store.glances import list_glances

Order = Literal["traffic", "connections", "errors", "status", "name"]
UNITS = ("", "k", "M", "G", "T", "P")
HEADS = ("name", "VIP", "on", "status", "traffic", "members", "active", "conn/s", "in B/s", "out B/s", "err/s", "why")
HEAD_LINES = 2
NAME_WIDTH_MOST = 24
COLORS = {
    OperatingStatus.ONLINE: "green",
    OperatingStatus.NO_MONITOR: "green",
    OperatingStatus.DEGRADED: "yellow",
    OperatingStatus.ERROR: "red",
    OperatingStatus.OFFLINE: "red",
    ProvisioningStatus.ERROR: "red",
    ProvisioningStatus.ACTIVE: "green",
}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One load balancer, ready to be shown."""

    load_balancer: Glance
    rates: Rates


class Watch:
    """What was seen in the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, Glance]]] = deque()

    def note(self, glances: Sequence[Glance], at_s: float) -> None:
        """Take in what is seen now."""
        self._seen.append((at_s, {glance.id: glance for glance in glances}))
        while len(self._seen) > 2 and at_s - self._seen[1][0] >= WINDOW_S:
            self._seen.popleft()

    def tell(self, order: Order) -> list[Line]:
        """Return every load balancer that is there, in an order."""
        lines = []
        for glance in self._seen[-1][1].values():
            mine = [seen[glance.id] for _, seen in self._seen if glance.id in seen]
            lines.append(Line(load_balancer=glance, rates=measure_rates(mine)))
        return sorted(lines, key=lambda line: _rank(line, order))


def _rank(line: Line, order: Order) -> tuple[float, str, str]:
    one, rates = line.load_balancer, line.rates
    trouble = (one.provisioning_status == ProvisioningStatus.ERROR) + (
        one.operating_status in (OperatingStatus.ERROR, OperatingStatus.DEGRADED)
    )
    first = {
        "traffic": -(rates.bytes_in + rates.bytes_out),
        "connections": -rates.connections,
        "errors": -rates.errors,
        "status": -float(trouble),
        "name": 0.0,
    }[order]
    return first, one.name, one.id


def run_top(settings: Settings, *, once: bool, form: str, order: Order, interval_s: float, most: int) -> None:
    """Show load balancers until Ctrl-C; with `once` one picture, after two looks `interval_s` apart."""
    if once or form == "json":
        lines = asyncio.run(_look_twice(settings, order, interval_s))
        if form == "json":
            print_json(lines[: most or None])
        else:
            print_table(draw(lines, most or len(lines)))
        return
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_watch(settings, order, interval_s, most))
    raise KeyboardInterrupt


async def _look_twice(settings: Settings, order: Order, interval_s: float) -> list[Line]:
    store, watch = open_store(settings), Watch()
    try:
        watch.note(await list_glances(store), time.monotonic())
        await asyncio.sleep(interval_s)
        watch.note(await list_glances(store), time.monotonic())
    finally:
        await store.close()
    return watch.tell(order)


async def _watch(settings: Settings, order: Order, interval_s: float, most: int) -> None:
    store, watch, stop = open_store(settings), Watch(), asyncio.Event()
    this = asyncio.current_task()

    def end() -> None:
        # `asyncio.wait_for` of Python 3.11 loses a cancellation that comes together with an answer.
        stop.set()
        if this is not None:
            this.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, end)
    try:
        with Live(Text("Looking ..."), screen=True, auto_refresh=False) as live:
            while not stop.is_set():
                trouble = ""
                try:
                    watch.note(await list_glances(store), time.monotonic())
                except Transient as error:
                    trouble = error.sentence
                room = live.console.height - HEAD_LINES
                lines = watch.tell(order) if not trouble else []
                picture = draw(lines, min(most or room, room), fits=True)
                live.update(Text(trouble, style="red") if trouble else picture, refresh=True)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(interval_s):
                        await stop.wait()
    finally:
        await store.close()


def draw(lines: Sequence[Line], most: int, *, fits: bool = False) -> Group:
    """Return a table of the first ones, and above it all of them in one line.

    One that `fits` cuts reasons off; else they stand below, whole.
    """
    heads = HEADS if fits else HEADS[:-1]
    table = Table(Column(heads[0], max_width=NAME_WIDTH_MOST), *heads[1:], box=None, header_style="bold")
    for column in table.columns[5:11]:
        column.justify = "right"
    # Reasons give way when it is narrow; all else only after them.
    for column in table.columns[:11]:
        column.no_wrap = True
    reasons = Text()
    for line in lines[:most]:
        one, rates = line.load_balancer, line.rates
        name, why = plain(one.name or one.id), plain(one.reason)
        if not fits and one.reason:
            reasons.append_text(Text("\n")).append_text(name).append(": ").append_text(why)
        row = (
            name,
            one.vip_address,
            plain(", ".join(one.vip_on)),
            _paint(one.provisioning_status),
            _paint(one.operating_status),
            f"{one.members_online}/{one.members}",
            scale(one.traffic.active_connections),
            scale(rates.connections),
            scale(rates.bytes_in),
            scale(rates.bytes_out),
            scale(rates.errors),
        )
        table.add_row(*row, *([short(why)] if fits else []))
    whole = [
        f"{len(lines)} load balancers{f' ({most} shown)' if most < len(lines) else ''}",
        f"{scale(sum(line.rates.connections for line in lines))} connections/s",
        f"{scale(sum(line.rates.bytes_in for line in lines))} B/s in",
        f"{scale(sum(line.rates.bytes_out for line in lines))} B/s out",
    ]
    return Group(Text(", ".join(whole), no_wrap=fits, overflow="ellipsis"), table, *([reasons] if reasons else []))


def _paint(status: ProvisioningStatus | OperatingStatus) -> Text:
    return Text(status.value, style=COLORS.get(status, ""))


def scale(value: float) -> str:
    """Return a number in at most five characters: `0`, `3.1`, `312`, `4.2k`."""
    for unit in UNITS:
        if value < 999.5:
            number = f"{value:.1f}".removesuffix(".0") if value < 9.95 else f"{value:.0f}"
            return f"{number}{unit}"
        value /= 1000
    return "much"
