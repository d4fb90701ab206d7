"""What was learnt of a vehicle has left what it was: ``tare_drift`` and ``model_drift``, told once, and not told where nothing drifts."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from stream.fleet import Vehicle
from tests.event_list import happened
from tests.support import fleet, readings

TRUCK = Vehicle("t1", "d-t1", "artic_40t", "diesel_b7", tare_kg=15_000.0)
Floats = npt.NDArray[np.float64]


def _of(kind: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [e for e in events if e["kind"] == kind]


def _empty_trips(empty_kg: float, trips: int) -> list[dict[str, Any]]:
    """Drives of seven minutes with an order of nothing, no empty units either, weighed all the way, and stops of three minutes."""
    v = np.concatenate([np.full(420, 60.0), np.zeros(180)])
    v = np.tile(v, trips)
    rng = np.random.default_rng(4)
    batch = readings(
        np.arange(v.size),
        speed_kmh=v,
        engine_speed_rpm=np.full(v.size, 900.0),
        gross_weight_kg=empty_kg + rng.normal(0.0, 300.0, v.size),
        cargo_kg=np.zeros(v.size),
        load_units_empty=np.zeros(v.size),
    )
    return _of("tare_drift", happened(batch, fleet(TRUCK)))


def test_a_tare_that_left_the_registrys_is_told_once_it_is_steady() -> None:
    (event,) = _empty_trips(16_300.0, 12)
    assert event["amount"] == pytest.approx(1_300.0, rel=0.2)
    assert event["chosen"] == "weight"
    assert event["at"] > 5 * 600 - 180  # five empty trips


@pytest.mark.parametrize(("empty_kg", "trips"), [(15_300.0, 12), (16_300.0, 4)])
def test_a_tare_near_the_registrys_or_seen_too_rarely_is_none(empty_kg: float, trips: int) -> None:
    assert _empty_trips(empty_kg, trips) == []


def _months(later: float) -> list[dict[str, Any]]:
    """Fifty hours of motorway at 0.0085 L/s, then thirty at ``later`` times that; a stop every two hours, readings every 5 s."""
    hour = np.concatenate([np.full(1400, 80.0), np.zeros(40)])
    v = np.tile(hour, 40)
    t = 5.0 * np.arange(v.size)
    rate: Floats = np.where(v > 0, 0.0085, 0.0) * np.where(t > 50 * 3600, later, 1.0)
    batch = readings(
        t,
        speed_kmh=v,
        engine_speed_rpm=np.where(v > 0, 1200.0, 0.0),
        fuel_total_hr_l=1_000.0 + np.floor(1000 * np.cumsum(rate * 5.0)) / 1000,
    )
    return _of("model_drift", happened(batch, fleet(TRUCK)))


def test_a_vehicle_that_needs_more_than_it_used_to_is_told() -> None:
    event = _months(1.4)[0]
    assert 1.06 < event["amount"] < 1.4
    assert event["chosen"] == "counter"
    assert event["at"] > 50 * 3600


def test_a_vehicle_that_needs_what_it_always_did_is_not() -> None:
    assert _months(1.0) == []
