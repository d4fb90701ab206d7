"""Which positions and times of a receiver are believed."""

from dataclasses import replace
from datetime import UTC, datetime
from math import nan

import pytest

from devices.clock import BUILD_NS, ERA_END_NS, ROLL_OVER_NS
from devices.counters import Counters
from devices.gps import AGREEING, AGREEING_TIMES, CLOCK_NS, Fix, Receiver, TimeGate, Track, distance_m, fault
from devices.wire import Sample

S = 10**9
T0 = BUILD_NS + 100 * 86_400 * S
GOOD = Fix(at_s=0.0, wall_ns=T0, time_ns=T0, lat_deg=50.0, lon_deg=8.0, speed_kmh=80.0, hdop=1.0, mode=3)


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * S


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"mode": 2}, ""),
        ({"mode": None, "hdop": None, "speed_kmh": None}, ""),
        ({"mode": 1}, "no_fix"),
        ({"mode": 0}, "no_fix"),
        ({"no_fix": "estimated"}, "estimated"),
        ({"lat_deg": None}, "no_fix"),
        ({"hdop": 5.0}, ""),
        ({"hdop": 5.1}, "hdop"),
        ({"hdop": 99.99}, "hdop"),
        ({"hdop": nan}, "hdop"),
        ({"lat_deg": 90.0, "lon_deg": -180.0}, ""),
        ({"lat_deg": 90.0001}, "range"),
        ({"lon_deg": -180.0001}, "range"),
        ({"lat_deg": nan}, "range"),
        ({"lat_deg": 0.0, "lon_deg": 0.0}, "zero"),
        ({"lat_deg": 0.0}, ""),
    ],
)
def test_a_position_by_itself(changes: dict[str, float | None], reason: str) -> None:
    assert fault(replace(GOOD, **changes)) == reason  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("a", "b", "km"),
    [  # great circles between airports, published by their operators' tables to the km
        ((50.0333, 8.5706), (48.3538, 11.7861), 300),  # FRA MUC
        ((51.4706, -0.4619), (40.6398, -73.7789), 5540),  # LHR JFK
        ((-33.9461, 151.1772), (-37.0081, 174.7917), 2158),  # SYD AKL
    ],
)
def test_distances(a: tuple[float, float], b: tuple[float, float], km: float) -> None:
    assert distance_m(*a, *b) / 1000 == pytest.approx(km, rel=0.006)
    assert distance_m(*b, *a) == pytest.approx(distance_m(*a, *b))
    assert distance_m(*a, *a) == 0


NORTH = 1 / 111_195  # degrees of latitude in a metre


def test_a_jump_is_refused_and_the_way_on_is_not() -> None:
    track = Track()
    assert not track.is_jump(0, 50.0, 8.0)
    assert not track.is_jump(1, 50.0 + 44 * NORTH, 8.0), "158 km/h"
    assert track.is_jump(2, 50.0 + (44 + 45) * NORTH, 8.0), "162 km/h"
    assert not track.is_jump(3, 50.0 + (44 + 80) * NORTH, 8.0), "as seen from the last good one"


def test_noise_between_fixes_of_a_fast_receiver_is_no_jump() -> None:
    track = Track()
    assert not track.is_jump(0, 50.0, 8.0)
    assert not track.is_jump(0.1, 50.0 + 12 * NORTH, 8.0)


def test_after_a_long_gap_any_reachable_place_is_fine() -> None:
    track = Track()
    assert not track.is_jump(0, 50.0, 8.0)
    assert not track.is_jump(7200, 52.0, 8.0)  # 222 km in two hours


def test_a_wrong_first_fix_is_left_behind_when_the_others_agree() -> None:
    track = Track()
    assert not track.is_jump(0, 10.0, 8.0)
    refused = [track.is_jump(t, 50.0 + 20 * t * NORTH, 8.0) for t in range(1, AGREEING + 3)]
    assert refused == [True] * (AGREEING - 1) + [False] * 3


def test_fixes_that_jump_about_never_agree() -> None:
    track = Track()
    assert not track.is_jump(0, 50.0, 8.0)
    assert all(track.is_jump(t, 10.0 + 30 * (t % 2), 8.0) for t in range(1, 100))


class Times:
    """A gate and its counters."""

    def __init__(self, not_before_ns: int = BUILD_NS) -> None:
        self.counters = Counters()
        self.it = TimeGate(self.counters, not_before_ns)

    def judge(self, time_ns: int, at_s: float, wall_ns: int | None = None) -> str:
        return self.it.judge(time_ns, at_s, time_ns if wall_ns is None else wall_ns)

    def refused(self) -> dict[str, int]:
        return dict(self.counters.by_label("gps_time_refused"))


def test_without_a_time_there_is_no_anchor() -> None:
    assert Times().it.anchor is None


def test_times_in_step_with_the_steady_clock_are_good() -> None:
    times = Times()
    assert [times.judge(T0 + t * S, 500.0 + t) for t in range(100)] == ["good"] * 100
    assert times.it.anchor == (T0 + 99 * S, 599.0)
    assert times.judge(T0 + 110 * S, 608.1) == "good", "1.9 s off"
    assert times.refused() == {}


@pytest.mark.parametrize(
    ("time_ns", "reason"),
    [
        (BUILD_NS - 1, "before_build"),
        (ns("1980-01-06"), "before_build"),
        (ERA_END_NS, "era_2036"),
        (ERA_END_NS + 40 * 365 * 86_400 * S, "era_2036"),
    ],
)
def test_dates_that_cannot_be(time_ns: int, reason: str) -> None:
    times = Times()
    assert times.judge(time_ns, 0.0, wall_ns=T0) == "wrong_date"
    assert times.refused() == {reason: 1}
    assert times.it.anchor is None


def test_ten_years_are_believed_and_no_day_more() -> None:
    start = ns("2010-01-01")
    assert Times(start).judge(start + 3652 * 86_400 * S, 0.0) == "good"
    times = Times(start)
    assert times.judge(start + 3653 * 86_400 * S, 0.0) == "wrong_date"
    assert times.refused() == {"after_build": 1}


def test_weeks_rolled_over_are_seen_by_the_system_s_clock() -> None:
    for weeks in (-2, -1, 1):
        times = Times()
        assert times.judge(T0 + weeks * ROLL_OVER_NS, 0.0, wall_ns=T0 + 20 * 86_400 * S) == "wrong_date"
        assert times.refused() == {"week_rollover": 1}


def test_gpsd_that_moved_2011_to_2031() -> None:
    times = Times(ns("2022-01-01"))
    moved = ns("2011-05-28") + ROLL_OVER_NS
    assert datetime.fromtimestamp(moved / S, tz=UTC).date().isoformat() == "2031-01-11"
    assert times.judge(moved, 0.0, wall_ns=ns("2011-05-28")) == "good", (
        "the system's clock is no witness before the build"
    )
    times = Times(ns("2010-01-01"))
    assert times.judge(moved, 0.0, wall_ns=ns("2011-05-28")) == "wrong_date"
    assert times.refused() == {"week_rollover": 1}


def test_weeks_rolled_over_while_running() -> None:
    times = Times()
    far = T0 - 400 * 86_400 * S  # a system clock that is no witness either
    assert times.judge(T0, 0.0, far) == "good"
    for t in range(1, 100):
        assert times.judge(T0 + t * S + ROLL_OVER_NS, float(t), far) == "wrong_date"
    assert times.judge(T0 + 100 * S, 100.0, far) == "good"
    assert times.refused() == {"week_rollover": 99}


def test_a_repeated_or_late_time_is_stale() -> None:
    times = Times()
    assert times.judge(T0, 0.0) == "good"
    assert times.judge(T0, 1.0) == "stale"
    assert times.judge(T0 + 1 * S, 3.5) == "stale", "what was measured 2.5 s ago"
    assert times.judge(T0 + 4 * S, 4.0) == "good"
    assert times.refused() == {"repeated": 1, "drift": 1}


def test_a_wrong_base_is_left_when_the_others_agree() -> None:
    times = Times()
    assert times.judge(T0 + 3600 * S, 0.0) == "good"
    verdicts = [times.judge(T0 + t * S, float(t)) for t in range(1, AGREEING_TIMES + 2)]
    assert verdicts == ["stale"] * (AGREEING_TIMES - 1) + ["good"] * 2
    assert times.it.anchor == (T0 + (AGREEING_TIMES + 1) * S, AGREEING_TIMES + 1.0)


def test_a_right_date_after_a_wrong_one_is_taken_at_once() -> None:
    times = Times()
    assert times.judge(ns("1980-01-06"), 0.0, T0) == "wrong_date"
    assert times.judge(ns("1980-01-06") + S, 1.0, T0) == "wrong_date"
    assert times.judge(T0 + 2 * S, 2.0) == "good"


class Device:
    """A receiver of positions, and what became of its fixes."""

    def __init__(self, *, sample_s: float = 1.0, not_before_ns: int = BUILD_NS, recorded: bool = False) -> None:
        self.counters = Counters()
        self.it = Receiver(self.counters, sample_s=sample_s, not_before_ns=not_before_ns, recorded=recorded)


def test_a_reading_has_the_receiver_s_time_and_only_what_it_said() -> None:
    device = Device()
    fix = replace(GOOD, wall_ns=T0 + S // 2, hdop=None)
    assert device.it.on_fix(fix) == Sample(T0, {"lat_deg": 50.0, "lon_deg": 8.0, "gps_speed_kmh": 80.0})
    assert device.it.anchor == (T0, 0.0)


def test_a_refused_fix_says_why_and_sets_no_time() -> None:
    device = Device()
    assert device.it.on_fix(replace(GOOD, hdop=8.0)) is None
    assert device.it.on_fix(replace(GOOD, mode=1, time_ns=T0 + S)) is None
    assert device.counters.by_label("gps_fix_refused") == {"hdop": 1, "no_fix": 1}
    assert device.it.anchor is None


def test_where_the_clocks_disagree_the_system_s_stamps() -> None:
    for off_ns in (CLOCK_NS + 1, -CLOCK_NS - 1, -T0 + 77 * S):  # the last: time since boot, before any clock is known
        device = Device()
        sample = device.it.on_fix(replace(GOOD, wall_ns=T0 + off_ns))
        assert sample is not None
        assert sample.time_ns == T0 + off_ns
        assert device.counters["gps_clock_differs"] == 1
        assert device.it.anchor == (T0, 0.0), "offered all the same"


def test_a_fresh_position_with_a_wrong_date_keeps_its_arrival() -> None:
    device = Device()
    sample = device.it.on_fix(replace(GOOD, time_ns=T0 - ROLL_OVER_NS))
    assert sample is not None
    assert sample.time_ns == T0
    assert device.counters.by_label("gps_time_refused") == {"week_rollover": 1}


def test_a_cached_position_is_never_stamped_anew() -> None:
    device = Device()
    assert device.it.on_fix(GOOD) is not None
    for t in range(1, 20):
        assert device.it.on_fix(replace(GOOD, at_s=float(t), wall_ns=T0 + t * S)) is None
    assert device.counters.by_label("gps_time_refused") == {"repeated": 19}


def test_a_jump_is_refused_and_counted() -> None:
    device = Device()
    assert device.it.on_fix(GOOD) is not None
    assert device.it.on_fix(replace(GOOD, at_s=1.0, wall_ns=T0 + S, time_ns=T0 + S, lat_deg=50.1)) is None
    assert device.counters.by_label("gps_fix_refused") == {"jump": 1}


def test_a_fast_receiver_gives_one_reading_a_period() -> None:
    device = Device()
    tenths = [
        replace(GOOD, at_s=t / 10, wall_ns=T0 + t * S // 10, time_ns=T0 + t * S // 10, lat_deg=50 + t * NORTH)
        for t in range(50)
    ]
    got = [s for fix in tenths if (s := device.it.on_fix(fix)) is not None]
    assert [(s.time_ns - T0) / S for s in got] == [0, 1, 2, 3, 4]


def test_arrivals_that_jitter_around_a_second_are_all_kept() -> None:
    device = Device()
    walls = [0, 1.01, 1.99, 3.01, 3.99, 5.0]
    got = [
        s
        for t, wall in enumerate(walls)
        if (s := device.it.on_fix(replace(GOOD, at_s=float(t), time_ns=None, wall_ns=T0 + round(wall * S))))
    ]
    assert len(got) == len(walls)


def test_a_recording_rests_on_its_own_times() -> None:
    device = Device(not_before_ns=ns("2019-01-01"), recorded=True)
    then = ns("2020-03-18")
    fixes = [replace(GOOD, at_s=0.0, wall_ns=0, time_ns=then + t * S) for t in (0, 1, 1, 3600, 7)]
    got = [device.it.on_fix(fix) for fix in fixes]
    assert [s and (s.time_ns - then) // S for s in got] == [0, 1, None, 3600, 7]
    assert device.it.anchor is None, "else it would set the gateway's clock"
    assert device.it.on_fix(replace(GOOD, time_ns=ns("1999-08-03"))) is None
    assert device.it.on_fix(replace(GOOD, time_ns=None)) is None
    assert device.counters.by_label("gps_time_refused") == {"repeated": 1, "before_build": 1, "no_date": 1}
