"""Signals that stand still while others move: named with patience, and forgotten when they move."""

from devices.still import StillSignals
from devices.wire import Sample

S = 10**9
T0 = 1_800_000_000 * S


def drive(still: StillSignals, seconds: range, **values: float) -> list[str]:
    """Readings at 1 Hz; gives the signals that became named."""
    named = []
    for t in seconds:
        given = dict(values)
        if given.get("speed_kmh"):
            given["speed_kmh"] += t % 2  # a wheel's speed is never quite steady
        named += still.on_reading(Sample(T0 + t * S, given))
    return named


def test_an_odometer_that_stands_while_the_wheels_turn_is_named_until_it_moves() -> None:
    still = StillSignals(after_s=120)
    moving = {"speed_kmh": 90.0, "gps_speed_kmh": 90.0}
    assert drive(still, range(100), odometer_m=5000.0, **moving) == []  # 1 km is driven after 40 s, 120 s are not over
    assert drive(still, range(100, 130), odometer_m=5000.0, **moving) == ["odometer_m"]
    assert still.named == ("odometer_m",)
    drive(still, range(130, 131), odometer_m=5025.0, **moving)
    assert not still.named


def test_a_truck_that_stands_is_not_stuck() -> None:
    still = StillSignals(after_s=10)
    assert drive(still, range(3000), odometer_m=5000.0, speed_kmh=0.0, fuel_rate_lph=0.0) == []


def test_the_patience_is_the_configuration_s() -> None:
    long, never = StillSignals(after_s=1000), StillSignals(after_s=0)
    for still in (long, never):
        assert drive(still, range(999), odometer_m=5000.0, speed_kmh=90.0) == []
    assert drive(long, range(999, 1002), odometer_m=5000.0, speed_kmh=90.0) == ["odometer_m"]
    assert drive(never, range(999, 1002), odometer_m=5000.0, speed_kmh=90.0) == []


def test_a_signal_that_is_not_measured_any_more_is_not_named() -> None:
    still = StillSignals(after_s=60)
    drive(still, range(100), odometer_m=5000.0, speed_kmh=90.0)
    assert still.named == ("odometer_m",)
    drive(still, range(100, 102), speed_kmh=90.0)
    assert not still.named
