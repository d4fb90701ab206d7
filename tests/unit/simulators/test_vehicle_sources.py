"""Gateway sources: one vehicle alone without numpy, vehicles of a live world, and what options can be wrong."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devices.config import ConfigError
from devices.sources import Context
from devices.wire import Sample, encode_batch
from simulators import layout as at
from simulators.fleet import build
from simulators.live import WAITING, LiveFleet
from simulators.sources import make
from tests.small_world import scenario

ROOT = Path(__file__).resolve().parents[3]
START_NS = 1_790_000_000_000_000_000


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def now_s(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


async def first(samples: AsyncIterator[Sample], n: int) -> list[Sample]:
    taken: list[Sample] = []
    async for sample in samples:
        taken.append(sample)
        if len(taken) == n:
            break
    return taken


def context(clock: Clock) -> Context:
    return Context(name="truck", device="truck-1", now_ns=lambda: START_NS, monotonic=clock.now_s, sleep=clock.sleep)


def test_a_vehicle_alone_gives_samples_in_real_time() -> None:
    clock = Clock()
    source = make({"seed": 3}, context(clock))
    began = clock.now
    samples = asyncio.run(first(source.samples(), 120))
    assert clock.now - began == pytest.approx(120.0)
    assert [s.time_ns for s in samples] == [START_NS + (i + 1) * 1_000_000_000 for i in range(120)]
    assert {"switches", "ambient_temp_c"} <= set(samples[0].values)
    assert {"lat_deg", "speed_kmh", "odometer_m"} <= set().union(*(s.values for s in samples))
    assert encode_batch("truck-1", 7, 0, samples)


def test_speed_and_rate_are_kept() -> None:
    clock = Clock()
    source = make({"seed": 3, "speed": 50.0, "rate_hz": 10}, context(clock))
    began = clock.now
    samples = asyncio.run(first(source.samples(), 600))
    assert clock.now - began == pytest.approx(60.0 / 50.0)
    assert samples[1].time_ns - samples[0].time_ns == 100_000_000


def test_another_class_can_drive_the_tours() -> None:
    source = make({"scenario": "city-parcels", "fleet": "van", "class": "bev_van_3.5t", "seed": 2}, context(Clock()))
    assert source._vehicle.vehicle.fuel == "electricity"
    samples = asyncio.run(first(source.samples(), 5))
    assert any("battery_soc_pct" in s.values for s in samples)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"colour": "red"}, "colour"),
        ({"fleet": "nobody"}, "source.truck.fleet.*there are trunk"),
        ({"scenario": "nowhere"}, "source.truck.scenario.*no such scenario"),
        ({"rate_hz": 3}, "source.truck.rate_hz"),
        ({"speed": 0}, "source.truck.speed"),
        ({"class": "bus"}, "source.truck.class"),
        ({"start": "tomorrow"}, "source.truck.start.*not a time"),
        ({"start": "2026-05-01T00:00:00"}, "offset"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        make(options, context(Clock()))


def test_a_vehicle_runs_with_base_dependencies_only() -> None:
    script = (
        "import sys\n"
        "for name in ('numpy', 'numba', 'pyarrow', 'duckdb'): sys.modules[name] = None\n"
        "from devices.sources import Context\n"
        "from simulators.sources import make, sample_values\n"
        "from simulators.kernel import COMPILED\n"
        "source = make({'warmup_s': 3600}, Context(name='truck'))\n"
        "source._vehicle.step()\n"
        "assert not COMPILED and 'switches' in sample_values(source._vehicle)\n"
        "print('fine')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr


def test_live_sources_share_one_world() -> None:
    small = scenario(fleet={"count": 4}, always_on=True)
    clock = Clock()
    world = build(small, 3, start_ns=START_NS, warmup_s=1200, rate_hz=10)
    engine = LiveFleet(world, 2.0, sleep=clock.sleep, now_s=clock.now_s)

    async def all_of_them() -> list[list[Sample]]:
        return await asyncio.gather(*(first(engine.source(v).samples(), 300) for v in range(4)))

    began = clock.now
    taken = asyncio.run(all_of_them())
    assert 15.0 <= clock.now - began < 17.0  # 30 virtual seconds at speed 2
    again = build(small, 3, start_ns=START_NS, warmup_s=1200, rate_hz=10).advance(30)
    for v, samples in enumerate(taken):
        rows = again.readings["device"] == v
        assert [s.time_ns for s in samples] == again.readings["time_ns"][rows].tolist()
        for name in at.SIGNALS:
            values = np.array([s.values.get(name, np.nan) for s in samples])
            assert np.array_equal(values, again.readings[name][rows], equal_nan=True)


def test_readings_nobody_takes_are_bounded_and_counted() -> None:
    clock = Clock()
    world = build(scenario(fleet={"count": 2}, always_on=True), 3, rate_hz=10)
    engine = LiveFleet(world, 1000.0, sleep=clock.sleep, now_s=clock.now_s)
    engine.source(1)
    asyncio.run(first(engine.source(0).samples(), WAITING + 500))
    assert engine.dropped == 500
    assert len(engine._waiting[1]) == WAITING


def test_speed_must_be_above_zero() -> None:
    with pytest.raises(ValueError, match="speed is 0"):
        LiveFleet(build(scenario(), 3), 0.0)
