"""Harsh manoeuvres, idling and speeding: each found where it is, and not where it is not."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from stream.driver_events import coasting_j, harsh_threshold_ms2, litres_of, lost_j
from stream.fleet import Fleet, Vehicle
from tests.event_list import happened, kinds
from tests.support import fleet, readings

Floats = npt.NDArray[np.float64]
VAN = Vehicle("v", "d-v", "van_3.5t", "diesel_b7")


def _speeds(*legs: tuple[float, float], start: float = 0.0) -> Floats:
    """1 Hz speeds [km/h]: (acceleration in m/s2, seconds) one after another."""
    v = [start]
    for a, seconds in legs:
        for _ in range(round(seconds)):
            v.append(max(0.0, v[-1] + 3.6 * a))
    return np.array(v)


def _drive(v: Floats, among: Fleet | None = None, **signals: Any) -> list[dict[str, object]]:
    return happened(readings(np.arange(v.size), speed_kmh=v, **signals), among)


def test_the_golden_braking() -> None:
    # Science reference, section 6: 40 t from 80 to 40 km/h = 7.41 MJ = 0.53 L; 15 t 0.20 L; 3.5 t 0.05 L.
    joule = lost_j(40_000.0, 1.0, 80 / 3.6, 40 / 3.6)
    assert joule == pytest.approx(7.41e6, rel=1e-3)
    assert litres_of(joule) == pytest.approx(0.53, abs=0.005)
    assert litres_of(lost_j(15_000.0, 1.0, 80 / 3.6, 40 / 3.6)) == pytest.approx(0.20, abs=0.005)
    assert litres_of(lost_j(3_500.0, 1.0, 80 / 3.6, 40 / 3.6)) == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize(
    ("mass_kg", "accelerate", "brake"), [(3_500, 2.0, 3.0), (12_000, 1.5, 2.5), (40_000, 1.0, 2.0)]
)
def test_thresholds_are_those_of_the_science_page(mass_kg: float, accelerate: float, brake: float) -> None:
    assert harsh_threshold_ms2(mass_kg, 2.0) == pytest.approx(accelerate, abs=0.02)
    assert harsh_threshold_ms2(mass_kg, 3.0) == pytest.approx(brake, abs=0.02)


def test_a_laden_artic_that_brakes_hard() -> None:
    v = _speeds((0.0, 10), (-2.78, 4), (0.0, 10), start=80.0)  # 80 -> 40 km/h in 4 s
    (event,) = _drive(v, gross_weight_kg=np.full(v.size, 40_000.0))
    assert event["kind"] == "harsh_braking"
    assert event["amount"] == pytest.approx(-2.78, abs=0.01)
    assert (event["at"], event["end"]) == (10.0, 14.0)
    f_rot = 1.04  # between the bounds of a top gear
    coasting = 40_000 * 9.81 * 0.0055 * 66.7 + 0.6 * 5.2 * (60 / 3.6) ** 2 * 66.7  # 66.7 m at about 60 km/h
    assert event["litres"] == pytest.approx((7.41e6 * f_rot - coasting) / 0.3906 / 35.7e6, rel=0.02)


def test_what_is_harsh_for_a_laden_artic_is_not_for_a_van() -> None:
    v = _speeds((0.0, 5), (-2.3, 6), (0.0, 10), start=90.0)
    assert [e["kind"] for e in _drive(v, gross_weight_kg=np.full(v.size, 38_000.0))] == ["harsh_braking"]
    assert _drive(v, fleet(VAN), gross_weight_kg=np.full(v.size, 3_000.0)) == []
    harder = _speeds((0.0, 5), (-3.5, 6), (0.0, 10), start=90.0)
    assert [e["kind"] for e in _drive(harder, fleet(VAN))] == ["harsh_braking"]


def test_acceleration_explains_no_litres_and_ordinary_driving_is_nothing() -> None:
    (event,) = _drive(_speeds((0.0, 3), (1.6, 8), (0.0, 10)), gross_weight_kg=np.full(22, 30_000.0))
    assert event["kind"] == "harsh_acceleration"
    assert event["amount"] == pytest.approx(1.6)
    assert event["litres"] is None
    assert _drive(_speeds((0.5, 20), (0.0, 30), (-1.0, 10), (0.0, 10))) == []


def test_the_registry_can_set_thresholds() -> None:
    strict = fleet(Vehicle("t1", "d-t1", "artic_40t", "diesel_b7", harsh_braking_ms2=1.2))
    v = _speeds((0.0, 5), (-1.4, 6), (0.0, 10), start=80.0)
    assert _drive(v) == []
    assert [e["kind"] for e in _drive(v, strict)] == ["harsh_braking"]


def test_pumping_the_brake_is_one_event() -> None:
    v = _speeds((0.0, 5), (-2.8, 2), (0.0, 3), (-2.8, 2), (0.0, 3), (-2.8, 2), (0.0, 20), start=85.0)
    events = _drive(v, gross_weight_kg=np.full(v.size, 40_000.0))
    assert [(e["kind"], e["at"], e["end"]) for e in events] == [("harsh_braking", 5.0, 17.0)]


def test_two_manoeuvres_apart_are_two() -> None:
    v = _speeds((0.0, 5), (-2.8, 2), (0.0, 9), (-2.8, 2), (0.0, 20), start=85.0)
    assert len(_drive(v, gross_weight_kg=np.full(v.size, 40_000.0))) == 2


def test_ten_hertz_speed_is_taken_over_a_second() -> None:
    t = np.arange(0, 20, 0.1)
    shake = readings(t, speed_kmh=60 + 1.5 * (-1.0) ** np.arange(t.size))  # 8 m/s2 between neighbours, none in a second
    assert kinds(shake) == []
    v = np.interp(t, [0, 8, 11, 20], [80, 80, 50, 50])
    assert kinds(readings(t, speed_kmh=v)) == ["harsh_braking"]


def test_gnss_speed_needs_two_seconds_and_a_good_fix() -> None:
    t = np.arange(0, 30)
    v = np.interp(t, [0, 10, 14, 30], [80, 80, 40, 40])
    spike = np.where(t == 10, 72.0, 80.0)
    assert kinds(readings(t, gps_speed_kmh=v, hdop=np.full(30, 0.9))) == ["harsh_braking"]
    assert kinds(readings(t, gps_speed_kmh=v, hdop=np.full(30, 4.0))) == []
    assert kinds(readings(t, gps_speed_kmh=spike, hdop=np.full(30, 0.9))) == []


def test_impossible_decelerations_and_slow_readings_are_no_events() -> None:
    assert kinds(readings(np.arange(20), speed_kmh=np.where(np.arange(20) == 10, 0.0, 80.0))) == []
    assert kinds(readings(np.arange(0, 100, 10), speed_kmh=np.linspace(80, 0, 10))) == []


def _stop(seconds: int, **signals: float) -> list[dict[str, object]]:
    v = np.concatenate((np.full(5, 2.0), np.zeros(seconds), np.full(5, 2.0)))
    given: dict[str, Any] = {name: np.full(v.size, value) for name, value in signals.items()}
    return happened(readings(np.arange(v.size), speed_kmh=v, **given))


def test_idling_from_sixty_seconds() -> None:
    (event,) = _stop(200, engine_speed_rpm=600.0, fuel_rate_lph=2.5)
    assert event["kind"] == "idling"
    assert event["amount"] == pytest.approx(199.0)
    assert event["litres"] == pytest.approx(2.5 * 199 / 3600, rel=1e-3)
    assert (event["at"], event["end"]) == (5.0, 204.0)
    assert _stop(55, engine_speed_rpm=600.0) == []


def test_what_is_no_idling() -> None:
    assert _stop(200, engine_speed_rpm=0.0) == []
    assert _stop(200) == []  # whether the engine runs is not known
    assert _stop(200, engine_speed_rpm=800.0, switches=float(1 << 2)) == []  # power take-off
    assert _stop(200, engine_speed_rpm=800.0, switches=float(1 << 6)) == []  # a unit that may hang on the engine
    cooled = _stop(200, engine_speed_rpm=800.0, switches=float(1 << 6), tru_fuel_total_l=50.0)  # it has its own
    assert [e["kind"] for e in cooled] == ["idling"]


def test_a_fuel_rate_tells_of_a_running_engine_too() -> None:
    assert [e["kind"] for e in _stop(100, fuel_rate_lph=2.0)] == ["idling"]


def test_a_gap_ends_idling() -> None:
    t = np.concatenate((np.arange(100), 1000 + np.arange(100)))
    batch = readings(t, speed_kmh=np.zeros(200), engine_speed_rpm=np.full(200, 600.0))
    assert [(e["at"], e["end"]) for e in happened(batch)] == [(0.0, 99.0)]  # the second one lasts still


def test_speeding_ten_seconds_above_limit_and_tolerance() -> None:
    v = _speeds((0.0, 5), (1 / 3.6, 12), (0.0, 30), (-1 / 3.6, 12), (0.0, 20), start=86.0)
    (event,) = _drive(v)
    assert event["kind"] == "speeding"
    assert (event["amount"], event["expected"]) == (pytest.approx(98.0), 90.0)
    assert event["litres"] is not None
    metres, drag = 40 * 97 / 3.6, 0.5 * 1.2 * 5.2 * ((97 / 3.6) ** 2 - 25.0**2)  # about 40 s at 97 km/h
    assert event["litres"] == pytest.approx(litres_of(metres * drag), rel=0.15)
    assert _drive(_speeds((0.0, 5), (1 / 3.6, 6), (0.0, 30), (-1 / 3.6, 6), (0.0, 9), start=86.0)) == []  # 92 km/h


def test_limits_by_class_and_by_vehicle() -> None:
    v = np.full(60, 110.0)
    ended = np.concatenate((v, np.full(10, 60.0)))
    assert _drive(ended, fleet(VAN)) == []  # 130 km/h
    slow = fleet(Vehicle("v", "d-v", "van_3.5t", "diesel_b7", speed_limit_kmh=80.0))
    assert [e["expected"] for e in _drive(ended, slow) if e["kind"] == "speeding"] == [80.0]


def test_a_battery_vehicle_explains_no_litres() -> None:
    electric = fleet(Vehicle("e", "d-e", "bev_artic_40t", "electricity", grid_zone="uk"))
    v = _speeds((0.0, 5), (-2.78, 4), (0.0, 10), start=80.0)
    (event,) = _drive(v, electric, gross_weight_kg=np.full(v.size, 40_000.0))
    assert event["litres"] is None


def test_coasting_takes_what_road_and_air_take() -> None:
    p = fleet().params[0]
    one_second = coasting_j(p, 40_000.0, 20.0, 1.0)
    assert one_second == pytest.approx((40_000 * 9.81 * 0.0055 + 0.5 * 1.2 * 5.2 * 400) * 20, rel=1e-6)
