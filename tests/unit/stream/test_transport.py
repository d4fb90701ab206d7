"""Transport work, load factor and time use: sums that are divided when read."""

import numpy as np
import pytest

from stream.columns import UNKNOWN
from stream.fleet import Vehicle
from stream.pipeline import Columns, start, step
from stream.state import empty_state
from stream.transport import payload
from tests.support import fleet, readings

N = 601
T = np.arange(N)
KM = 10.0  # 60 km/h for ten minutes
TRUCK = Vehicle("t", "d-t", "artic_40t", "diesel_b7", tare_kg=15_000.0)


def run(vehicle: Vehicle = TRUCK, **signals: object) -> Columns:
    return step(start(fleet(vehicle)), readings(T, **signals))[1].rollups  # type: ignore[arg-type]


def sums(rolls: Columns) -> dict[str, float]:
    return {name: float(rolls[name].sum()) for name in rolls}


@pytest.mark.parametrize(
    ("gross", "cargo", "kg"),
    [
        (27_500.0, np.nan, 12_500.0),
        (27_500.0, 12_000.0, 12_000.0),  # the order before the scales
        (15_600.0, np.nan, 0.0),  # the scales' noise carries no goods
        (8_000.0, np.nan, 0.0),  # a tractor alone
        (16_000.0, np.nan, 1_000.0),
        (5_000.0, np.nan, np.nan),  # no weight of this vehicle
        (np.nan, 0.0, 0.0),
        (np.nan, -1.0, np.nan),
        (np.nan, np.nan, np.nan),
    ],
)
def test_payload(gross: float, cargo: float, kg: float) -> None:
    state = empty_state(1)[0]
    assert payload(fleet(TRUCK).params[0], state, gross, cargo) == pytest.approx(kg, nan_ok=True)
    state["payload_kg"] = 7_000.0  # what the trip has shown is better than one reading
    assert payload(fleet(TRUCK).params[0], state, gross, cargo) == 7_000.0


def test_loaded_kilometres() -> None:
    s = sums(run(speed_kmh=60.0, gross_weight_kg=27_500.0))
    assert s["transport_kgm"] / 1e6 == pytest.approx(12.5 * KM, rel=1e-4)
    assert s["capacity_kgm"] / 1e6 == pytest.approx(25.0 * KM, rel=1e-4)
    assert s["payload_unknown_mm"] == 0
    assert s["moving_us"] == 600e6


def test_empty_kilometres_have_no_capacity_and_load_factor_is_of_the_loaded_ones() -> None:
    """Ten kilometres with 10 t, a stop of five minutes, ten kilometres with nothing."""
    t = np.arange(1500)
    speed = np.where((t > 600) & (t < 900), 0.0, 60.0)
    truck = Vehicle("t", "d-t", "artic_40t", "diesel_b7", capacity_kg=20_000.0)
    batch = readings(t, speed_kmh=speed, cargo_kg=np.where(t <= 750, 10_000.0, 0.0), engine_speed_rpm=900.0)
    s = sums(step(start(fleet(truck)), batch)[1].rollups)
    assert s["transport_kgm"] / s["capacity_kgm"] == pytest.approx(0.5, rel=0.01)
    assert s["capacity_kgm"] / 1e6 == pytest.approx(20.0 * KM, rel=0.02)
    assert s["distance_mm"] / 1e6 == pytest.approx(2 * KM, rel=0.01)


def test_unknown_payload_is_counted_and_not_taken_as_nothing() -> None:
    results = step(start(fleet(TRUCK)), readings(T, speed_kmh=60.0))[1]
    assert (results.emissions["transport_kgm"] == UNKNOWN).all()
    assert results.rollups["payload_unknown_mm"].sum() / 1e6 == pytest.approx(KM, rel=1e-4)


def test_a_weight_seen_once_holds_for_the_trip() -> None:
    s = sums(run(speed_kmh=60.0, gross_weight_kg=np.where(T <= 300, 27_500.0, np.nan)))
    assert s["transport_kgm"] / 1e6 == pytest.approx(12.5 * KM, rel=0.01)
    assert s["payload_unknown_mm"] == 0


def test_transport_work_of_the_worked_shipment() -> None:
    """iLEAP: 87 kg over 423 km are 36.801 t km."""
    t = np.arange(8)
    metres = np.linspace(0, 423_000, 8)
    batch = readings(t * 4000, odometer_m=metres, cargo_kg=87.0)
    results = step(start(fleet(TRUCK)), batch)[1]
    assert results.emissions["transport_kgm"][1:].sum() / 1e6 == pytest.approx(36.801, abs=1e-5)


@pytest.mark.parametrize(
    ("rpm", "switches", "idle_s"),
    [(650.0, 16.0, 600.0), (650.0, 20.0, 0.0), (0.0, 0.0, 0.0), (np.nan, 16.0, 0.0), (650.0, np.nan, 600.0)],
)
def test_idling_is_standing_with_the_engine_on_and_no_power_take_off(
    rpm: float, switches: float, idle_s: float
) -> None:
    s = sums(run(speed_kmh=0.0, engine_speed_rpm=rpm, switches=switches))
    assert s["idle_us"] == idle_s * 1e6
    assert s["moving_us"] == 0


def test_neither_moving_nor_idling_without_a_speed() -> None:
    s = sums(run(engine_speed_rpm=650.0))
    assert (s["idle_us"], s["moving_us"]) == (0, 0)
