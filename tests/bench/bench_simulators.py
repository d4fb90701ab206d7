"""The simulated world: readings/s on one core with all sensors on, by share of driving, beside one vehicle without compiler."""

import os
import subprocess
import sys
import time

import msgspec

from simulators.fleet import World, build
from simulators.scenario import Scenario, load
from tests.bench.result import Result

VEHICLES = 1000
SECONDS = 240
REPEATS = 3
_PLAIN = """
import time
from simulators.scenario import load
from simulators.single import SingleVehicle
import msgspec
s = load("cold-trunk")
fleet = msgspec.structs.replace(s.fleet[0], shift="always")
v = SingleVehicle(msgspec.structs.replace(s, traces=None, fleet=(fleet,)), 1)
for _ in range(4000):
    v.step()
began = time.perf_counter()
for _ in range(4000):
    v.step()
print((time.perf_counter() - began) / 4000)
"""


def scaled(*, driving: bool) -> Scenario:
    """A thousand vehicles of the cold-chain network; ``driving``: none is ever parked for the night, every gateway on."""
    scenario = load("cold-trunk")
    each = VEHICLES // len(scenario.fleet)
    shift = {"shift": "always"} if driving else {}
    fleets = tuple(msgspec.structs.replace(fleet, count=each, **shift) for fleet in scenario.fleet)
    return msgspec.structs.replace(scenario, traces=None, fleet=fleets, always_on=driving)


def _best(world: World, seconds: int, threads: int) -> tuple[float, int]:
    best, rows = float("inf"), 0
    for _ in range(REPEATS):
        began = time.perf_counter()
        n = sum(chunk.n for chunk in world.chunks(seconds, chunk_s=60, threads=threads))
        took = time.perf_counter() - began
        if took < best:
            best, rows = took, n
    return best, rows


def run() -> list[Result]:
    """Readings a second on one and two cores, a day of 1,000 vehicles, one vehicle in plain Python."""
    began = time.perf_counter()
    world = build(scaled(driving=True), 1, warmup_s=3600)
    built = time.perf_counter() - began
    one_s, rows = _best(world, SECONDS, 1)
    two_s, rows_2 = _best(world, SECONDS, 2)
    plain = subprocess.run(
        [sys.executable, "-c", _PLAIN],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    per_reading = float(plain.stdout)
    day_s = 86_400 * VEHICLES / (rows_2 / two_s)
    return [
        Result(
            "simulators.readings",
            rows / one_s,
            "readings/s",
            "target >= 300,000 on one core, all under way, sensors on",
        ),
        Result(
            "simulators.readings_2_threads",
            rows_2 / two_s,
            "readings/s",
            f"{rows_2 / two_s / (rows / one_s):.2f} x one",
        ),
        Result(
            "simulators.day_of_1000", day_s / 60.0, "min", "1,000 vehicles at 1 Hz for a day on 2 cores; target minutes"
        ),
        Result("simulators.build_1000", built, "s", "plans, draws, first hour unseen"),
        Result(
            "simulators.plain_python",
            1e6 * per_reading,
            "us/reading",
            f"{per_reading * rows / one_s:.0f} x the compiled time",
        ),
    ]
