"""The whole way of a measurement: pins and frames of a node, its bytes, the gateway's source, the wire, the server's columns."""

import math
from dataclasses import dataclass

import numpy as np
import pytest

from devices.firmware.settings import TruckSettings, WarehouseSettings
from devices.firmware.truck_node import Truck
from devices.firmware.warehouse_node import Warehouse
from devices.wire import Sample, encode_batch, topic
from ingest.decode import Columns, Message, decode
from stream.columns import SIGNALS
from tests.firmware_world import T0_NS, World, frame

BOOT = 4711


def columns(samples: list[Sample]) -> Columns:
    """What the server makes of the samples, sent in batches of 60."""
    messages = [
        Message(
            topic("acme", "truck-001", "up/readings"),
            encode_batch("truck-001", BOOT, start, samples[start : start + 60], clock_source="ntp"),
            T0_NS + 3_600 * 10**9,
        )
        for start in range(0, len(samples), 60)
    ]
    decoded = decode(messages, {"truck-001": 0}, ["acme"], earliest_ns=T0_NS - 10**9)
    assert (decoded.rejected, decoded.bad_rows) == ([], [])
    return decoded.columns


@dataclass
class Trip:
    """A truck that drives off, with known truth in the units of physics."""

    now_s: float

    @property
    def speed_kmh(self) -> float:
        return min(80.0, 2.0 * self.now_s)

    @property
    def fuel_l(self) -> float:
        return 50_000 + 0.008 * self.now_s

    @property
    def distance_m(self) -> float:
        rising_s = min(self.now_s, 40.0)
        return 600_000_000 + rising_s**2 / 3.6 + (self.now_s - rising_s) * 80 / 3.6


def test_a_truck_s_trip() -> None:
    settings = TruckSettings()
    settings.has_cell = True
    settings.cell_zero, settings.cell_kg, settings.cell_counts = -20_000, 5_000, 400_000
    world = World(sensors=lambda: Truck(settings))

    def drive(now_ms: int) -> None:
        trip = Trip(now_ms / 1000)
        if now_ms % 100 == 0:
            fuel, distance = round(trip.fuel_l * 1000), round(trip.distance_m / 5)
            world.hal.frames += [
                frame(0xFEF1, b"\xff" + round(trip.speed_kmh * 256).to_bytes(2, "little") + b"\xff" * 5),
                frame(0xFEF2, round(28.8 / 0.05).to_bytes(2, "little") + b"\xff" * 6),  # 0.008 L/s
                frame(0xFD09, b"\xff" * 4 + fuel.to_bytes(4, "little")),
                frame(0xFEC1, distance.to_bytes(4, "little") + b"\xff" * 4),
                frame(0xF004, b"\xff\xff\xff" + round(1_300 / 0.125).to_bytes(2, "little") + b"\xff" * 3),
                frame(0xFE70, b"\xff\xff\xff\xff"),  # the truck knows no weight of its own
                frame(0xFEF2, b"\x10\x00" + b"\xff" * 6, source=0x55),  # another unit's opinion of the fuel rate
            ]
            world.hal.end_of_conversion()
            world.hal.cell = [-20_000 + 985_600 & 0xFFFFFF]  # 12,320 kg

    world.every_step = drive
    world.run(20_000)
    source = world.source(load_cell="cargo_kg")
    samples = world.listen(source, 60_000)
    world.boot()
    samples += world.listen(source, 60_000)
    got = columns(samples)

    n = got["seq"].size
    assert n == 79 + 59
    late_s = (got["time_ns"] - T0_NS) / 1e9
    due_s = np.concatenate([np.arange(1, 80), 80 + np.arange(1, 60)])
    assert np.all((late_s >= due_s) & (late_s <= due_s + 0.11))
    truth = [Trip(float(t)) for t in due_s]
    np.testing.assert_allclose(got["speed_kmh"], [t.speed_kmh for t in truth], atol=0.25)
    np.testing.assert_allclose(got["fuel_total_hr_l"], [t.fuel_l for t in truth], atol=0.0015, rtol=0)
    np.testing.assert_allclose(got["odometer_m"], [t.distance_m for t in truth], atol=5.5, rtol=0)
    np.testing.assert_array_equal(got["fuel_rate_lph"], 28.8)
    np.testing.assert_array_equal(got["engine_speed_rpm"], 1_300.0)
    cargo = got["cargo_kg"]
    steady = ~np.isnan(cargo)
    np.testing.assert_array_equal(cargo[steady], 12_320.0)
    assert steady.sum() == 79 - 59, "a minute of steadiness on the move; a start begins it anew"
    measured = {"speed_kmh", "fuel_total_hr_l", "odometer_m", "fuel_rate_lph", "engine_speed_rpm", "cargo_kg"}
    for signal in SIGNALS:
        if signal.name not in measured:
            assert np.isnan(got[signal.name]).all(), signal.name


def test_a_warehouse_s_meters() -> None:
    settings = WarehouseSettings()
    settings.inputs, settings.interval_ms = 2, 10_000
    world = World(sensors=lambda: Warehouse(settings), interval_ms=settings.interval_ms)

    def pulses(now_ms: int) -> None:
        """36 kW at 1000 pulses a kWh: 10 a second of 50 ms each, with bounce. And nothing at the second input."""
        if now_ms % 100 == 0:
            for closed in (True, False, True):
                world.hal.edge(0, closed)
        elif now_ms % 100 == 50:
            world.hal.edge(0, False)

    world.every_step = pulses
    source = world.source(
        pulses=[{"signal": "grid_import_kwh", "per_unit": 1000, "start": 81_234.5}, {"signal": "pv_kwh", "start": 7}]
    )
    got = columns(world.listen(source, 600_000))
    minutes = (got["time_ns"] - got["time_ns"][0]) / 60e9
    kwh = got["grid_import_kwh"]
    assert kwh[0] == pytest.approx(81_234.5 + 0.1, abs=0.002)
    np.testing.assert_allclose(kwh - kwh[0], 36 / 60 * minutes, atol=0.002)
    np.testing.assert_array_equal(got["pv_kwh"], 7.0)
    assert math.isnan(got["gas_kwh_gross"][0])
