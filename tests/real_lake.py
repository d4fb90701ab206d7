"""Lakes whose results the kernels have made: readings of a few trucks, committed in any split, hours on a clock that tests move."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from storage.factor_files import class_table, factor_set
from storage.lake import Commit, Lake
from storage.registry import Registry, write_dimensions
from storage.schema import empty, names_of, to_arrow
from stream.fleet import Route, Vehicle, build_fleet
from stream.pipeline import Columns, start, step
from stream.places import Place
from stream.regions import Region
from tests.lake_data import SECOND, Clock
from tests.support import T0_NS, join, readings, rows

VEHICLES = (
    Vehicle("t1", "d-t1", "artic_40t", "diesel_b7", "north"),
    Vehicle("t2", "d-t2", "rigid_12t", "diesel_avg", "north"),
    Vehicle("t3", "d-t3", "artic_40t", "diesel_b7"),
)
REGION = Region("r1", "One", "POLYGON ((10 47, 12 47, 12 50, 10 50, 10 47))")
PLACE = Place("yard", "Yard", "depot", 48.05, 11.0)
REGISTRY = Registry(VEHICLES, (), (Route("north", "North"),), places=(PLACE,), regions=(REGION,))
OLD, NEW = "fleetco2-2025.1", "fleetco2-2026.1"


def drive(seconds: int, *, start_s: int = 0, boot_id: int = 77, seed: int = 1, devices: int = 3) -> Columns:
    """A reading a second of each truck: speed and fuel of a made-up drive, the second truck without a fuel counter."""
    rng = np.random.default_rng(seed)
    s = np.arange(start_s, start_s + seconds, dtype=float)
    parts = []
    for device in range(devices):
        speed = 60 + 20 * np.sin(s / 50 + device) + rng.normal(0, 0.1, seconds).round(2)
        signals: dict[str, Any] = {
            "speed_kmh": speed,
            "odometer_m": np.floor(s * 16),
            "engine_speed_rpm": np.full(seconds, 1200.0),
            "lat_deg": 48 + s * 1e-4,
            "lon_deg": np.full(seconds, 11.0),
        }
        if device != 1:
            signals["fuel_total_hr_l"] = np.floor(s * 7) / 1000
        parts.append(readings(s, device, boot_id + device, 0, **signals))
    return join(*parts)


@dataclass
class Made:
    """A lake and the clock of its server."""

    path: Path
    clock: Clock


def build(
    path: Path,
    batches: Sequence[Columns],
    *,
    factors: str = OLD,
    apart_s: float = 300,
    registry: Registry = REGISTRY,
    clock: Clock | None = None,
) -> Made:
    """Commit ``batches`` one after another, ``apart_s`` seconds of the server's clock between them, as the consumer would."""
    made = Made(path, clock or Clock(T0_NS))
    fleet = build_fleet(
        registry.vehicles,
        registry.warehouses,
        registry.routes,
        factor_set(factors),
        class_table(),
        registry.places,
        registry.regions,
        market=registry.market,
    )
    names = names_of(fleet)
    with Lake.open(path, create=True, now_ns=made.clock) as lake:
        _, stored = lake.recover()
        write_dimensions(lake, registry)
        state = start(fleet, stored)
        apart_ns = int(apart_s * SECOND)
        for batch in batches:
            made.clock.now_ns = (made.clock.now_ns // apart_ns + 1) * apart_ns
            batch = {**batch, "received_ns": np.full(batch["seq"].size, made.clock.now_ns)}
            state, results = step(state, batch)
            tables = {
                t: to_arrow(t, getattr(results, t), names)
                for t in ("readings", "emissions", "rollups", "trips", "events")
            }
            lake.commit(Commit(**tables, quarantine=empty("quarantine"), factor_set=factors, state=state.to_bytes()))
    return made


def split(batch: Columns, n: int) -> list[Columns]:
    """``n`` batches by time, as gateways send them."""
    cuts = np.linspace(batch["time_ns"].min(), batch["time_ns"].max(), n + 1)
    cuts[-1] = np.inf
    return [rows(batch, (batch["time_ns"] >= a) & (batch["time_ns"] < b)) for a, b in pairwise(cuts)]
