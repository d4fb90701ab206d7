"""Sensors that stand still: found by what others say, and nothing accused that may rest."""

from collections.abc import Callable, Iterator

import pytest

from devices.stuck import MAX_STEP_S, StuckWatch


def drive(reading: Callable[[int], dict[str, float]], seconds: int = 600) -> list[tuple[int, str]]:
    watch = StuckWatch()
    return [(t, signal) for t in range(seconds) for signal in watch.on_reading(reading(t), float(t))]


def healthy(t: int) -> dict[str, float]:
    speed = 60.0 + 20.0 * (t // 30 % 2) + t % 3 / 8
    return {
        "speed_kmh": speed,
        "odometer_m": 5.0 * round(t * 70 / 3.6 / 5),
        "fuel_rate_lph": 20.0 + t % 7,
        "fuel_total_hr_l": round(t * 23 / 3600, 3),
        "fuel_total_l": round(t * 23 / 3600 * 2) / 2,
        "engine_speed_rpm": 1200.0 + t % 11,
        "lat_deg": 50 + t * 1e-4,
        "gps_speed_kmh": speed,
    }


def test_a_healthy_truck() -> None:
    assert drive(healthy, 3600) == []


def test_a_parked_truck() -> None:
    parked = healthy(0) | {"speed_kmh": 0.0, "gps_speed_kmh": 0.0, "fuel_rate_lph": 0.0, "engine_speed_rpm": 0.0}
    assert drive(lambda _: parked, 36_000) == []


@pytest.mark.parametrize(
    ("signal", "earliest_s", "latest_s"),
    [
        ("odometer_m", 45, 60),  # 1 km at 60 to 80 km/h
        ("fuel_total_hr_l", 14, 20),  # 0.1 L at 20 to 26 L/h
        ("fuel_total_l", 280, 340),  # 2 L
        ("engine_speed_rpm", 150, 180),  # five or six changes of 20 km/h
        ("fuel_rate_lph", 150, 180),
        ("lat_deg", 45, 60),
    ],
)
def test_one_that_stands_still_is_found_once(signal: str, earliest_s: int, latest_s: int) -> None:
    frozen = healthy(0)[signal] or 1.0
    found = drive(lambda t: healthy(t) | {signal: frozen})
    assert [name for _, name in found] == [signal]
    assert earliest_s <= found[0][0] <= latest_s


def test_a_speed_that_the_odometer_contradicts() -> None:
    for frozen in (0.0, 30.0, 140.0):
        found = drive(lambda t, v=frozen: healthy(t) | {"speed_kmh": v}, 300)  # type: ignore[misc]
        assert "speed_kmh" in {name for _, name in found}
    assert drive(lambda t: healthy(t) | {"speed_kmh": 70.0}, 300) == [], "cruise control"


def test_an_engine_at_rest_while_driving_is_a_hybrid_or_coasting() -> None:
    assert drive(lambda t: healthy(t) | {"engine_speed_rpm": 0.0, "fuel_rate_lph": 0.0}) == []


def test_it_is_told_again_after_it_moved() -> None:
    found = drive(lambda t: healthy(t) | {"odometer_m": float(t // 200)})
    assert len([t for t, name in found if name == "odometer_m"]) == 3


def test_gaps_and_missing_signals_are_no_evidence() -> None:
    watch = StuckWatch()

    def told(times: Iterator[float], reading: dict[str, float]) -> list[str]:
        return [signal for t in times for signal in watch.on_reading(reading, t)]

    frozen = {"odometer_m": 5.0, "speed_kmh": 80.0}
    assert told((t * (MAX_STEP_S + 1) for t in range(100)), frozen) == []
    assert told((2000.0 + t for t in range(100)), {"odometer_m": 5.0}) == []
