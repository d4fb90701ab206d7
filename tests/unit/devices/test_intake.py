"""Between sources and numbering: waiting for the clock, joining, what is known of each source."""

from dataclasses import dataclass, field
from itertools import pairwise

import msgspec
import pytest

from devices import intake as module
from devices.clock import BUILD_NS, ClockState, Timekeeper
from devices.config import Broker, GatewayConfig
from devices.counters import Counters
from devices.intake import Intake
from devices.wire import Sample

S = 10**9
TRUE_BOOT_NS = BUILD_NS + 7 * S


@dataclass
class World:
    """A device whose clock is not known until ``learn``."""

    names: tuple[str, ...]
    at_ns: int = 5 * S
    system: ClockState = field(default_factory=ClockState)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.clock = Timekeeper(
            self.counters, wall=lambda: TRUE_BOOT_NS + self.at_ns, boot=lambda: self.at_ns, system=lambda: self.system
        )
        config = GatewayConfig(device="truck-01", tenant="acme", broker=Broker(host="b"))
        self.stuck: list[str] = []
        self.intake = Intake(config, self.names, clock=self.clock, counters=self.counters, on_stuck=self.stuck.append)

    def give(self, index: int, seconds: float = 1.0, **values: float) -> list[Sample]:
        self.at_ns += round(seconds * S)
        return self.intake.on_sample(index, Sample(self.clock.now_ns(), dict(values)), self.at_ns / S)

    def learn(self) -> None:
        self.system = ClockState("ntp", 20)
        self.at_ns += S
        self.clock.look()


def test_readings_wait_for_the_clock_and_come_in_their_order_with_their_own_times() -> None:
    world = World(("can",))
    for k in range(5):
        assert world.give(0, hdop=k) == []
    assert world.intake.waiting == 5
    world.learn()
    got = world.intake.on_clock()
    assert [(s.time_ns - TRUE_BOOT_NS, s.values["hdop"]) for s in got] == [((6 + k) * S, k) for k in range(5)]
    assert world.intake.waiting == 0
    assert world.intake.on_clock() == []
    (live,) = world.give(0, hdop=9)
    assert live.time_ns == TRUE_BOOT_NS + world.at_ns


def test_the_bound_counts_the_wait() -> None:
    world = World(("can",))
    world.give(0, hdop=1)
    world.at_ns += 10_000 * S
    world.learn()
    bounds = []
    for reading in (*world.intake.on_clock(), *world.give(0, hdop=2)):
        state = world.intake.clock_state(reading.time_ns)
        assert state is not None
        bounds.append(state.error_ms)
    assert bounds[0] in (1020, 1021)  # 100 ppm of 10,000 s
    assert bounds[1] in (20, 21)
    assert world.intake.clock_state(1) == world.intake.clock_state()  # a recording's date is not of this clock


def test_waiting_readings_of_two_sources_are_joined_as_if_the_clock_had_been_known() -> None:
    waited, known = World(("can", "gps")), World(("can", "gps"))
    known.learn()
    known.at_ns = waited.at_ns
    live = []
    for k in range(20):
        waited.give(k % 2, 0.4, **({"speed_kmh": k} if k % 2 else {"lat_deg": k}))
        live += known.give(k % 2, 0.4, **({"speed_kmh": k} if k % 2 else {"lat_deg": k}))
    waited.learn()
    assert [*waited.intake.on_clock(), *waited.intake.flush()] == [*live, *known.intake.flush()]
    assert len(live) >= 6


def test_a_source_with_dates_of_its_own_does_not_overtake_or_wait_alone() -> None:
    world = World(("csv", "can"))
    dated = Sample(BUILD_NS + 1, {"hdop": 1.0})
    world.intake.on_sample(0, dated, 1.0)
    assert world.intake.waiting == 0
    world.give(1, hdop=2)
    world.intake.on_sample(0, dated, 1.0)
    assert world.intake.waiting == 2


def test_too_many_waiting_are_thinned_evenly_counted_and_keep_their_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 100)
    world = World(("can",))
    for k in range(1000):
        values = {"hdop": k % 100, "odometer_m": float(k)} if k % 2 == 0 else {"hdop": k % 100}
        world.give(0, **values)
    assert world.intake.waiting <= 100
    assert world.counters["readings_undated_lost"] == 1000 - world.intake.waiting
    world.learn()
    got = world.intake.on_clock()
    times = [round((s.time_ns - TRUE_BOOT_NS) / S) for s in got]
    assert times == sorted(times)
    assert times[-1] == 1005
    assert max(b - a for a, b in pairwise([5, *times])) <= 40  # evenly: 1000 s in at most 100 rows
    old = [s for s in got if s.time_ns < TRUE_BOOT_NS + 900 * S]
    assert len(old) > 30
    for sample in old:  # every second reading had no counter; its predecessor's went over to it
        k = sample.time_ns - TRUE_BOOT_NS - 6 * S
        assert sample.values["odometer_m"] in (k / S, k / S - 1)


def test_what_is_known_of_each_source() -> None:
    world = World(("can", "gps"))
    world.learn()
    world.intake.on_fault(1, "no such device", 3.0)
    assert world.intake.missing == ("gps",)
    world.give(0, speed_kmh=5)
    can, gps = world.intake.sources
    assert (can.samples, can.sample_at, can.error) == (1, world.at_ns / S, "")
    assert (gps.samples, gps.sample_at, gps.error, gps.error_at) == (0, None, "no such device", 3.0)
    world.give(1, lat_deg=1)
    assert not world.intake.missing


def test_a_cached_value_keeps_its_own_time() -> None:
    world = World(("can", "gps"))
    world.learn()
    old = Sample(world.clock.now_ns(), {"gross_weight_kg": 20_000.0})
    world.intake.on_sample(1, old, 0.0)
    got = [reading for _ in range(6) for reading in world.intake.on_sample(1, old, 0.0)]  # a source that repeats itself
    got += world.give(0, speed_kmh=50)
    assert [s.time_ns for s in got] == [old.time_ns]
    got = [reading for _ in range(5) for reading in world.give(0, speed_kmh=50)]
    held = [s.time_ns - old.time_ns for s in got if "gross_weight_kg" in s.values]
    assert max(held) <= 2 * S  # by its own age, however often it is given


def test_stuck_signals_are_told() -> None:
    world = World(("can",))
    world.learn()
    for k in range(200):
        world.give(0, odometer_m=5000.0, speed_kmh=90.0 + k % 2)
    assert world.stuck == ["odometer_m"]
    assert world.intake.stuck == ("odometer_m",)


def test_without_a_clock_of_its_own_times_pass_as_they_are() -> None:
    config = GatewayConfig(device="truck-01", tenant="acme", broker=Broker(host="b"))
    intake = Intake(config, ["csv"], clock=None, counters=Counters())
    assert intake.on_sample(0, Sample(5, {}), 0.0) == [Sample(5, {})]
    assert intake.clock_state() is None


def test_a_signal_may_have_a_limit_of_its_own() -> None:
    config = GatewayConfig(device="truck-01", tenant="acme", broker=Broker(host="b"))
    config = msgspec.structs.replace(config, hold={"gross_weight_kg": 30.0, "speed_kmh": 0.0})
    intake = Intake(config, ["can", "scale"], clock=None, counters=Counters())
    intake.on_sample(1, Sample(BUILD_NS, {"gross_weight_kg": 20_000.0, "speed_kmh": 50.0, "alt_m": 3.0}), 0.0)
    got = [s for k in range(1, 41) for s in intake.on_sample(0, Sample(BUILD_NS + k * S, {"hdop": 1.0}), 0.0)]
    assert [round((s.time_ns - BUILD_NS) / S) for s in got if "gross_weight_kg" in s.values] == list(range(31))
    assert [round((s.time_ns - BUILD_NS) / S) for s in got if "alt_m" in s.values] == [0, 1, 2]
    assert [round((s.time_ns - BUILD_NS) / S) for s in got if "speed_kmh" in s.values] == [0]
