"""One sample clock for values of many periods: ages, preference, and sums that are whole or absent."""

from devices.can_sampler import SETTLE_S, Rules, Sampler
from devices.counters import Counters
from devices.j1939 import Batch
from devices.wire import Sample

T0 = 1_800_000_000 * 10**9


class Bus:
    """A sampler and the time of both clocks."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.counters = Counters()
        self.it = Sampler(rules or Rules(), self.counters)

    def hear(self, at_s: float, values: dict[int, float | None], axles: dict[int, float | None] | None = None) -> None:
        self.it.take(Batch(values, axles or {}), 1000 + at_s, T0 + round(at_s * 1e9))

    def ask(self, at_s: float) -> Sample | None:
        return self.it.sample(1000 + at_s)

    def values(self, at_s: float) -> dict[str, float]:
        sample = self.ask(at_s)
        return {} if sample is None else sample.values


def test_a_reading_has_the_time_of_its_newest_value() -> None:
    bus = Bus()
    bus.hear(0.2, {183: 12.0})
    bus.hear(0.7, {190: 900.0})
    assert bus.ask(1.0) == Sample(T0 + 700_000_000, {"fuel_rate_lph": 12.0, "engine_speed_rpm": 900.0})


def test_nothing_new_is_no_reading() -> None:
    bus = Bus()
    assert bus.ask(0) is None
    bus.hear(0.2, {183: 12.0})
    assert bus.ask(1.0) is not None
    assert bus.ask(1.5) is None
    bus.hear(1.6, {544: 2500.0})
    assert bus.ask(2.0) is None, "of no signal"
    bus.hear(2.1, {183: None})
    assert bus.ask(3.0) is None


def test_each_value_has_its_own_age() -> None:
    bus = Bus()
    bus.hear(0, {183: 12.0, 171: 20.0, 1760: 40_000.0})
    for at_s, names in ((2.5, 3), (2.6, 2), (5.0, 2), (5.1, 1), (25.0, 1)):
        bus.hear(at_s, {190: 900.0})
        assert len(bus.values(at_s)) == names + 1, at_s
    bus.hear(25.1, {190: 900.0})
    assert bus.values(25.1) == {"engine_speed_rpm": 900.0}


def test_a_hold_can_be_set_for_signals_told_only_when_they_change() -> None:
    bus = Bus(Rules(hold_s={"gross_weight_kg": 600}))
    bus.hear(0, {1760: 40_000.0})
    bus.hear(590, {190: 900.0})
    assert bus.values(590)["gross_weight_kg"] == 40_000.0


def test_a_value_taken_back_is_gone_at_once() -> None:
    bus = Bus()
    bus.hear(0, {183: 12.0, 190: 900.0})
    bus.hear(0.5, {183: None})
    assert bus.values(1) == {"engine_speed_rpm": 900.0}


def test_the_tachograph_s_speed_is_preferred_and_the_wheels_stand_in() -> None:
    bus = Bus()
    bus.hear(0, {84: 79.0})
    assert bus.values(0) == {"speed_kmh": 79.0}
    bus.hear(1, {84: 79.0, 1624: 80.0})
    assert bus.values(1) == {"speed_kmh": 80.0}
    bus.hear(4, {84: 78.0})
    assert bus.values(4) == {"speed_kmh": 78.0}


def test_an_odometer_is_never_exchanged_for_another() -> None:
    bus = Bus()
    bus.hear(0, {245: 1_000_000.0})
    assert bus.values(1) == {}, "the better one may still come"
    bus.hear(2, {245: 1_000_000.0, 917: 1_000_040.0})
    assert bus.values(2) == {"odometer_m": 1_000_040.0}
    bus.hear(30, {245: 1_000_500.0})
    assert bus.values(30) == {}


def test_a_coarse_odometer_is_used_where_there_is_no_better() -> None:
    bus = Bus()
    bus.hear(0, {245: 1_000_000.0})
    bus.hear(SETTLE_S, {245: 1_000_125.0})
    assert bus.values(SETTLE_S) == {"odometer_m": 1_000_125.0}
    bus.hear(SETTLE_S + 1, {245: 1_000_125.0, 917: 1_000_040.0})
    assert bus.values(SETTLE_S + 1) == {"odometer_m": 1_000_125.0}


def test_axles_are_added_only_when_all_are_there_and_fresh() -> None:
    bus = Bus(Rules(axles=3))
    bus.hear(0, {}, {0x00: 7000.0, 0x10: 11_000.0})
    assert bus.values(0) == {}
    bus.hear(1, {}, {0x20: 8000.0})
    assert bus.values(1) == {"gross_weight_kg": 26_000.0}
    bus.hear(5.5, {}, {0x10: 11_000.0, 0x20: 8000.0})
    assert bus.values(5.5) == {}, "the first is too old"
    bus.hear(6, {}, {0x00: None, 0x10: 11_000.0, 0x20: 8000.0})
    assert bus.values(6) == {}
    bus.hear(7, {}, {0x00: 7000.0, 0x10: 11_000.0, 0x20: 8000.0, 0x30: 5000.0})
    assert bus.values(7) == {}, "a trailer that the configuration does not know"
    assert bus.counters.by_label("can_value_withheld") == {"gross_weight_kg": 4}


def test_axles_are_never_added_unless_told_how_many() -> None:
    bus = Bus()
    bus.hear(0, {}, {0x00: 7000.0})
    assert bus.values(0) == {}


def test_the_vehicle_s_own_sum_is_preferred() -> None:
    bus = Bus(Rules(axles=1))
    bus.hear(0, {1760: 26_100.0}, {0x00: 7000.0})
    assert bus.values(0) == {"gross_weight_kg": 26_100.0}


def test_battery_power_needs_to_know_what_positive_means() -> None:
    for positive, power_kw in (("discharge", 80.0), ("charge", -80.0)):
        bus = Bus(Rules(battery_positive=positive))  # type: ignore[arg-type]
        bus.hear(0, {5919: 800.0, 5920: 100.0})
        assert bus.values(0) == {"battery_power_kw": power_kw}
        bus.hear(1, {5919: 800.0, 5920: None})
        assert bus.values(1) == {}
    bus = Bus()
    bus.hear(0, {5919: 800.0, 5920: 100.0})
    assert bus.values(0) == {}
    assert bus.counters.by_label("can_value_withheld") == {"battery_power_kw": 1}


def test_a_step_of_the_system_s_clock_moves_no_age() -> None:
    bus = Bus()
    bus.hear(0, {190: 900.0})
    bus.it.take(Batch({183: 12.0}), 1001, T0 - 10**15)
    assert bus.ask(1) == Sample(T0 - 10**15, {"engine_speed_rpm": 900.0, "fuel_rate_lph": 12.0})
