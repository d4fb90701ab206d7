"""The ledger and what rests on it: checking a million rows, results made anew, the lake as of an earlier commit, an export checked."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from storage import verify_export
from storage.compact import compact
from storage.export import export
from storage.query import connect
from storage.rebuild import rebuild
from storage.registry import Registry
from storage.verify import verify
from stream.columns import READING, SIGNALS
from stream.fleet import Route, Vehicle
from stream.pipeline import Columns, empty_columns, retake, start
from tests.bench.result import Result
from tests.real_lake import NEW, OLD, build
from tests.support import S_NS, T0_NS, fleet

TRUCKS = 400
SECONDS = 300  # of one commit
COMMITS = 20
BOOTS = np.random.default_rng(7).integers(1, 2**63 - 1, TRUCKS)  # as gateways draw them


def _trucks(k: int) -> Columns:
    """Commit ``k``: every truck at 1 Hz, 16 of the signals."""
    n = TRUCKS * SECONDS
    rng = np.random.default_rng(k)
    s = np.tile(np.arange(k * SECONDS, (k + 1) * SECONDS), TRUCKS)
    speed = (60 + 20 * np.sin(s / 50) + rng.normal(0, 0.2, n)).round(2)
    batch = empty_columns(READING, n)
    nobody = np.full(n, np.nan)
    signals: dict[str, Any] = {
        "lat_deg": 48 + s * 1e-4,
        "lon_deg": 11 + s * 1e-4,
        "alt_m": 500 + rng.normal(0, 1, n).round(1),
        "hdop": np.full(n, 0.9),
        "speed_kmh": speed,
        "gps_speed_kmh": speed + 0.1,
        "odometer_m": np.floor(s * 16 / 5) * 5,
        "engine_speed_rpm": (900 + 8 * speed).round(),
        "fuel_rate_lph": (24 + 5 * np.sin(s / 30)).round(2),
        "fuel_total_hr_l": np.floor(s * 7) / 1000,
        "fuel_total_l": np.floor(s * 0.014) / 2,
        "fuel_level_pct": 60 - s * 0.001,
        "gross_weight_kg": 30_000 + rng.normal(0, 50, n).round(-1),
        "ambient_temp_c": np.full(n, 10.0),
        "baro_kpa": np.full(n, 96.0),
    }
    batch |= {c.name: signals.get(c.name, nobody) for c in SIGNALS}
    batch["device"][:] = np.repeat(np.arange(TRUCKS), SECONDS)
    batch["seq"][:] = s
    batch["boot_id"][:] = BOOTS[batch["device"]]
    batch["merged"][:] = 1
    batch["time_ns"][:] = T0_NS + s * S_NS
    return batch


def _took(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _kernels_alone() -> float:
    """Readings per second of the kernels on one core, in parts as a rebuild takes them."""
    batch = _trucks(0)
    batch["received_ns"][:] = batch["time_ns"]
    state = start(fleet(*(Vehicle(f"t{i}", f"d-{i:06}", "artic_40t", "diesel_b7") for i in range(TRUCKS))))
    rows = 60_000
    part = {name: values[:rows] for name, values in batch.items()}
    return rows / min(_took(lambda: retake(state, part)) for _ in range(5))


def run() -> list[Result]:
    """Figures, in about two minutes."""
    vehicles = tuple(Vehicle(f"t{i}", f"d-{i:04}", "artic_40t", "diesel_b7", "north") for i in range(TRUCKS))
    registry = Registry(vehicles, (), (Route("north", "North"),))
    with tempfile.TemporaryDirectory() as name:
        return list(_figures(Path(name), registry))


def _figures(folder: Path, registry: Registry) -> Iterator[Result]:
    made = build(folder / "lake", [_trucks(k) for k in range(COMMITS)], registry=registry)
    made.clock.move(3600)
    lake = made.path
    readings = TRUCKS * SECONDS * COMMITS
    as_written = f"{readings} readings, {2 * readings} rows and more in 3 tables"
    yield Result(
        "verify, as written", _took(lambda: verify(lake)) * 1e6 / readings, "s per million readings", "target 60"
    )
    yield Result("compact", _took(lambda: list(compact(lake, now_ns=made.clock))), "s", as_written)
    yield Result(
        "verify, compacted", _took(lambda: verify(lake)) * 1e6 / readings, "s per million readings", "target 60"
    )
    yield Result("as of a commit", _took(lambda: connect(lake, as_of=COMMITS // 2)), "s", "a connection and its views")
    shutil.copytree(lake, folder / "warm")
    rebuild(folder / "warm", NEW)
    begun_s = time.process_time()
    done = rebuild(lake, NEW, now_ns=made.clock)
    cpu_ns = (time.process_time() - begun_s) * 1e9 / done.readings
    yield Result(
        "rebuild", done.readings / done.seconds / 1e6, "M readings/s", "target 3; read, kernels, written, synced"
    )
    yield Result("rebuild, CPU", cpu_ns, "ns a reading", "667 are 3 M readings/s on two free cores")
    yield Result("kernels alone", _kernels_alone() / 1e6, "M readings/s", "one core; the rebuild of the same run")
    again = rebuild(lake, OLD, compare=True, now_ns=made.clock)
    yield Result(
        "rebuild and compare", again.readings / again.seconds / 1e6, "M readings/s", "rows sorted and hashed too"
    )
    day = np.datetime64(T0_NS, "ns").astype("datetime64[D]").astype(object)
    out = folder / "export"
    yield Result("export", _took(lambda: export(lake, out, day, day.replace(day=day.day + 1))), "s", as_written)
    check = _took(lambda: verify_export.check(out, None, [], unsealed=True))
    yield Result("export checked", check * 1e6 / readings, "s per million readings", "target 60")
