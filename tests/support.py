"""Builders that tests share: a small fleet and batches of readings."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.columns import READING, SIGNALS
from stream.factors import FactorSet, VehicleClass, parse_classes, parse_factors
from stream.fleet import Fleet, Route, Vehicle, Warehouse, build_fleet
from stream.pipeline import Columns, empty_columns
from stream.places import Place
from stream.regions import Region

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
T0_NS = 1_767_225_600_000_000_000  # 2026-01-01
S_NS = 1_000_000_000
BOOT = 77


def factors(name: str = "fleetco2-2025.2") -> FactorSet:
    """A packaged factor set."""
    return parse_factors(name, (ROOT / "stream" / "factor_sets" / f"{name}.csv").read_text(encoding="utf-8"))


def classes() -> dict[str, VehicleClass]:
    """The packaged vehicle classes."""
    return parse_classes((ROOT / "stream" / "vehicle_classes.csv").read_text(encoding="utf-8"))


def fleet(
    *vehicles: Vehicle,
    warehouses: tuple[Warehouse, ...] = (),
    routes: tuple[Route, ...] = (),
    places: tuple[Place, ...] = (),
    regions: tuple[Region, ...] = (),
) -> Fleet:
    """A fleet; without arguments one 40 t artic on diesel B7, device ``d-t1``."""
    return build_fleet(
        vehicles or (Vehicle("t1", "d-t1", "artic_40t", "diesel_b7"),),
        warehouses,
        routes,
        factors(),
        classes(),
        places=places,
        regions=regions,
    )


def readings(
    time_s: npt.ArrayLike, device: int = 0, boot_id: int = BOOT, seq0: int = 0, **signals: npt.ArrayLike
) -> Columns:
    """One device's readings at ``time_s`` seconds after T0, numbered from ``seq0``; signals not given are NaN."""
    seconds = np.asarray(time_s, dtype=float)
    batch = empty_columns(READING, seconds.size)
    for signal in SIGNALS:
        batch[signal.name][:] = np.nan
    batch["device"][:] = device
    batch["boot_id"][:] = boot_id
    batch["seq"][:] = seq0 + np.arange(seconds.size)
    batch["merged"][:] = 1
    batch["time_ns"][:] = T0_NS + np.rint(seconds * 1e9).astype(np.int64)
    batch["received_ns"][:] = batch["time_ns"] + S_NS
    for name, values in signals.items():
        batch[name][:] = np.asarray(values, dtype=float)
    return batch


def join(*batches: Columns) -> Columns:
    """Batches one after another."""
    return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}


def rows(batch: Columns, which: Any) -> Columns:
    """Some rows of a batch, in the order of ``which``."""
    return {name: values[which] for name, values in batch.items()}


def sorted_bytes(columns: Columns, keys: tuple[str, ...]) -> bytes:
    """The rows as bytes, whatever order they came in."""
    order = np.lexsort([columns[k] for k in reversed(keys)])
    return b"".join(columns[name][order].tobytes() for name in sorted(columns))


def stop_and_go_ms() -> npt.NDArray[np.float64]:
    """Speeds [m/s] of a trip, one a second: eight times up to 18 m/s at 0.35 m/s2, a minute of cruise, braking, 20 s at a light; then
    a stop of four minutes.
    """
    up = np.minimum(0.35 * np.arange(1, 53), 18.0)
    once = np.concatenate([up, np.full(60, 18.0), np.linspace(17.0, 0.0, 18), np.zeros(20)])
    return np.concatenate([np.tile(once, 8), np.zeros(240)])
