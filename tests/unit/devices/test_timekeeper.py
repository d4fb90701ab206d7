"""The device's clock in every trouble of row 20 of the fault plan: unknown, stepped, wrong by years or weeks, lost."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.clock import (
    ADOPT_S,
    BUILD_NS,
    EPOCHS_MAX,
    OFFER_STANDS_S,
    ROLL_OVER_NS,
    ClockLog,
    ClockState,
    Timekeeper,
    boot_ns,
    coarse,
    is_dated,
    refuse_time,
    system_state,
    worst,
)
from devices.counters import Counters
from devices.wire import Sample

S = 10**9
DAY = 86_400 * S
TRUE_BOOT_NS = BUILD_NS + 100 * DAY  # UTC when the device was switched on


@dataclass
class World:
    """True time, and a system clock that is off by ``off_ns``."""

    at_ns: int = 20 * S  # since boot
    off_ns: int = 0
    system: ClockState = field(default_factory=ClockState)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self.keeper = Timekeeper(
            self.counters, wall=lambda: self.true_ns + self.off_ns, boot=lambda: self.at_ns, system=lambda: self.system
        )

    @property
    def true_ns(self) -> int:
        return TRUE_BOOT_NS + self.at_ns

    def pass_s(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds))):
            self.at_ns += round(seconds * S / max(1, round(seconds)))
            self.keeper.look()

    @property
    def error_s(self) -> float:
        return (self.keeper.now_ns() - self.true_ns) / S


def test_without_a_source_there_is_time_since_boot_only() -> None:
    world = World(off_ns=-3600 * S)  # as fake-hwclock leaves it
    world.pass_s(100)
    assert not world.keeper.known
    assert world.keeper.now_ns() == world.at_ns
    assert not is_dated(world.keeper.now_ns())
    assert world.keeper.state() == ClockState("none", -1)


def test_samples_before_the_first_time_are_dated_back_and_only_once() -> None:
    world = World()
    early = Sample(world.keeper.now_ns(), {"hdop": 1.0})
    taken_ns = world.true_ns
    assert world.keeper.dated(early) is early
    world.pass_s(500)
    world.system = ClockState("ntp", 20)
    world.pass_s(1)
    dated = world.keeper.dated(early)
    assert dated == Sample(taken_ns, {"hdop": 1.0})
    assert world.keeper.dated(dated) is dated
    own = Sample(1_400_000_000 * S, {})  # a recording of 2014 has its own date
    assert world.keeper.dated(own) is own


@pytest.mark.parametrize(
    ("year_s", "reason"),
    [(-16 * 365 * DAY, "before_build"), (10 * 365 * DAY, "after_2036"), (-TRUE_BOOT_NS + 20 * S, "before_build")],
)
def test_a_system_clock_that_cannot_be_right_is_refused_and_counted_once(year_s: int, reason: str) -> None:
    world = World(off_ns=year_s, system=ClockState("ntp", 1))
    world.pass_s(50)
    assert not world.keeper.known
    assert world.counters.by_label("clock_refused") == {f"system {reason}": 1}


@pytest.mark.parametrize("weeks", [-1024, 1024, -2048])
def test_a_receiver_that_rolled_over_is_refused(weeks: int) -> None:
    world = World(system=ClockState("rtc", -1))
    world.pass_s(1)
    assert not world.keeper.offer(world.true_ns + weeks * 7 * DAY, 100)
    assert world.counters.by_label("clock_refused") == {"receiver week_rollover": 1}
    assert abs(world.error_s) < 1e-6


@given(st.integers(BUILD_NS - 10**18, BUILD_NS + 10**18), st.sampled_from([-2, -1, 1, 2]), st.integers(-DAY, DAY))
def test_every_roll_over_is_told_by_a_clock_that_is_about_right(now_ns: int, turns: int, off_ns: int) -> None:
    assert refuse_time(now_ns + turns * ROLL_OVER_NS + off_ns, now_ns) == "week_rollover"


def test_a_receiver_dates_what_the_network_cannot() -> None:
    world = World()
    early = Sample(world.keeper.now_ns(), {})
    taken_ns = world.true_ns
    world.pass_s(60)
    assert world.keeper.offer(world.true_ns - 2 * S, 1000, age_ns=2 * S)
    assert world.keeper.dated(early).time_ns == taken_ns
    assert world.keeper.state() == ClockState("gps", 1000)


def test_a_receiver_that_falls_silent_leaves_a_bound_that_grows() -> None:
    world = World()
    world.keeper.offer(world.true_ns, 500)
    world.pass_s(OFFER_STANDS_S + 2)
    assert world.keeper.state().source == "holdover"
    world.pass_s(3600)  # 100 ppm of an hour are 0.36 s
    assert 860 <= world.keeper.state().error_ms <= 870
    assert abs(world.error_s) < 1e-6


@pytest.mark.parametrize(("off_s", "label"), [(7200, "system forward"), (-7200, "system back")])
def test_a_step_of_the_wall_clock_moves_no_reading(off_s: int, label: str) -> None:
    world = World(system=ClockState("ntp", 20))
    world.pass_s(10)
    world.off_ns, world.system = (
        off_s * S,
        ClockState(),
    )  # somebody sets the date: the kernel forgets its synchronisation
    world.pass_s(300)
    assert abs(world.error_s) < 1e-6
    assert world.keeper.state().source == "holdover"
    assert world.counters.by_label("clock_stepped") == {label: 1}
    world.off_ns, world.system = 0, ClockState("ntp", 20)
    world.pass_s(2)
    assert world.keeper.state().source == "ntp"
    assert world.counters["clock_stepped"] == 1


def test_another_time_is_believed_when_the_network_has_held_it() -> None:
    world = World(off_ns=-3 * S, system=ClockState("ntp", 20))
    world.pass_s(10)
    world.off_ns = 0
    world.pass_s(ADOPT_S - 2)
    assert world.error_s == pytest.approx(-3)
    assert world.keeper.state().source == "holdover"
    world.pass_s(5)
    assert world.error_s == pytest.approx(0)
    assert world.keeper.state().source == "ntp"


def test_the_network_mends_a_battery_clock_at_once() -> None:
    world = World(off_ns=90 * S, system=ClockState("rtc", -1))
    world.pass_s(2)
    assert world.error_s == pytest.approx(90)
    world.off_ns, world.system = 0, ClockState("ntp", 20)
    world.pass_s(2)
    assert world.error_s == pytest.approx(0)
    assert world.keeper.state().error_ms in (20, 21)


def test_slewing_is_followed_and_is_no_step() -> None:
    world = World(system=ClockState("ntp", 20))
    for k in range(200):
        world.off_ns = k * 80_000_000  # chrony slews by at most 8.3 %
        world.pass_s(1)
    assert world.counters["clock_stepped"] == 0
    assert world.error_s == pytest.approx(199 * 0.08)


def test_a_receiver_that_contradicts_the_network_is_not_believed() -> None:
    world = World(system=ClockState("ntp", 20))
    world.pass_s(5)
    assert not world.keeper.offer(world.true_ns + 30 * S, 1000)
    assert world.counters.by_label("clock_refused") == {"receiver differs": 1}
    assert world.keeper.offer(world.true_ns + S // 2, 1000)
    assert abs(world.error_s) < 1e-6


def test_a_receiver_that_jumps_is_believed_when_it_holds_the_new_time() -> None:
    world = World()
    assert world.keeper.offer(world.true_ns, 100)
    believed = []
    for _ in range(int(ADOPT_S) + 2):
        world.pass_s(1)
        believed.append(world.keeper.offer(world.true_ns + 18 * S, 100))  # leap seconds it has just learned
    assert believed == [False] * int(ADOPT_S) + [True] * 2
    assert world.error_s == pytest.approx(18)


def test_readings_keep_the_clock_they_were_taken_with() -> None:
    log = ClockLog(ClockState())
    log.note(0, ClockState("rtc", -1))
    log.note(10, ClockState("ntp", 128))
    log.note(20, ClockState("holdover", 256))
    log.note(30, ClockState("ntp", 64))
    assert log.over(0, 10) == ClockState("rtc", -1)
    assert log.over(9, 11) == ClockState("rtc", -1)
    assert log.over(10, 20) == ClockState("ntp", 128)
    assert log.over(10, 40) == ClockState("holdover", 256)
    log.forget(25)
    assert log.over(25, 30) == ClockState("holdover", 256)
    assert log.over(30, 31) == ClockState("ntp", 64)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(-1, 5000)), max_size=3 * EPOCHS_MAX), st.data())
def test_a_long_log_is_bounded_and_never_too_good(notes: list[tuple[int, int]], data: st.DataObject) -> None:
    log, seq, truth = ClockLog(ClockState("ntp", 0)), 0, [ClockState("ntp", 0)]
    for step, error_ms in notes:
        truth += [truth[-1]] * (step - 1)
        seq += step
        log.note(seq, ClockState("ntp", error_ms))
        truth.append(ClockState("ntp", error_ms))
    first = data.draw(st.integers(0, len(truth) - 1))
    end = data.draw(st.integers(first + 1, len(truth)))
    said, bound = log.over(first, end), ClockState("ntp", 0)
    for state in truth[first:end]:
        bound = worst(bound, state)
    assert worst(said, bound) == said
    if len(notes) <= EPOCHS_MAX - 1:
        assert said == bound


@given(st.integers(-1, 2**31 - 1))
def test_a_coarse_bound_is_a_bound(error_ms: int) -> None:
    rounded = coarse(ClockState("ntp", error_ms)).error_ms
    assert (rounded == -1) if error_ms == -1 else (error_ms <= rounded <= max(0, 2 * error_ms - 1))


def test_the_system_says_what_it_rests_on(tmp_path: Path) -> None:
    hctosys = tmp_path / "sys/class/rtc/rtc0/hctosys"
    hctosys.parent.mkdir(parents=True)
    hctosys.write_text("1\n")
    said = system_state(tmp_path)  # the kernel of this machine is kept by NTP or it is not
    assert said.source in ("ntp", "rtc")
    hctosys.write_text("0\n")
    assert system_state(tmp_path).source == ("ntp" if said.source == "ntp" else "none")


_STEP = """
import sys, time
from pathlib import Path
from devices.clock import BUILD_NS, ClockState, Timekeeper, boot_ns
from devices.counters import Counters
file, counters = Path(sys.argv[1]), Counters()
begun = boot_ns()
boots = iter(range(begun, begun + 10**12, 10**9))
keeper = Timekeeper(counters, boot=lambda: now[0], system=lambda: ClockState("ntp", 20))
now = [next(boots)]
keeper.look()
first = keeper.now_ns() - now[0]
file.write_text("@2010-01-01 00:00:00")
for _ in range(10):
    now[0] = next(boots)
    keeper.look()
print(time.gmtime().tm_year, keeper.now_ns() - now[0] == first, keeper.state().source, counters.by_label("clock_refused"))
"""


def test_a_live_step_of_the_whole_process(tmp_path: Path) -> None:
    library = next((p for p in Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if library is None or shutil.which("faketime") is None:
        pytest.skip("libfaketime is not installed on this machine")
    (tmp_path / "time").write_text("@2030-01-01 00:00:00")
    environ = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "time"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", _STEP, str(tmp_path / "time")]
    done = subprocess.run(command, env=environ, cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.split(maxsplit=3)[:3] == ["2010", "True", "holdover"], done.stderr
    assert "system before_build" in done.stdout


def test_boottime_goes_on() -> None:
    assert 0 < boot_ns() <= boot_ns()
