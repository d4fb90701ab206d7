"""The step: readings/s on one core, by fleet size, beside its arithmetic in numpy and the same step in plain Python."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from simulators.accuracy import fleet_of
from simulators.fleet import build
from stream.columns import READING, SIGNALS
from stream.fleet import Vehicle
from stream.pipeline import Columns, empty_columns, start, step
from tests.bench.result import Result
from tests.support import BOOT, S_NS, T0_NS, fleet

VEHICLES, EACH = 1_000, 60  # a minute of a thousand vehicles: one batch of 60 readings from each
UNDER_WAY = range(7, 12)  # five minutes in the middle of trips: within them each vehicle's load is judged once
CHUNK_S = 1800
REPEATS = 15


def _batch(vehicles: int, each: int, k: int) -> Columns:
    """``each`` readings of every vehicle, 1 Hz, batch number ``k``; signals nobody sends share one array, as the decoder does."""
    n = vehicles * each
    batch = empty_columns(READING, n)
    nothing = np.full(n, np.nan)
    s = np.tile(np.arange(k * each, (k + 1) * each), vehicles)
    for signal in SIGNALS:
        batch[signal.name] = nothing
    batch["device"][:] = np.repeat(np.arange(vehicles), each)
    batch["seq"][:] = s
    batch["boot_id"][:] = BOOT
    batch["merged"][:] = 1
    batch["time_ns"][:] = T0_NS + s * S_NS
    batch["received_ns"][:] = batch["time_ns"]
    v = 60 + 20 * np.sin(s / 50)
    batch["speed_kmh"] = v
    batch["gps_speed_kmh"] = v + 0.1
    batch["odometer_m"] = np.floor(s * 60 / 3.6 / 5) * 5
    batch["engine_speed_rpm"] = np.full(n, 1200.0)
    batch["fuel_rate_lph"] = 24 + 5 * np.sin(s / 30)
    batch["fuel_total_hr_l"] = np.floor(s * 24 / 3.6) / 1000
    batch["fuel_total_l"] = np.floor(s * 24 / 3600 * 2) / 2
    batch["gross_weight_kg"] = np.full(n, 30_000.0)
    batch["ambient_temp_c"] = np.full(n, 10.0)
    return batch


def _best(call: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def _step_rate(vehicles: int, each: int, batches: range = range(1, 2)) -> float:
    """Readings/s over ``batches``, each ``each`` readings of every vehicle, from the state that those before them have left."""
    state = start(fleet(*(Vehicle(f"t{i}", f"d-{i:06}", "artic_40t", "diesel_b7") for i in range(vehicles))))
    taken_s = 0.0
    for k in range(batches.stop):
        batch = _batch(vehicles, each, k)
        if k in batches:
            taken_s += _best(partial(step, state, batch))
        state = step(state, batch)[0].settled()
    return vehicles * each * len(batches) / taken_s


def _as_decoded(readings: Columns) -> Columns:
    """``readings`` with one array for all signals that nobody sends, as the decoder makes them."""
    nothing = np.full(readings["seq"].size, np.nan)
    unsent = {s.name for s in SIGNALS if np.isnan(readings[s.name]).all()}
    return {name: nothing if name in unsent else column for name, column in readings.items()}


def _simulated_rate() -> float:
    """Readings/s of the demo's simulated fleet with all its signals: trucks, battery vans, warehouses, their stops and trips."""
    world = build("demo", 5)
    state = start(fleet_of(world, "fleetco2-2025.2"))
    rows, taken_s = 0, 0.0
    for k, chunk in enumerate(world.chunks(5 * CHUNK_S, chunk_s=CHUNK_S)):
        batch = _as_decoded(chunk.readings)
        if k > 0:
            taken_s += _best(partial(step, state, batch))
            rows += batch["seq"].size
        state = step(state, batch)[0].settled()
    return rows / taken_s


def _numpy_road_load(b: Columns) -> float:
    """The road load, Willans line and two products per row, vectorised; no ladder, no state, no rollup."""
    v1 = b["speed_kmh"] / 3.6
    v0 = np.concatenate((v1[:1], v1[:-1]))
    v = 0.5 * (v0 + v1)
    rho = 101325.0 * np.power(1.0 - 2.25577e-5 * 0.0, 5.25588) / (287.05 * (b["ambient_temp_c"] + 273.15))
    m = b["gross_weight_kg"]
    tyre = 0.0055 * (1 - 0.006 * (b["ambient_temp_c"] - 25))
    wheel = (0.5 * rho * 5.2 * v * v + m * 9.81 * tyre) * v + 0.5 * m * 1.04 * (v1 * v1 - v0 * v0)
    kw = np.minimum(np.maximum(wheel, 0) / 1000 / 0.93 + 4, 330)
    fuel = np.where((wheel < 0) & (v * 3.6 > 15), 0.0, np.maximum(9 * 330 + 190 * kw, 2170.0)) / 3600 / 832
    nl = np.rint(fuel * 1e9)
    return float(np.rint(nl * 2.487).sum() + np.rint(nl * 0.608).sum())


_INTERPRETED = """
import time
from tests.bench.bench_step import _batch
from tests.support import fleet
from stream.pipeline import start, step
state, _ = step(start(fleet()), _batch(1, 60, 0))
batch = _batch(1, 600, 1)
batch["seq"] += 60 - 600
begin = time.perf_counter()
_, results = step(state, batch)
assert results.accepted == 600
print(600 / (time.perf_counter() - begin))
"""


def _interpreted_rate() -> float:
    """Readings/s of the whole step with the kernels as plain Python: the same work, row by row."""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", _INTERPRETED], env=environment, capture_output=True, text=True, check=True
    )
    return float(ran.stdout)


_COMPILE = """
import time, numpy as np
begin = time.perf_counter()
from tests.bench.bench_step import _batch
from tests.support import fleet
from stream.pipeline import start, step
step(start(fleet()), _batch(1, 2, 0))
print(time.perf_counter() - begin)
"""


def _first_call(cache: str) -> float:
    """Seconds of import and first step in a new process."""
    ran = subprocess.run(
        [sys.executable, "-c", _COMPILE],
        env={**os.environ, "NUMBA_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(ran.stdout)


def run() -> list[Result]:
    """Figures of the step."""
    batch = _batch(VEHICLES, EACH, 1)
    ours = _step_rate(VEHICLES, EACH, UNDER_WAY)
    in_numpy = VEHICLES * EACH / _best(lambda: _numpy_road_load(batch))
    in_python = _interpreted_rate()
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = _first_call(cache), _first_call(cache)
    return [
        Result(
            "step_readings_per_s",
            ours,
            "1/s",
            "goal 10 M/s; 1,000 vehicles under way x 60 readings, whole step, one core, mean of 5 batches",
        ),
        Result(
            "step_simulated_fleet", _simulated_rate(), "1/s", "43 simulated devices, 26 signals, half an hour at once"
        ),
        Result(
            "step_loads_told",
            _step_rate(VEHICLES, EACH),
            "1/s",
            "the same in the minute in which every load is first told",
        ),
        Result("step_33_vehicles", _step_rate(33, 1800), "1/s", "33 vehicles x 1,800 readings: half an hour at once"),
        Result(
            "step_vs_numpy", ours / in_numpy, "ratio", "whole step / road load and factors alone in numpy, same rows"
        ),
        Result("step_vs_python", ours / in_python, "ratio", "whole step compiled / the same step in plain Python"),
        Result("step_1_vehicle", _step_rate(1, 6000), "1/s", "1 state, 6,000 rows"),
        Result("step_10k_vehicles", _step_rate(10_000, 24), "1/s", "10,000 states, 24 rows each"),
        Result("step_100k_vehicles", _step_rate(100_000, 10), "1/s", "100,000 states, 10 rows each"),
        Result("step_1M_vehicles", _step_rate(1_000_000, 1), "1/s", "1,000,000 states, 1 row each"),
        Result("first_call_cold_s", cold, "s", "import and first step, compiling"),
        Result("first_call_warm_s", warm, "s", "the same from numba's cache on disk"),
    ]
