"""The lake: what a commit costs, what Parquet settings cost, what a look at the newest figures costs."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage.compact import compact
from storage.lake import Commit, Lake
from storage.parquet import encode
from storage.query import connect, refresh
from storage.registry import load_registry
from storage.schema import Columns, Names, arrow_schema, empty, to_arrow
from stream.columns import EMISSION, ROLLUP, SIGNALS, UNKNOWN
from tests.bench.result import Result

PER_MESSAGE = 60  # readings of one device that lie together, as they arrive
T0 = 1_795_305_600_000_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
STATE = bytes(100_000)


def _steps(values: Any, step: float) -> Any:
    """Values in the sensor's own steps."""
    return np.round(np.asarray(values) / step) * step


def _trucks(n: int, devices: int, start_ns: int = T0) -> tuple[dict[str, Columns], Names]:
    """``n`` readings with 16 of the signals, as trucks in traffic give them, and results of the same size; seeded."""
    rng = np.random.default_rng(7)
    messages = -(-n // PER_MESSAGE)
    device = (np.repeat(np.arange(messages) % devices, PER_MESSAGE)[:n]).astype(np.int32)
    tick = np.tile(np.arange(PER_MESSAGE), messages)[:n]
    names = tuple(f"gw-truck-{i:05d}" for i in range(devices))
    boot = rng.integers(1, 2**63 - 1, devices)
    speed = np.abs((np.cumsum(rng.normal(0, 0.6, n)) % 180) - 90)
    torque = np.clip(30 + rng.normal(0, 15, n), 0, 100)
    rate = np.clip(5 + 0.3 * speed + rng.normal(0, 3, n), 0, 60)
    signals = {
        "lat_deg": _steps(48 + device * 0.01 + tick * 1e-4 + rng.normal(0, 1e-5, n), 1e-7),
        "lon_deg": _steps(11 + device * 0.01 + tick * 1.3e-4 + rng.normal(0, 1e-5, n), 1e-7),
        "alt_m": _steps(500 + rng.normal(0, 2, n), 0.1),
        "gps_speed_kmh": _steps(speed + rng.normal(0, 0.2, n), 0.01),
        "hdop": _steps(rng.uniform(0.7, 1.2, n), 0.1),
        "speed_kmh": _steps(speed, 1 / 256),
        "odometer_m": _steps(1e8 + device * 1e5 + np.cumsum(speed / 3.6) % 1e5, 5),
        "engine_speed_rpm": _steps(900 + speed * 8 + rng.normal(0, 10, n), 0.125),
        "engine_torque_pct": _steps(torque, 1),
        "engine_load_pct": _steps(torque + rng.normal(0, 3, n), 1),
        "fuel_rate_lph": _steps(rate, 0.05),
        "fuel_total_hr_l": _steps(1e5 + device * 100 + np.cumsum(rate / 3600) % 100, 0.001),
        "fuel_level_pct": _steps(60 - tick * 0.001, 0.4),
        "gross_weight_kg": _steps(30_000 + rng.normal(0, 100, n), 10),
        "ambient_temp_c": _steps(15 + rng.normal(0, 0.02, n), 1 / 32),
        "baro_kpa": _steps(96 + rng.normal(0, 0.05, n), 0.5),
    }
    nobody = np.full(n, np.nan)
    unknown = np.full(n, UNKNOWN)
    key: Columns = {
        "device": device,
        "boot_id": boot[device],
        "seq": (1000 + device * 7 + tick).astype(np.int64),
        "time_ns": start_ns + tick * SECOND + (device % 1000) * 1_000_000,
    }
    readings: Columns = {
        **key,
        "merged": np.ones(n, np.int32),
        "received_ns": np.repeat(start_ns + 61 * SECOND + np.arange(messages), PER_MESSAGE)[:n],
        "clock_source": np.full(n, 3, np.int32),
        "clock_error_ms": np.full(n, 5, np.int32),
        "historical": np.zeros(n, np.bool_),
        **{s.name: signals.get(s.name, nobody) for s in SIGNALS},
    }
    fuel = (rate / 3600 * 1e9).astype(np.int64)
    emissions: Columns = {
        **key,
        "asset": device,
        "route": (device % 8).astype(np.int32),
        "load_state": (device % 5).astype(np.int32),
        "dt_us": np.full(n, 1_000_000),
        "distance_mm": (speed / 3.6 * 1000).astype(np.int64),
        "distance_method": np.full(n, 2, np.int32),
        "fuel_nl": fuel,
        "energy_method": np.ones(n, np.int32),
        "co2_ttw_ug": (fuel * 2.55).astype(np.int64),
        "co2e_ttw_ug": (fuel * 2.583).astype(np.int64),
        "co2e_wtt_ug": (fuel * 0.611).astype(np.int64),
        "co2_biogenic_ug": (fuel * 0.14).astype(np.int64),
        "co2e_u_rel": np.full(n, 0.05),
        "kernel_version": np.ones(n, np.int32),
    }
    for c in EMISSION:  # those a diesel truck has nothing for
        emissions.setdefault(
            c.name, unknown if c.nullable else np.zeros(n, np.int64 if c.dtype == "int64" else np.int32)
        )
    return {"readings": readings, "emissions": emissions, "rollups": _rollups(messages, devices, start_ns, rng)}, Names(
        device=names, asset=names, route=tuple(f"route-{i}" for i in range(8))
    )


def _rollups(n: int, devices: int, start_ns: int, rng: np.random.Generator) -> Columns:
    out: dict[str, Any] = {}
    for c in ROLLUP:
        if c.name == "asset":
            out[c.name] = (np.arange(n) % devices).astype(np.int32)
        elif c.name == "route":
            out[c.name] = (np.arange(n) % devices % 8).astype(np.int32)
        elif c.dtype in ("code", "int32"):
            out[c.name] = np.zeros(n, np.int32)
        elif c.name.endswith("_ns"):
            out[c.name] = np.full(n, start_ns // MINUTE * MINUTE)
        else:
            out[c.name] = rng.integers(0, 10**9, n)
    return out


def _commit(batch: dict[str, Columns], names: Names) -> Commit:
    tables = {name: to_arrow(name, columns, names) for name, columns in batch.items()}
    return Commit(**tables, quarantine=empty("quarantine"), factor_set="fleetco2-2026.1", state=STATE)


def _ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def _commits(folder: Path, n: int, repeats: int) -> list[Result]:
    """Latency of a commit and CPU of everything it does, checkpoints and background included."""
    batch, names = _trucks(n, max(30, n // 100))
    with Lake.open(folder / f"lake{n}", create=True) as lake:
        lake.commit(_commit(batch, names))
        before = os.times()
        took = [_ms(lambda: lake.commit(_commit(batch, names))) for _ in range(repeats)]
        lake._ready()
        after = os.times()
    cpu_s = after.user + after.system - before.user - before.system
    size = sum(p.stat().st_size for p in (folder / f"lake{n}").glob("*/day=*/**/*.parquet")) / (repeats + 1)
    took.sort()
    return [
        Result(
            f"lake commit p50, {n} readings",
            statistics.median(took),
            "ms",
            "3 tables, state, fsync; one thread commits",
        ),
        Result(f"lake commit p99, {n} readings", took[int(0.99 * len(took))], "ms", f"{repeats} commits"),
        Result(f"lake commit CPU, {n} readings", cpu_s / repeats / n * 1e9, "ns/reading", "target 400 at full commits"),
        Result(f"lake bytes, {n} readings", size / n, "B/reading", "3 tables"),
    ]


def _settings(n: int) -> list[Result]:
    """CPU of encoding ``readings`` and ``emissions`` with the chosen settings and with others."""
    batch, names = _trucks(n, n // 200)
    tables = {name: to_arrow(name, batch[name], names) for name in ("readings", "emissions")}
    text = {t: [f.name for f in arrow_schema(t) if pa.types.is_string(f.type)] for t in tables}

    def other(**settings: Any) -> Callable[[str], int]:
        def write(table: str) -> int:
            sink = pa.BufferOutputStream()
            pq.write_table(tables[table], sink, store_schema=False, **settings)
            return int(sink.getvalue().size)

        return write

    forms: dict[str, Callable[[str], int]] = {
        "chosen": lambda t: encode(t, tables[t]).size,
        "library default": other(),
        "zstd 1, dictionaries everywhere": other(compression="zstd", compression_level=1),
        "zstd 1, plain": other(
            compression="zstd", compression_level=1, use_dictionary=text["readings"] + text["emissions"]
        ),
        "lz4, plain": other(compression="lz4", use_dictionary=text["readings"] + text["emissions"]),
    }
    results = []
    for form, write in forms.items():
        ns = size = 0.0
        for table in tables:
            best = min(_cpu(partial(write, table)) for _ in range(5))
            ns += best / n * 1e9
            size += write(table) / n
        results += [
            Result(f"parquet CPU, {form}", ns, "ns/reading", "readings and emissions; the other settings of this run"),
            Result(f"parquet size, {form}", size, "B/reading", "the other settings of this run"),
        ]
    return results


def _cpu(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def _looks(folder: Path) -> list[Result]:
    """A look at the newest figures over 300 commits of 200 vehicles, before and after compaction."""
    with Lake.open(folder / "looks", create=True) as lake:
        for i in range(300):
            batch, names = _trucks(1200, 200, T0 + i * 6 * SECOND)
            lake.commit(_commit(batch, names))
        con = connect(folder / "looks")
        con.execute(f"SET VARIABLE now_ns = {T0 + 1800 * SECOND}")
        results = []

        def ask(state: str) -> None:
            took = sorted(_ms(lambda: con.execute("SELECT * FROM route_now").fetchall()) for _ in range(15))
            results.append(Result(f"route_now p50, {state}", took[7], "ms", "the other state of the files, same run"))

        ask("300 commits as written")
        results.append(
            Result("compaction of 300 commits", _ms(lambda: list(compact(folder / "looks"))), "ms", "3 tables")
        )
        results.append(Result("refresh, new version", _ms(lambda: refresh(con)), "ms", "nothing new"))
        results.append(
            Result("refresh, nothing new", statistics.median(_ms(lambda: refresh(con)) for _ in range(50)), "ms", "")
        )
        ask("compacted")
    return results


def _registry(folder: Path) -> Result:
    header = "vehicle,device,vehicle_class,fuel,route,tare_kg,gvw_kg\n"
    rows = "".join(f"t{i},gw-{i},artic_40t,diesel_b7,r1,14500,40000\n" for i in range(100_000))
    folder.mkdir()
    (folder / "vehicles.csv").write_text(header + rows)
    (folder / "warehouses.csv").write_text("warehouse,device,name,lat_deg,lon_deg,grid_zone\n")
    (folder / "routes.csv").write_text("route,name\nr1,One\n")
    return Result("registry of 100,000 vehicles", _ms(lambda: load_registry(folder)) / 1e3, "s", "target 3")


def run() -> list[Result]:
    """All figures, in about a minute."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [
            *_commits(folder, 2_000, 120),
            *_commits(folder, 20_000, 120),
            *_commits(folder, 400_000, 12),
            *_settings(200_000),
            *_looks(folder),
            _registry(folder / "registry"),
        ]
