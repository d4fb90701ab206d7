import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from devices.config import ConfigError
from devices.sources import Context
from devices.wire import Sample, encode_batch
from simulators.warehouse import Warehouse
from simulators.warehouse_source import WarehouseSource, make
from simulators.warehouse_spec import from_registry

START_S = 1_736_150_400  # Monday 6 January 2025, 08:00 UTC
ROW = {"warehouse": "w", "device": "wh-w", "name": "W", "lat_deg": "51", "lon_deg": "7", "grid_zone": "DE"}


class VirtualTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def now_s(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def take(samples: AsyncIterator[Sample], n: int) -> list[Sample]:
    found = []
    async for sample in samples:
        found.append(sample)
        if len(found) == n:
            break
    return found


@pytest.mark.parametrize(("speed", "elapsed_s"), [(1.0, 50.0), (60.0, 50.0 / 60)])
def test_readings_come_at_their_time_times_the_speed(speed: float, elapsed_s: float) -> None:
    clock = VirtualTime()
    site = Warehouse(from_registry(ROW), seed=1, start_s=START_S)
    source = WarehouseSource(site, every_s=10, speed=speed, sleep=clock.sleep, now_s=clock.now_s)
    samples = asyncio.run(take(source.samples(), 5))
    assert [s.time_ns for s in samples] == [(START_S + 10 * i) * 1_000_000_000 for i in range(1, 6)]
    assert clock.now - 100.0 == pytest.approx(elapsed_s)
    assert samples[-1].values["grid_import_kwh"] > samples[0].values["grid_import_kwh"]


def test_a_source_that_is_asked_again_goes_on() -> None:
    clock = VirtualTime()
    site = Warehouse(from_registry(ROW), seed=1, start_s=START_S)
    source = WarehouseSource(site, every_s=10, sleep=clock.sleep, now_s=clock.now_s)
    first = asyncio.run(take(source.samples(), 3))
    second = asyncio.run(take(source.samples(), 2))
    assert [s.time_ns // 1_000_000_000 - START_S for s in first + second] == [10, 20, 30, 40, 50]


def test_every_value_can_travel() -> None:
    clock = VirtualTime()
    faults = {"value_loss": 0.1, "reading_loss": 0.1, "stalls_per_year": 300}
    site = Warehouse(from_registry(ROW, "cold_store", pv_kwp=500, meter_faults=faults), seed=1, start_s=START_S)
    samples = asyncio.run(take(WarehouseSource(site, every_s=60, sleep=clock.sleep, now_s=clock.now_s).samples(), 200))
    assert len(encode_batch("wh-w", 1, 0, samples)) < 200 * 40


def context(clock: VirtualTime) -> Context:
    return Context(
        name="site", device="wh-7", where="gw.toml", base=Path(), now_ns=lambda: START_S * 10**9, sleep=clock.sleep
    )


def test_it_is_made_from_a_configuration() -> None:
    clock = VirtualTime()
    options = {"preset": "cross_dock", "seed": 4, "every_s": 30, "warehouse": {"pv_kwp": 50}}
    samples = asyncio.run(take(make(options, context(clock)).samples(), 2))
    assert [s.time_ns for s in samples] == [(START_S + 30) * 10**9, (START_S + 60) * 10**9]
    assert "pv_kwh" in samples[0].values
    past = make({"start": "2024-03-01T00:00:00+01:00"}, context(clock))
    assert asyncio.run(take(past.samples(), 1))[0].time_ns == 1_709_247_610 * 10**9


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"sed": 4}, "source.site.sed"),
        ({"preset": "palace"}, "source.site.preset"),
        ({"every_s": 0}, "source.site.every_s"),
        ({"start": "yesterday"}, "source.site.start"),
        ({"start": "2024-03-01T00:00:00"}, "source.site.start"),
        ({"warehouse": {"pv": 50}}, "source.site.warehouse"),
        ({"warehouse": {"area_m2": 300}}, "source.site.warehouse"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(options, context(VirtualTime()))
    assert caught.value.key == key
