"""Totals as rates."""

import datetime as dt

import pytest

from statera.model.enums import OperatingStatus, ProvisioningStatus
from statera.model.rates import Glance, Rates, measure_rates
from statera.model.statistics import Traffic

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def make_glance(told_s: float | None, connections: int = 0, size: int = 0) -> Glance:
    return Glance(
        id="one",
        name="one",
        project_id="p",
        vip_address="10.0.0.1",
        provisioning_status=ProvisioningStatus.ACTIVE,
        operating_status=OperatingStatus.ONLINE,
        told_at=None if told_s is None else NOW + dt.timedelta(seconds=told_s),
        traffic=Traffic(total_connections=connections, bytes_in=size, bytes_out=size * 2),
    )


@pytest.mark.parametrize(
    ("seen", "rates"),
    [
        ([], Rates()),
        ([make_glance(None)], Rates()),
        ([make_glance(0, 9)], Rates()),
        ([make_glance(0, 10, 100), make_glance(0, 10, 100), make_glance(4, 50, 900)], (10.0, 200.0, 400.0)),
        ([make_glance(None), make_glance(0, 10, 100), make_glance(2, 12, 100)], (1.0, 0.0, 0.0)),
        ([make_glance(0, 10, 100), make_glance(2, 0, 0)], Rates()),
    ],
)
def test_rates(seen: list[Glance], rates: Rates | tuple[float, float, float]) -> None:
    found = measure_rates(seen)
    expected = rates if isinstance(rates, Rates) else Rates(connections=rates[0], bytes_in=rates[1], bytes_out=rates[2])
    assert found == expected
