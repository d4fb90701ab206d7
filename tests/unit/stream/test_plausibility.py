"""Sensors that contradict each other: the bad one is found, kept, marked and not used."""

import numpy as np
import numpy.typing as npt
import pytest

from stream.columns import DISTANCE_METHODS, UNKNOWN
from stream.fleet import Vehicle
from stream.pipeline import Columns, start, step
from tests.event_list import happened, kinds, listed
from tests.support import fleet, join, readings, rows

Floats = npt.NDArray[np.float64]
NORTH = 1 / 111_195  # degrees per metre


def _road(
    km: float, *, wheel: float = 1.0, odometer: float = 1.0, seed: int = 3, seq0: int = 0, begin: float = 0.0
) -> Columns:
    """North at 60 to 90 km/h, 1 Hz, with a receiver's noise; wheel speed and odometer off by factors."""
    n = int(km / 75 * 3600)
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    v = 75 + 15 * np.sin(t / 60)
    s = np.cumsum(v / 3.6)
    return readings(
        begin + t,
        seq0=seq0,
        lat_deg=50 + (begin * 20 + s + rng.normal(0, 2.5, n)) * NORTH,
        lon_deg=8 + rng.normal(0, 2.5, n) * NORTH,
        hdop=np.full(n, 0.9),
        gps_speed_kmh=v + rng.normal(0, 0.22, n),
        speed_kmh=np.round(v * wheel * 256) / 256,
        odometer_m=np.floor((1e8 + begin * 30 + s * odometer) / 5) * 5,
    )


def test_honest_sensors_agree() -> None:
    assert kinds(_road(80)) == []


def test_a_wheel_speed_scaled_by_1_4_is_found_and_no_longer_used() -> None:
    batch = _road(30, wheel=1.4)
    batch["odometer_m"][:] = np.nan
    _, r = step(start(fleet()), batch)
    (event,) = [e for e in listed(r.events) if e["kind"] == "wheel_scale"]
    assert event["amount"] == pytest.approx(1.4, abs=0.01)
    assert event["chosen"] == "gps"
    km = np.cumsum(batch["gps_speed_kmh"]) / 3600
    assert km[int(event["at"])] == pytest.approx(4.0, abs=0.3)  # two stretches of 2 km
    after = r.emissions["time_ns"] > batch["time_ns"][0] + (event["at"] + 2) * 1e9
    methods = {DISTANCE_METHODS[m] for m in r.emissions["distance_method"][after]}
    assert methods == {"gps_speed"}
    driven = r.emissions["distance_mm"][after].sum() / 1e6
    assert driven == pytest.approx(km[-1] - km[int(event["at"]) + 2], rel=0.005)
    assert (r.readings["speed_kmh"] == batch["speed_kmh"]).all()  # kept as it came


def test_the_model_takes_gnss_speed_then() -> None:
    # Energy falls back to what an honest wheel gives, though 1.4 times the speed would burn about twice the fuel.
    def modelled(wheel: float) -> float:
        _, r = step(start(fleet()), _road(30, wheel=wheel))
        late = r.emissions["fuel_nl"][500:]
        return float(late[late != UNKNOWN].sum())

    assert modelled(1.4) == pytest.approx(modelled(1.0), rel=0.06)  # a receiver's noise is accelerations too


def test_an_odometer_takes_over_where_there_is_one() -> None:
    events = happened(_road(10, wheel=1.4))
    assert [(e["kind"], e["chosen"]) for e in events if e["kind"] != "speeding"] == [("wheel_scale", "odometer")]


def test_a_mended_wheel_is_used_again() -> None:
    bad = _road(10, wheel=1.4)
    good = _road(10, seq0=bad["seq"].size, begin=600.0, seed=4)
    found = [e for e in happened(join(bad, good)) if e["kind"] == "wheel_scale"]
    assert [e["chosen"] for e in found] == ["odometer", "none"]
    _, r = step(start(fleet()), join(bad, good))
    assert r.emissions["distance_method"][-1] == DISTANCE_METHODS.index("odometer")


@pytest.mark.parametrize(("wheel", "odometer", "kind"), [(1.02, 1.0, "wheel_scale"), (1.0, 0.98, "odometer_conflict")])
def test_a_bias_of_two_per_cent_is_found_in_20_km(wheel: float, odometer: float, kind: str) -> None:
    batch = _road(45, wheel=wheel, odometer=odometer)
    (event,) = happened(batch)
    assert event["kind"] == kind
    assert event["amount"] == pytest.approx(wheel * odometer, abs=0.003)
    assert event["chosen"] == (
        "wheel_speed" if kind == "wheel_scale" else "odometer"
    )  # still used: marked, not dropped
    km = np.cumsum(batch["gps_speed_kmh"]) / 3600
    assert km[int(event["at"])] == pytest.approx(20.0, abs=0.3)


def test_a_bias_of_one_per_cent_is_worn_tyres() -> None:
    assert kinds(_road(60, wheel=1.01, odometer=1.01)) == []


def test_an_odometer_that_stands_still_is_not_used() -> None:
    batch = _road(12)
    batch["odometer_m"][:] = 1e8
    events = happened(batch)
    assert [(e["kind"], e["chosen"]) for e in events] == [("odometer_conflict", "wheel_speed")]
    assert events[0]["amount"] == 0.0


def test_a_stuck_gnss_speed_blames_nobody() -> None:
    batch = _road(12)
    batch["gps_speed_kmh"][:] = 80.0  # and the vehicle stands
    batch["lat_deg"][:], batch["lon_deg"][:] = 50.0, 8.0
    batch["speed_kmh"][:], batch["odometer_m"][:] = 0.0, 1e8
    assert kinds(batch) == []


def test_a_bad_fix_is_not_compared() -> None:
    batch = _road(12, wheel=1.4)
    batch["hdop"][:] = 6.0
    assert "wheel_scale" not in kinds(batch)


def test_a_case_is_told_once_a_day() -> None:
    parts, seq0 = [], 0
    for hour in range(30):
        part = _road(12, wheel=1.4, seq0=seq0, begin=hour * 3600.0, seed=hour)
        seq0 += part["seq"].size
        parts.append(part)
    found = [e for e in happened(join(*parts)) if e["kind"] == "wheel_scale"]
    assert len(found) == 2
    assert found[1]["at"] - found[0]["at"] >= 86_400


def test_a_jump_of_the_position_is_one_event_and_not_believed() -> None:
    # traccar #3693, #3235: thousands of kilometres off, marked valid.
    batch = _road(5)
    batch["lat_deg"][100:104] = -33.0
    batch["lon_deg"][100:104] = 151.0
    state, r = step(start(fleet()), batch)
    (event,) = listed(r.events)
    assert (event["kind"], event["at"], event["end"]) == ("gps_jump", 100.0, 103.0)
    assert event["amount"] > 5e6
    assert event["lat"] == pytest.approx(batch["lat_deg"][99])
    assert state.rows["fix_lat_deg"][0] == batch["lat_deg"][-1]
    inside, _ = step(start(fleet()), rows(batch, slice(0, 102)))
    assert inside.rows["fix_lat_deg"][0] == batch["lat_deg"][99]
    assert inside.rows["fix_lat_deg"][0] != batch["lat_deg"][101]


def test_null_island_before_the_first_fix_is_left_soon() -> None:
    batch = _road(8)
    batch["lat_deg"][:3], batch["lon_deg"][:3] = 0.0, 0.0
    state, r = step(start(fleet()), batch)
    assert [e["kind"] for e in listed(r.events)] == ["gps_jump"]
    assert state.rows["fix_lat_deg"][0] == batch["lat_deg"][-1]


def test_a_ferry_is_believed_after_two_minutes() -> None:
    batch = _road(8)
    batch["lat_deg"][120:] += 1.0  # 111 km within a second: the gateway slept on the ship
    state, r = step(start(fleet()), batch)
    (event,) = listed(r.events)
    assert event["amount"] == pytest.approx(111_195, rel=0.03)
    assert state.rows["fix_lat_deg"][0] == batch["lat_deg"][-1]


def test_a_gap_lets_a_vehicle_be_elsewhere() -> None:
    batch = readings([0, 1, 3600, 3601], lat_deg=[50, 50, 50.8, 50.8], lon_deg=[8, 8, 8, 8])
    assert kinds(batch) == []


def test_the_date_line_is_no_jump() -> None:
    batch = readings([0, 1, 2], lat_deg=[0, 0, 0], lon_deg=[179.9999, -179.9999, -179.9997])
    assert kinds(batch) == []


def test_counters_that_fall_are_told_once_even_if_both_fall() -> None:
    batch = readings([0, 1, 2, 3], fuel_total_hr_l=[500, 500.01, 0.02, 0.03], fuel_total_l=[500, 500, 0, 0])
    (event,) = happened(batch)
    assert (event["kind"], event["at"]) == ("counter_reset", 2.0)
    assert event["amount"] == pytest.approx(-499.99)


@pytest.mark.parametrize(("scales", "expected"), [(32_000.0, []), (24_000.0, ["weight_conflict"])])
def test_scales_against_order_and_tare(scales: float, expected: list[str]) -> None:
    batch = _road(15)
    n = batch["seq"].size
    batch["cargo_kg"] = np.full(n, 17_000.0)
    batch["gross_weight_kg"] = scales + np.random.default_rng(1).normal(0, 800, n)
    events = happened(batch, fleet(Vehicle("t1", "d-t1", "artic_40t", "diesel_b7", tare_kg=15_000.0)))
    assert [e["kind"] for e in events] == expected
    if expected:
        assert events[0]["amount"] == pytest.approx(24 / 32, abs=0.01)
        assert events[0]["chosen"] == "weight"
