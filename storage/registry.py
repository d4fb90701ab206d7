"""The registry: a folder with ``vehicles.csv``, ``warehouses.csv`` and ``routes.csv``, checked when it is read.
``baselines.csv``, ``benchmarks.csv`` (``storage.references``) and ``market_factors.csv`` (``stream.market``) may be there too.

``places.csv`` and ``regions.csv`` may be left out, too.

Columns are the fields of ``stream.fleet``; a blank cell is a field left at its default. Written into the lake as dimension
tables, each a new Delta version when, and only when, its content has changed.
"""

import csv
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from storage.delta import DELTA_FAULTS, DeltaLog, add_action
from storage.disk import fault
from storage.factor_files import factor_set, factor_set_ids
from storage.lake import Lake
from storage.landing import write_file
from storage.ledger import FileEntry
from storage.parquet import sha256
from storage.references import Baseline, Benchmark, baseline_fault, benchmark_fault
from storage.schema import DIMENSIONS
from stream.fleet import STAGES, Route, Vehicle, Warehouse
from stream.market import MarketFactor, market_fault
from stream.places import PLACE_KINDS, Place
from stream.polygon import PolygonError, parse_wkt
from stream.regions import Region

T = TypeVar("T", Vehicle, Warehouse, Route, Place, Region, Baseline, Benchmark, MarketFactor)
_DEVICE: Final = re.compile(r"[a-z0-9-]{3,40}")
_KEY: Final = re.compile(r"[0-9a-f]{64}")
_AT: Final = re.compile(r"`\$\[(\d+)\](?:\.(\w+))?`")
_MISSING: Final = re.compile(r"required field `(\w+)`")


class RegistryError(ValueError):
    """A registry that cannot be used. The text names file, line, column and what to do."""


@dataclass(frozen=True, slots=True)
class Registry:
    """What the files hold, in their order."""

    vehicles: tuple[Vehicle, ...]
    warehouses: tuple[Warehouse, ...]
    routes: tuple[Route, ...]
    baselines: tuple[Baseline, ...] = ()
    benchmarks: tuple[Benchmark, ...] = ()
    market: tuple[MarketFactor, ...] = ()
    places: tuple[Place, ...] = ()
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True, slots=True)
class _File:
    """Rows of one CSV file, blank cells left out, and the line of each."""

    path: Path
    rows: list[dict[str, str]]
    lines: list[int]

    def error(self, row: int, column: str, what: str) -> RegistryError:
        return RegistryError(f"{self.path}, line {self.lines[row]}, column {column}: {what}")


def _read(path: Path, kind: type[Any]) -> _File:
    known = {f.name: f.default is MISSING for f in fields(kind)}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header, known)
            rows, lines = [], []
            for cells in reader:
                if not any(cells):
                    continue
                if len(cells) != len(header):
                    raise RegistryError(
                        f"{path}, line {reader.line_num}: {len(cells)} cells, the header has {len(header)};"
                        " put text that holds a comma in quotes"
                    )
                rows.append({k: v for k, cell in zip(header, cells, strict=True) if (v := cell.strip())})
                lines.append(reader.line_num)
    except FileNotFoundError:
        raise RegistryError(f"{path} is missing; for an empty list write its header line: {','.join(known)}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise RegistryError(f"{path} cannot be read as CSV in UTF-8: {e}") from e
    return _File(path, rows, lines)


def _check_header(path: Path, header: Sequence[str], known: Mapping[str, bool]) -> None:
    for name in header:
        if name not in known:
            hint = "; separate columns with commas" if ";" in name else ""
            raise RegistryError(f"{path}, line 1, column {name!r}: not known; columns are {', '.join(known)}{hint}")
        if header.count(name) > 1:
            raise RegistryError(f"{path}, line 1, column {name}: stands twice; keep one")
    for name, required in known.items():
        if required and name not in header:
            raise RegistryError(f"{path}, line 1, column {name}: is missing; add it")


def _convert(file: _File, kind: type[T]) -> list[T]:
    try:
        return msgspec.convert(file.rows, list[kind], strict=False)  # type: ignore[valid-type]
    except msgspec.ValidationError as e:
        text = str(e)
        at, missing = _AT.search(text), _MISSING.search(text)
        row = int(at[1]) if at else 0
        if missing:
            raise file.error(row, missing[1], "is blank; fill it in") from None
        column = at[2] if at and at[2] else "?"
        wanted = "a whole number" if "int" in text else "a number"
        mend = f"{file.rows[row].get(column)!r} is not {wanted}; write digits with a point, or leave it blank"
        raise file.error(row, column, mend) from None


def _unique(file: _File, items: Iterable[Any], column: str, taken: dict[str, str]) -> None:
    """Check that ``column`` holds each value once, in this file and in those before it (``taken``: value -> place)."""
    for i, item in enumerate(items):
        value = getattr(item, column)
        if value in taken:
            raise file.error(i, column, f"{value!r} stands at {taken[value]} already; names must differ")
        taken[value] = f"{file.path.name}, line {file.lines[i]}"


def _check_numbers(file: _File, items: Sequence[Any], columns: Mapping[str, tuple[float, float]]) -> None:
    for column, (low, high) in columns.items():
        for i, item in enumerate(items):
            value = getattr(item, column)
            if value is not None and not low <= value <= high:  # NaN fails too
                raise file.error(i, column, f"{value} is outside {low:g} to {high:g}; check the unit")


_VEHICLE_RANGES: Final = {
    "tare_kg": (300.0, 100_000.0),
    "gvw_kg": (500.0, 200_000.0),
    "cda_m2": (0.1, 30.0),
    "crr": (0.001, 0.1),
    "p_rated_kw": (1.0, 2_000.0),
    "tank_l": (1.0, 10_000.0),
    "capacity_kg": (10.0, 150_000.0),
    "pallet_positions": (1, 1_000),
    "ref_torque_nm": (50.0, 10_000.0),
    "battery_kwh": (1.0, 5_000.0),
    "speed_limit_kmh": (10.0, 200.0),
    "harsh_acceleration_ms2": (0.1, 9.0),
    "harsh_braking_ms2": (0.1, 9.0),
}
_PLACE_RANGES: Final = {"lat_deg": (-90.0, 90.0), "lon_deg": (-180.0, 180.0), "radius_m": (5.0, 200_000.0)}
_WAREHOUSE_RANGES: Final = {
    "lat_deg": (-90.0, 90.0),
    "lon_deg": (-180.0, 180.0),
    "area_m2": (1.0, 10_000_000.0),
    "pallet_positions": (0, 10_000_000),
    "radius_m": (5.0, 200_000.0),
    "heat_factor_kg_per_kwh": (0.0, 1.0),
}


def _check_devices(file: _File, items: Sequence[Any]) -> None:
    for i, item in enumerate(items):
        if not _DEVICE.fullmatch(item.device):
            raise file.error(i, "device", f"{item.device!r} is no device name; use 3 to 40 of a-z, 0-9 and -")


def _check_tenants(file: _File, items: Sequence[Any]) -> None:
    for i, item in enumerate(items):
        if item.tenant is not None and not _DEVICE.fullmatch(item.tenant):
            raise file.error(i, "tenant", f"{item.tenant!r} is no tenant's name; use 3 to 40 of a-z, 0-9 and -")


def _check_keys(file: _File, items: Sequence[Any]) -> None:
    for i, item in enumerate(items):
        if item.public_key is not None and not _KEY.fullmatch(item.public_key):
            mend = f"{item.public_key!r} is no Ed25519 key; write the 64 hex digits of batch.pub"
            raise file.error(i, "public_key", mend)


def load_registry(folder: Path) -> Registry:
    """Read and check the registry in ``folder``. Raises RegistryError for the first thing that is wrong."""
    files = {
        name: _read(folder / f"{name}.csv", kind)
        for name, kind in _KINDS.items()
        if name not in _OPTIONAL or (folder / f"{name}.csv").exists()
    }
    vehicles = _convert(files["vehicles"], Vehicle)
    warehouses = _convert(files["warehouses"], Warehouse)
    routes = _convert(files["routes"], Route)
    for name, owned in (("vehicles", vehicles), ("warehouses", warehouses), ("routes", routes)):
        _check_tenants(files[name], owned)
    known_routes: dict[str, str] = {}
    _unique(files["routes"], routes, "route", known_routes)
    assets: dict[str, str] = {}
    devices: dict[str, str] = {}
    for name, items, key in (("vehicles", vehicles, "vehicle"), ("warehouses", warehouses, "warehouse")):
        _check_devices(files[name], items)
        _check_keys(files[name], items)
        _unique(files[name], items, key, assets)
        _unique(files[name], items, "device", devices)
    _check_numbers(files["vehicles"], vehicles, _VEHICLE_RANGES)
    _check_numbers(files["warehouses"], warehouses, _WAREHOUSE_RANGES)
    for i, v in enumerate(vehicles):
        if v.route is not None and v.route not in known_routes:
            raise files["vehicles"].error(
                i, "route", f"{v.route!r} is not in routes.csv; add it there or leave it blank"
            )
        if v.tare_kg is not None and v.gvw_kg is not None and not v.tare_kg < v.gvw_kg:
            mend = f"{v.tare_kg:g} is not below gvw_kg {v.gvw_kg:g}; check both"
            raise files["vehicles"].error(i, "tare_kg", mend)
    for i, r in enumerate(routes):
        if r.stage not in STAGES:
            raise files["routes"].error(i, "stage", f"{r.stage!r} is not known; use one of {', '.join(STAGES)}")
    places = _places(files["places"], {w.warehouse for w in warehouses}) if "places" in files else []
    regions = _regions(files["regions"]) if "regions" in files else []
    baselines = _references(folder, "baselines", Baseline, baseline_fault)
    benchmarks = _references(folder, "benchmarks", Benchmark, benchmark_fault)
    market = _references(folder, "market_factors", MarketFactor, market_fault)
    return Registry(
        tuple(vehicles),
        tuple(warehouses),
        tuple(routes),
        tuple(baselines),
        tuple(benchmarks),
        tuple(market),
        tuple(places),
        tuple(regions),
    )


def _references(folder: Path, name: str, kind: type[T], fault: Callable[[T], tuple[str, str] | None]) -> list[T]:
    """Rows of an optional file; none where it is absent."""
    if not (folder / f"{name}.csv").exists():
        return []
    file = _read(folder / f"{name}.csv", kind)
    items = _convert(file, kind)
    for i, item in enumerate(items):
        if (found := fault(item)) is not None:
            raise file.error(i, *found)
    return items


def _places(file: _File, warehouses: set[str]) -> list[Place]:
    places = _convert(file, Place)
    _check_tenants(file, places)
    _unique(file, places, "place", {})
    _check_numbers(file, places, _PLACE_RANGES)
    for i, p in enumerate(places):
        if p.place in warehouses:
            raise file.error(i, "place", f"{p.place!r} is a warehouse, which is a place by itself; leave it out here")
        if p.kind not in PLACE_KINDS:
            raise file.error(i, "kind", f"{p.kind!r} is not known; use one of {', '.join(PLACE_KINDS)}")
        if p.polygon is not None:
            _check_polygon(file, i, p.polygon)
    return places


def _regions(file: _File) -> list[Region]:
    regions = _convert(file, Region)
    _unique(file, regions, "region", {})
    for i, r in enumerate(regions):
        _check_polygon(file, i, r.polygon)
    return regions


def _check_polygon(file: _File, row: int, text: str) -> None:
    try:
        parse_wkt(text)
    except PolygonError as e:
        raise file.error(row, "polygon", f"{e}; write WKT, longitude before latitude, in quotes") from None


_KINDS: Final = {"vehicles": Vehicle, "warehouses": Warehouse, "routes": Route, "places": Place, "regions": Region}
_OPTIONAL: Final = ("places", "regions")


def _factor_rows() -> list[dict[str, Any]]:
    rows = []
    for name in factor_set_ids():
        for factor in factor_set(name).rows.values():
            cells = {k: None if v != v else v for k, v in asdict(factor).items()}  # NaN: not published
            rows.append({"factor_set": name, **cells})
    return rows


def dimension_tables(registry: Registry) -> dict[str, pa.Table]:
    """The registry and the packaged factors as Arrow tables by name."""
    rows = {
        "vehicles": [asdict(v) for v in registry.vehicles],
        "warehouses": [asdict(w) for w in registry.warehouses],
        "routes": [asdict(r) for r in registry.routes],
        "places": [asdict(p) for p in registry.places],
        "regions": [asdict(r) for r in registry.regions],
        "baselines": [asdict(b) for b in registry.baselines],
        "benchmarks": [asdict(b) for b in registry.benchmarks],
        "market_factors": [asdict(m) for m in registry.market],
        "factors": _factor_rows(),
    }
    return {name: pa.Table.from_pylist(rows[name], schema=schema) for name, schema in DIMENSIONS.items()}


def write_dimensions(lake: Lake, registry: Registry) -> list[str]:
    """Bring the dimension tables of ``lake`` up to ``registry``. Returns the names of those that changed. Raises StorageError."""
    return [name for name, data in dimension_tables(registry).items() if _write_dimension(lake, name, data)]


def _write_dimension(lake: Lake, name: str, data: pa.Table) -> bool:
    """Overwrite one table, synced, unless its one file has this content: the hash stands in the file's name."""
    path = lake.path / name
    table = DeltaLog(path, data.schema, (), lake.disk)
    sink = pa.BufferOutputStream()
    pq.write_table(data, sink, compression="zstd")
    content = sink.getvalue()
    digest = sha256(content)
    try:
        table.open()
        here = [Path(uri).name for uri in table.handle.file_uris()]
        if [name.partition("-")[0] for name in here] == [digest]:
            lake.dimensions[name] = here[0]
            return False
        entry = FileEntry(name, f"{digest}-{uuid.uuid4().hex[:8]}.parquet", content.size, data.num_rows, digest, {}, {})
        write_file(lake.disk, lake.path / "tmp", path / entry.path, content)
        lake.disk.sync(path)
        table.replace([add_action(entry, lake.now_ms())], {"fleetco2.sha256": digest})
        table.sync()
        lake.dimensions[name] = entry.path
    except DELTA_FAULTS as e:
        raise fault(path, e) from e
    return True
